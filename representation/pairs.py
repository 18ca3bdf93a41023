"""Which frames of a target a run looks at: pairs by frames or by seconds, or single images."""

from representation.settings import FrameSettings
from selfflow.pairfinding import PairAddress, find_pairs, spread
from selfflow.runs.errors import UserError
from selfflow.sequences import Sequence
from selfflow.video import Target


def pair_addresses(target: Target, settings: FrameSettings, seed: int) -> list[PairAddress]:
    """Return the pairs of frames that are trained on, see `selfflow.pairfinding.find_pairs`.

    Pairs by seconds are as many frames apart as come nearest to that time. A film whose neighbours
    are more than twice that time apart gives none.

    Raises:
        UserError: there are none, or they are asked for by seconds, and a sequence has no known
            frame rate.
    """

    def gaps(sequence: Sequence) -> list[int]:
        assert settings.seconds is not None
        rate = sequence.frame_rate or settings.frame_rate
        if rate is None:
            raise UserError(
                f"the frame rate of {sequence.name} is not known: set frames.frame_rate, or "
                "frames.gaps in place of frames.seconds"
            )
        frames = [rate * seconds for seconds in settings.seconds]
        return [max(1, round(count)) for count in frames if count >= 0.5]

    by = settings.gaps if settings.seconds is None else gaps
    return find_pairs(target, by, limit=settings.pairs, seed=seed)


def image_addresses(target: Target, settings: FrameSettings, seed: int) -> list[PairAddress]:
    """Return the single images that are trained on, each as a pair with itself.

    At most so many as there may be pairs, spread over the target; where it has more sequences than
    that, only so many are opened.
    """
    sequences, limit = target.sequences, settings.pairs
    if limit < len(sequences):
        step = len(sequences) / limit
        sequences = tuple(sequences[int((number + 0.5) * step)] for number in range(limit))
    found = [
        PairAddress(sequence.name, index, index)
        for sequence in sequences
        for index in range(len(sequence))
    ]
    return spread(found, limit, seed)
