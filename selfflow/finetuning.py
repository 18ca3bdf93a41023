"""Supervised fine-tuning: labelled pairs and a network in, a better network out."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from selfflow.datasets import labelled_pairs
from selfflow.labelled import LabelledPair
from selfflow.losses import masked_mean
from selfflow.metrics import endpoint_error, outlier
from selfflow.mixture import Division, MixedBatches, Source, divide
from selfflow.models import load_network
from selfflow.objective import evaluating
from selfflow.pairs import Pairs
from selfflow.raft import RAFT
from selfflow.runs.cost import peak_memory
from selfflow.runs.devices import pick_device
from selfflow.runs.distributed import rank
from selfflow.runs.errors import UserError
from selfflow.runs.loop import LoopSettings, Result, fit
from selfflow.runs.progress import format_duration, track
from selfflow.runs.run import Run, read_table
from selfflow.runs.wording import counted
from selfflow.stage_config import StageConfig
from selfflow.stage_parts import (
    counted_pairs,
    measured_before,
    seconds_a_step,
    sizes,
    store_results,
)
from selfflow.supervised import Size, Supervised, TrainSettings, adamw
from selfflow.unsupervised import freeze_batch_norm


class FineTuneConfig(StageConfig, TrainSettings):
    """A training on labelled pairs. The defaults are RAFT's for Sintel, on a GPU."""

    needs_target: ClassVar[bool] = False

    stage: Literal["supervised"] = "supervised"
    name: str = Field("s-af-sup", description="of the result in the model store")
    loop: LoopSettings = LoopSettings(steps=100_000, precision="bfloat16")
    batch_size: int = Field(6, ge=1, description="pairs in a batch")
    crop: Size = Field((368, 768), description="height and width that the network sees, px")
    learning_rate: float = Field(1.25e-4, gt=0, description="peak")
    weight_decay: float = Field(1e-5, ge=0, description="of AdamW")
    gamma: float = Field(
        0.85, gt=0, le=1, description="weight of each iteration to that of the next"
    )
    freeze_batch_norm: bool = Field(
        True, description="keep the statistics of batch norms, as RAFT does after its first stage"
    )
    held_out: int = Field(
        8, ge=0, description="pairs of each data set that are only measured; 0: all are learned"
    )
    data: tuple[Source, ...] = Field((), description="[[data]]: the data sets")


DEVICE_DEFAULTS: dict[str, dict[str, Any]] = {
    # Two cores are done within 10 minutes.
    "cpu": {
        "loop.steps": 150,
        "loop.precision": "float32",
        "loop.log_every": 10,
        "loop.pictures_every": 50,
        "batch_size": 2,
        "crop": (160, 224),
        "iterations": 6,
        "held_out": 3,
    }
}


@dataclass
class FineTuning:
    """Everything that a supervised training works with."""

    config: FineTuneConfig
    data: list[Division]
    network: RAFT
    made_for: str | None
    device: torch.device

    @classmethod
    def prepare(
        cls,
        config: FineTuneConfig,
        data_root: Path | None = None,
        start: str | Path | None = None,
    ) -> "FineTuning":
        """Find the data and load the network of a resolved configuration; write nothing."""
        assert config.init is not None
        if not config.data:
            raise UserError(
                "data: nothing to learn from; give a recipe with tables [[data]] by --config, "
                "or --set 'data=[{name=\"sintel\"}]'"
            )
        titles = [source.title for source in config.data]
        if twice := [title for title in titles if titles.count(title) > 1]:
            raise UserError(f"data: {twice[0]} is named twice; a larger weight says it as well")
        found = [
            (each, labelled_pairs(each.name, data_root, each.parts, training=True))
            for each in config.data
        ]
        data = divide(found, config.held_out, config.seed)
        device = pick_device(config.device)
        network, metadata = load_network(start or config.init)
        network.to(device).train()
        if config.freeze_batch_norm:
            freeze_batch_norm(network)
        return cls(config, data, network, config.target or metadata.get("target"), device)

    def estimate(self) -> list[str]:
        """Return lines for a person: what is used, and time and memory, from two steps taken."""
        config, loop = self.config, self.config.loop
        task = Supervised(copy.deepcopy(self.network), config)
        step = seconds_a_step(task, self._noise(), 0, loop, self.device)
        shares = self._batches().shares
        mix = [
            f"{division.source.title} {share / sum(shares):.1%} "
            f"({counted(len(division.trained), 'pair')})"
            for division, share in zip(self.data, shares, strict=True)
        ]
        return [
            f"{self.network.architecture} from {config.init}, with labels, {self.device}",
            f"data: {', '.join(mix)}",
            sizes(config.crop, config.iterations, loop, config.batch_size),
            f"at most {format_duration(step * loop.steps * loop.accumulate)} "
            f"({step:.2g} s a step), {peak_memory(self.device) / 2**30:.1f} GiB of memory",
        ]

    def run(self, run: Run) -> dict[str, Any]:
        """Train, measure before and after, save the network; return the results."""
        config = self.config
        self._check_same_pairs(run)
        before = measured_before(run, self._measure)
        result = self._fit(run)
        found = {
            "data": [division.source.title for division in self.data],
            "title": self._title(),
            "pairs": {
                "trained": sum(len(division.trained) for division in self.data),
                "held_out": sum(len(division.measured) for division in self.data),
            },
            "before": before,
            "after": self._measure(),
        }
        about = {
            "target": self.made_for,
            "labels": True,
            "data": [f"{source.weight:g} x {source.title}" for source in config.data],
        }
        return store_results(run, config, self.network, result, found, about)

    def _fit(self, run: Run) -> Result:
        return fit(
            Supervised(self.network, self.config),
            self._batches(),
            optimizer=adamw(self.network, self.config.weight_decay),
            learning_rate=self.config.rate,
            settings=self.config.loop,
            run=run,
            title="With labels",
        )

    def _batches(self) -> MixedBatches:
        config = self.config
        data = [(division.source, division.trained) for division in self.data]
        return MixedBatches(data, config.seed, config.batch_size, config.crop, self.device)

    def _title(self) -> str:
        parts = []
        for division in self.data:
            seen = set(division.measured) & set(division.trained)
            measured = counted_pairs(len(division.measured), trained_on=bool(seen))
            parts.append(f"{measured} of {division.source.title}")
        return f"means over images: {', '.join(parts)}"

    def _check_same_pairs(self, run: Run) -> None:
        """List the pairs in a new run's folder; a continued run must find the same ones."""
        listed = run.path / "pairs.json"
        pairs = {
            division.source.title: {
                "trained": len(division.trained),
                "measured": [pair.name for pair in division.measured],
            }
            for division in self.data
        }
        if listed.exists():
            if read_table(listed) != pairs:
                raise UserError(f"the data are no longer those that {listed} lists")
        elif rank() == 0:
            run.write_json(listed.name, pairs)

    def _measure(self) -> dict[str, float]:
        iterations = self.config.iterations
        errors = [
            measure_errors(self.network, each.measured, iterations, self.device)
            for each in self.data
        ]
        count = sum(len(division.measured) for division in self.data)
        mean = {
            name: sum(
                error[name] * len(division.measured)
                for error, division in zip(errors, self.data, strict=True)
            )
            / count
            for name in ("epe", "fl_all")
        }
        if len(errors) == 1:
            return mean
        each = {
            f"{name} {division.source.title}": value
            for error, division in zip(errors, self.data, strict=True)
            for name, value in error.items()
        }
        return mean | each

    def _noise(self) -> Pairs:
        """Return a batch of the right shape to take the time with."""
        images = torch.rand(2, self.config.batch_size, 3, *self.config.crop, device=self.device)
        flow = torch.zeros_like(images[0, :, :2])
        return Pairs(images[0], images[1], flow, torch.ones_like(flow[:, :1], dtype=torch.bool))


@torch.no_grad()
def measure_errors(
    network: RAFT, pairs: Sequence[LabelledPair], iterations: int, device: torch.device
) -> dict[str, float]:
    """Return `epe` in pixels and `fl_all` in per cent on whole frames, means over images' means."""
    totals = {"epe": 0.0, "fl_all": 0.0}
    with evaluating(network):
        for pair in track(pairs, "Measuring"):
            batch = pair.load().to(device)
            if batch.flow is None:
                raise ValueError(f"{pair.name} has no label")
            valid = torch.ones_like(batch.flow[:, :1]) if batch.valid is None else batch.valid
            error = endpoint_error(network(batch.image1, batch.image2, iterations), batch.flow)
            totals["epe"] += masked_mean(error, valid).item()
            wrong = outlier(error, batch.flow).to(error.dtype)
            totals["fl_all"] += 100 * masked_mean(wrong, valid).item()
    return {name: total / len(pairs) for name, total in totals.items()}
