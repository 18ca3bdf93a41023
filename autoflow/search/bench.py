"""What the trials of a search share: the target's pairs, the space, the base network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from autoflow.hyperparameters import Hyperparameters
from autoflow.search.deadline import is_past
from autoflow.search.objective import check_metric, measure_target
from autoflow.search.pairs import TargetPairs, choose_pairs, read_pairs, write_pairs
from autoflow.search.settings import RANDOM, SearchSettings
from autoflow.sets import read_hyperparameters
from autoflow.space import searched
from autoflow.textures import PhotographBank
from autoflow.train import new_network, read_photographs, train_on_scenes
from selfflow.models import load_network, save
from selfflow.raft import RAFT
from selfflow.runs.errors import UserError
from selfflow.runs.loop import Result, Wish
from selfflow.runs.parameter import Parameter
from selfflow.runs.run import Run
from selfflow.runs.store import read_model
from selfflow.video import open_target

BASE = "base.safetensors"


@dataclass(frozen=True)
class Bench:
    """What all trials of a search share.

    Attributes:
        settings: of the search.
        pairs: on which Ω is measured.
        start: the default set, trial 0.
        space: what is searched.
        base: weights that trials start from; None: untrained ones.
        photographs: pictures to cut textures from, or None.
        device: where networks are trained.
    """

    settings: SearchSettings
    pairs: TargetPairs
    start: Hyperparameters
    space: Mapping[str, Parameter]
    base: Mapping[str, Tensor] | None
    photographs: PhotographBank | None
    device: torch.device

    def network(self, parent: Path | None = None) -> RAFT:
        """Return the network that a trial starts with: its parent's, else the same for all."""
        settings = self.settings
        network = new_network(settings.training.architecture, settings.seed, self.device)
        start = self.base if parent is None else read_model(parent)[0]
        if start is not None:
            network.load_state_dict(start)
        return network


def open_bench(settings: SearchSettings, path: Path, device: torch.device) -> Bench:
    """Return what the trials of a run share; the list of pairs is chosen once and stored.

    Args:
        settings: of the search.
        path: the run folder; its base network is taken if it has one.
        device: where networks are trained.
    """
    target = open_target(settings.target, settings.data_root)
    labelled = settings.metric.name == "aepe"
    if (path / "pairs.json").exists():
        pairs = read_pairs(path / "pairs.json", target, device)
    else:
        pairs = choose_pairs(
            target, settings.pairs, seed=settings.seed, labelled=labelled, device=device
        )
        write_pairs(path / "pairs.json", pairs)
    check_metric(settings.metric, pairs)
    start = read_hyperparameters(settings.hyperparameters)
    shared = settings.trial.start == "shared" and (path / BASE).exists()
    return Bench(
        settings=settings,
        pairs=pairs,
        start=start,
        space=searched(start, settings.only),
        base=read_model(path / BASE)[0] if shared else None,
        photographs=read_photographs(
            settings.training.photographs, settings.target, settings.data_root
        ),
        device=device,
    )


def make_base(
    settings: SearchSettings, bench: Bench, path: Path, deadline: float | None = None
) -> dict[str, Tensor]:
    """Store the network that all trials start from, trained on the default set; return its weights.

    It is trained here, or one that already is (`base.init`) is taken, and trained on if wished.

    Raises:
        UserError: `deadline`, as `time.time()`, comes before the training's end.
    """
    base, result = settings.base, Result()
    trained = base.init != RANDOM
    if trained:
        network = load_network(base.init)[0].to(bench.device)
    else:
        network = new_network(settings.training.architecture, settings.seed, bench.device)
    if base.steps:
        training = base.apply(settings.training, trained=trained)
        with Run.open(path / "base", "train", training) as run:
            result = train_on_scenes(
                network,
                [bench.start],
                training,
                seed=settings.seed,
                photographs=bench.photographs,
                run=run,
                title="Base network",
                watch=lambda _: Wish.STOP if is_past(deadline) else None,
            )
        if result.budget_reached:
            raise UserError(
                f"the budget is over after {result.steps} of {base.steps} steps of the base "
                "network; the same command goes on"
            )
    # The weights of Ω may not be known yet.
    measured = measure_target(network, bench.pairs, settings.metric.settled()).as_dict()
    del measured["omega"]
    save(
        path / BASE,
        network,
        {
            **measured,
            "init": base.init,
            "steps": result.steps,
            "seconds": result.seconds,
        },
    )
    return read_model(path / BASE)[0]
