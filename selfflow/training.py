"""One self-supervised training from end to end: a target and a network in, a better network out."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from selfflow.collapse import CollapseGuard, Sight, look, warn
from selfflow.frames import (
    FrameBatches,
    FrameCache,
    PairAddress,
    find_pairs,
    pairs_from_json,
    spread,
)
from selfflow.known_motion import SHIFTS, forgotten, shift_errors
from selfflow.losses import masked_mean_each
from selfflow.metrics import endpoint_error
from selfflow.objective import TERMS, ObjectiveSettings, evaluating, measure
from selfflow.raft import RAFT
from selfflow.runs.cost import peak_memory
from selfflow.runs.devices import pick_device
from selfflow.runs.distributed import all_reduce_sum, from_first, rank, world_size
from selfflow.runs.loop import Result, fit
from selfflow.runs.progress import format_duration, track
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
from selfflow.supervised import adamw
from selfflow.unsupervised import SelfSupervised
from selfflow.unsupervised_config import UnsupervisedConfig
from selfflow.video import Target, open_target
from selfflow.windows import WindowBatches, Windows

GUARD_PAIRS = 4  # that are looked at now and then: enough to tell motion from none


@dataclass
class Training:
    """Everything that a self-supervised training works with."""

    config: UnsupervisedConfig
    target: Target
    network: RAFT
    device: torch.device

    @classmethod
    def prepare(
        cls,
        config: UnsupervisedConfig,
        data_root: Path | None = None,
        start: str | Path | None = None,
    ) -> "Training":
        """Open the target and load the network of a resolved configuration; write nothing."""
        assert config.target is not None
        assert config.init is not None
        target = open_target(config.target, data_root, config.label_margin)
        device = pick_device(config.device)
        return cls(config, target, first_network(start or config.init, device), device)

    def estimate(self) -> list[str]:
        """Return lines for a person: what is used, and time and memory, from two steps taken."""
        config, loop = self.config, self.config.loop
        task = SelfSupervised(copy.deepcopy(self.network), config.losses, loop.steps)
        step = seconds_a_step(task, self._noise(), loop.steps, loop, self.device)
        seconds = step * loop.steps * loop.accumulate
        return [
            f"{self.network.architecture} from {config.init} on {config.target}, {self.device}",
            sizes(config.crop, config.losses.iterations, loop, config.batch_size),
            f"at most {format_duration(seconds)} ({step:.2g} s a step with all terms), "
            f"{peak_memory(self.device) / 2**30:.1f} GiB of memory",
        ]

    def run(self, run: Run) -> dict[str, Any]:
        """Train, measure before and after, save the network; return the results."""
        config = self.config
        cache = FrameCache(self.target, config.short_side)
        train, held_out, warnings = self._pairs(run)
        before = measured_before(run, lambda: self._measure(cache, held_out))
        guard = self._guard(run, cache, held_out)
        result = self._fit(run, cache, train, guard)
        after = self._measure(cache, held_out)
        lost = forgotten(before, after)
        for text in lost:
            warn(text)
        found = {
            "pairs": {"trained": len(train), "held_out": len(held_out)},
            "short_side": config.short_side,
            "title": self._title(train, held_out),
            "before": before,
            "after": after,
            "seconds_waiting": result.waited,
            "warnings": [*warnings, *guard.warnings, *lost],
        }
        return store_results(run, config, self.network, result, found)

    def _fit(
        self, run: Run, cache: FrameCache, pairs: list[PairAddress], guard: CollapseGuard
    ) -> Result:
        config = self.config
        frames = FrameBatches(cache, pairs, config.seed, config.batch_size, device=self.device)
        return fit(
            SelfSupervised(self.network, config.losses, config.loop.steps),
            WindowBatches(frames, config.augmentation, config.crop, config.margin),
            optimizer=adamw(self.network, weight_decay=0.0),
            learning_rate=config.rate,
            settings=config.loop,
            run=run,
            title=f"Self-supervised on {config.target}",
            watch=guard,
        )

    def _guard(self, run: Run, cache: FrameCache, pairs: list[PairAddress]) -> CollapseGuard:
        """Return what looks, in the first process, at whether the network still sees motion."""
        config = self.config
        looked_at = spread(pairs, GUARD_PAIRS, config.seed)

        def sight() -> Sight:
            return look(self.network, cache, looked_at, config.losses.iterations, self.device)

        return CollapseGuard(sight, config.guard_every if rank() == 0 else 0, run)

    def _title(self, train: list[PairAddress], held_out: list[PairAddress]) -> str:
        """Return one line that says what is measured before and after."""
        config = self.config
        measured = counted_pairs(len(held_out), trained_on=bool(set(held_out) & set(train)))
        side = config.short_side
        size = f"frames of at most {side} px on the short side" if side else "whole frames"
        return (
            f"{config.target}: means over {measured}, {size}, "
            f"{counted(config.losses.iterations, 'iteration')}"
        )

    def _pairs(self, run: Run) -> tuple[list[PairAddress], list[PairAddress], list[str]]:
        """Return the pairs to train on, those to measure, and what is to be said about them.

        They are listed in the run folder.
        """
        listed = run.path / "pairs.json"
        known = from_first(lambda: read_table(listed) if listed.exists() else self._divided())
        run.write_json(listed.name, known)
        trained, held_out = (
            pairs_from_json(known.get(part), f"{listed}: {part}")
            for part in ("trained", "held_out")
        )
        return trained, held_out, [str(text) for text in known.get("warnings", [])]

    def _divided(self) -> dict[str, Any]:
        """Find the target's pairs and divide them."""
        config = self.config
        found = find_pairs(self.target, config.gaps, limit=config.pairs, seed=config.seed)
        warnings = few_pairs(self.target, len(found), config.gaps, config.pairs)
        for text in warnings:
            warn(text)
        train, held_out = divide(found, config.held_out, config.seed)
        return {"trained": train, "held_out": held_out, "warnings": warnings}

    def _measure(self, cache: FrameCache, pairs: list[PairAddress]) -> dict[str, float]:
        losses = self.config.losses
        return measure_pairs(
            self.network, cache, pairs, losses.terms, losses.iterations, self.device
        )

    def _noise(self) -> Windows:
        """Return a batch of the right shape to take the time with."""
        config = self.config
        (height, width), (rows, columns) = config.crop, config.margin
        around = torch.rand(
            config.batch_size, 3, height + 2 * rows, width + 2 * columns, device=self.device
        )
        seen = around[..., rows : rows + height, columns : columns + width]
        known = torch.ones_like(around[:, :1], dtype=torch.bool)
        return Windows(seen, seen, around, around, known, known, config.margin)


def divide(
    pairs: list[PairAddress], held_out: int, seed: int
) -> tuple[list[PairAddress], list[PairAddress]]:
    """Return pairs to train on and pairs that are held out, which share no frame.

    At most an eighth is held out, spread over the target. Where that would leave nothing to train
    on, because the video is too short, the held-out pairs are trained on as well.
    """
    measured = spread(pairs, max(1, min(held_out, len(pairs) // 8)), seed)
    frames = {(pair.sequence, index) for pair in measured for index in pair[1:]}
    train = [
        pair for pair in pairs if not any((pair.sequence, index) in frames for index in pair[1:])
    ]
    return train or pairs, measured


def few_pairs(target: Target, found: int, gaps: tuple[int, ...], limit: int) -> list[str]:
    """Return a warning if most of a target's pairs were found useless, else nothing.

    Args:
        target: in which pairs were looked for.
        found: how many are of use.
        gaps: frames from a pair's first to its second.
        limit: how many were looked at, at most.
    """
    if len(target.sequences) > limit:
        return []  # not all were opened, and opening them takes long
    pairs = sum(max(len(each) - gap, 0) for each in target.sequences for gap in set(gaps))
    pairs = min(pairs, limit)
    if 2 * found >= pairs:
        return []
    return [
        f"most of {target.name} is left out: in {pairs - found} of {pairs} pairs of frames nothing "
        "moves or the shot changes; larger gaps may help where things move slowly"
    ]


@torch.no_grad()
def measure_pairs(
    network: RAFT,
    cache: FrameCache,
    pairs: list[PairAddress],
    terms: ObjectiveSettings,
    iterations: int,
    device: torch.device,
) -> dict[str, float]:
    """Return the objective's terms on whole frames, means over pairs; `epe` where flow is known.

    Also the errors of each pair's first frame beside itself, see `selfflow.known_motion`. Several
    processes share the work and return the same means.
    """
    names = (*TERMS, *SHIFTS)
    # Sums of all these, of the end-point error, and how many pairs have each.
    sums = torch.zeros(len(names) + 3, dtype=torch.float64, device=device)
    for pair in track(pairs[rank() :: world_size()], "Measuring"):
        batch = cache.load(pair, device)
        values = measure(network, batch, terms, iterations)
        error, labelled = sums.new_zeros(1), 0
        with evaluating(network):
            shifted = shift_errors(network, batch.image1, iterations)
            if batch.flow is not None and batch.valid is not None:
                flow = network(batch.image1, batch.image2, iterations)
                error = masked_mean_each(endpoint_error(flow, batch.flow), batch.valid)
                labelled = 1
        counts = sums.new_tensor((1, labelled))
        sums += torch.cat((*(values[name] for name in TERMS), shifted, error, counts))
    *totals, error_total, count, labelled_count = all_reduce_sum(sums).tolist()
    means = {name: total / count for name, total in zip(names, totals, strict=True)}
    return means | ({"epe": error_total / labelled_count} if labelled_count else {})
