"""Multi-frame fine-tuning: labels that three frames tell, and a network that learns them from two.

The last stage of SMURF (Stone et al., CVPR 2021). Labels are made once, by the network that
training starts from, into the run folder; then it is trained on them as on any labels.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from selfflow.frames import FrameBatches, FrameCache, PairAddress, fit_size, pairs_from_json
from selfflow.multiframe import Motions, find_motions, fit_motion
from selfflow.multiframe_config import MultiframeConfig
from selfflow.multiframe_labels import (
    LabelBatches,
    LabelStore,
    Triplet,
    find_triplets,
    label_all,
    triplets_from_json,
)
from selfflow.objective import evaluating
from selfflow.pairs import Pairs
from selfflow.raft import RAFT
from selfflow.random import key
from selfflow.runs.cost import peak_memory, seconds_of
from selfflow.runs.devices import pick_device
from selfflow.runs.distributed import rank
from selfflow.runs.loop import Result, fit
from selfflow.runs.progress import format_duration
from selfflow.runs.run import Run, read_table
from selfflow.runs.wording import counted
from selfflow.stage_parts import (
    counted_pairs,
    first_network,
    measured_before,
    seconds_a_step,
    sizes,
    store_results,
)
from selfflow.supervised import Supervised, adamw
from selfflow.training import divide, measure_pairs
from selfflow.video import Target, open_target

TIMED_STEPS = 5  # of the small networks, to tell how long all of them take


@dataclass
class MultiframeTraining:
    """Everything that a training on three frames' labels works with."""

    config: MultiframeConfig
    target: Target
    network: RAFT
    device: torch.device

    @classmethod
    def prepare(
        cls,
        config: MultiframeConfig,
        data_root: Path | None = None,
        start: str | Path | None = None,
    ) -> "MultiframeTraining":
        """Open the target and load the network of a resolved configuration; write nothing."""
        assert config.target is not None
        assert config.init is not None
        target = open_target(config.target, data_root, config.label_margin)
        device = pick_device(config.device)
        return cls(config, target, first_network(start or config.init, device), device)

    def estimate(self) -> list[str]:
        """Return lines for a person: what is used; time, memory and disk, from pieces of it."""
        config, loop = self.config, self.config.loop
        size = fit_size(*self.target.sequences[0].size, config.short_side)
        count, shared = self._count()
        labelling = count * self._seconds_a_label(size, shared)
        bytes_stored = count * size[0] * size[1] * (2 * 2 + 1 / 8)
        step = self._seconds_a_step()
        return [
            f"{self.network.architecture} from {config.init} on {config.target}, {self.device}",
            f"labels of at most {counted(count, 'triplet')} of {size[0]}x{size[1]}: "
            f"about {format_duration(labelling)}, up to {bytes_stored / 2**30:.2g} GiB on disk",
            sizes(config.crop, config.iterations, loop, config.batch_size),
            f"after the labels at most {format_duration(step * loop.steps * loop.accumulate)} "
            f"({step:.2g} s a step), {peak_memory(self.device) / 2**30:.1f} GiB of memory",
        ]

    def run(self, run: Run) -> dict[str, Any]:
        """Make the labels, train, measure before and after, save the network; return results."""
        config = self.config
        cache = FrameCache(self.target, config.short_side)
        triplets, held_out = self._triplets(run)
        before = measured_before(run, lambda: self._measure(cache, held_out))
        store = LabelStore(run.path / "labels")
        with evaluating(self.network):
            label_all(
                store,
                self.network,
                cache,
                triplets,
                config.labels,
                seed=config.seed,
                device=self.device,
            )
        result = self._fit(run, cache, store, triplets)
        shares = [store.share(number) for number in range(len(triplets))]
        trained = {triplet.pairs[1] for triplet in triplets}
        measured = counted_pairs(len(held_out), trained_on=trained.issuperset(held_out))
        found = {
            "title": f"means over {measured} of {config.target}",
            "triplets": {"trained": len(triplets), "held_out": len(held_out)},
            "labels": {
                "valid": fmean(share.valid for share in shares),
                "filled": fmean(share.filled for share in shares),
            },
            "short_side": config.short_side,
            "before": before,
            "after": self._measure(cache, held_out),
        }
        return store_results(run, config, self.network, result, found)

    def _fit(
        self, run: Run, cache: FrameCache, store: LabelStore, triplets: list[Triplet]
    ) -> Result:
        config = self.config
        pairs = [triplet.pairs[1] for triplet in triplets]
        frames = FrameBatches(cache, pairs, config.seed, config.batch_size, device=self.device)
        return fit(
            Supervised(self.network, config),
            LabelBatches(frames, store, config.augmentation, config.crop),
            optimizer=adamw(self.network, config.weight_decay),
            learning_rate=config.rate,
            settings=config.loop,
            run=run,
            title=f"Multi-frame on {config.target}",
        )

    def _triplets(self, run: Run) -> tuple[list[Triplet], list[PairAddress]]:
        """Return the triplets to learn from and the pairs to measure; the run folder lists them."""
        listed = run.path / "triplets.json"
        if listed.exists():
            known = read_table(listed)
            return (
                triplets_from_json(known.get("trained"), f"{listed}: trained"),
                pairs_from_json(known.get("held_out"), f"{listed}: held_out"),
            )
        config = self.config
        found = find_triplets(self.target, config.gaps, limit=config.triplets, seed=config.seed)
        trained, held_out = divide_triplets(found, config.held_out, config.seed)
        if rank() == 0:
            run.write_json(listed.name, {"trained": trained, "held_out": held_out})
        return trained, held_out

    def _measure(self, cache: FrameCache, pairs: list[PairAddress]) -> dict[str, float]:
        """Return the terms of the self-supervised objective: labels of its own prove nothing."""
        config = self.config
        return measure_pairs(
            self.network, cache, pairs, config.objective, config.iterations, self.device
        )

    def _count(self) -> tuple[int, bool]:
        """Return the largest possible number of triplets, and whether all of them are taken."""
        lengths = [len(sequence) for sequence in self.target.sequences]
        found = sum(max(0, length - 2 * gap) for length in lengths for gap in self.config.gaps)
        return min(found, self.config.triplets), found <= self.config.triplets

    def _seconds_a_label(self, size: tuple[int, int], shared: bool) -> float:
        """Return about how long a label takes; triplets that are neighbours share their pairs."""
        settings = self.config.labels
        frames = torch.rand(2, 3, *size, device=self.device)
        noise = torch.randn(settings.batch_size, 2, *size, device=self.device)
        everywhere = torch.ones_like(noise[:, :1], dtype=torch.bool)
        motions = Motions(noise, -noise, everywhere, everywhere)
        keys = key(0, torch.arange(settings.batch_size)).to(self.device)

        def infer() -> None:
            find_motions(self.network, frames, [(0, 1, 0)], settings)

        def fitted(steps: int) -> float:
            few = settings.fit.model_copy(update={"steps": steps})
            return seconds_of(lambda: fit_motion(motions, keys, few), self.device)

        with evaluating(self.network):
            infer()  # the first one also makes buffers and chooses algorithms
            pair = seconds_of(infer, self.device) / 2
        fitted(1)
        once = fitted(1)
        step = max(0.0, fitted(1 + TIMED_STEPS) - once) / TIMED_STEPS
        fitting = (once + step * settings.fit.steps) / settings.batch_size
        pairs = 1 + 1 / settings.batch_size if shared else 2
        return pair * pairs + fitting

    def _seconds_a_step(self) -> float:
        """Return how long a step of training takes."""
        config = self.config
        task = Supervised(copy.deepcopy(self.network), config)
        images = torch.rand(2, config.batch_size, 3, *config.crop, device=self.device)
        flow = torch.zeros_like(images[0, :, :2])
        batch = Pairs(images[0], images[1], flow, torch.ones_like(flow[:, :1], dtype=torch.bool))
        return seconds_a_step(task, batch, 0, config.loop, self.device)


def divide_triplets(
    triplets: list[Triplet], held_out: int, seed: int
) -> tuple[list[Triplet], list[PairAddress]]:
    """Return triplets to learn from and held-out pairs, which share no frame.

    As `selfflow.training.divide` does it: where that would leave nothing to learn from, because the
    video is too short, all triplets are learned from.
    """
    _, measured = divide([triplet.pairs[1] for triplet in triplets], held_out, seed)
    frames = {(pair.sequence, index) for pair in measured for index in pair[1:]}
    trained = [
        triplet
        for triplet in triplets
        if not any((triplet.sequence, index) in frames for index in triplet[1:])
    ]
    return trained or triplets, measured
