"""The training at the end: as long as there is time for, and of the best sets as they are now."""

from pathlib import Path

import pytest
import torch
from known import small_settings

from autoflow.hyperparameters import Hyperparameters
from autoflow.network import NetworkSettings
from autoflow.search import final as module
from autoflow.search.final import NETWORK, TimeLeft, train_final
from autoflow.search.settings import SearchSettings
from autoflow.sets import Mixture
from selfflow.runs.config import replace_values, to_toml
from selfflow.runs.run import Run

CPU = torch.device("cpu")
SETTINGS = replace_values(
    small_settings("moving"), {"final.steps": 1000, "final_start": "scratch", "name": "made"}
)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[NetworkSettings]:
    """What is trained, instead of training it; half of the steps are done each time."""
    asked: list[NetworkSettings] = []

    def stand_in(settings: NetworkSettings, run: Run, device: torch.device) -> None:
        asked.append(settings)
        steps = settings.training.optimisation.loop.steps // 2
        run.save_checkpoint({"result": {"steps": steps, "seconds": 100.0}})

    monkeypatch.setattr(module, "make_network", stand_in)
    return asked


def write_best(path: Path, fog: float = 0.1) -> None:
    best = replace_values(Hyperparameters(), {"effects.fog": fog})
    path.mkdir(exist_ok=True)
    (path / "top3.toml").write_text(to_toml(Mixture(sets=(best,))))


def length(settings: NetworkSettings) -> tuple[int, float | None]:
    loop = settings.training.optimisation.loop
    return loop.steps, loop.budget


def test_without_a_budget_it_has_all_its_steps(
    tmp_path: Path, trained: list[NetworkSettings]
) -> None:
    write_best(tmp_path)
    train_final(SETTINGS, tmp_path, CPU)
    assert length(trained[0]) == (1000, None)
    assert trained[0].init is None
    assert trained[0].hyperparameters == str(tmp_path)


def test_it_has_the_steps_that_fit_and_no_more_time(
    tmp_path: Path, trained: list[NetworkSettings]
) -> None:
    write_best(tmp_path)
    train_final(SETTINGS, tmp_path, CPU, TimeLeft(seconds=50.0, step=0.25))
    assert length(trained[0]) == (200, 50.0)
    # Continued, it goes on from the steps that it has, and from the seconds that they took.
    train_final(SETTINGS, tmp_path, CPU, TimeLeft(seconds=50.0, step=0.25))
    assert length(trained[1]) == (100 + 200, 100.0 + 50.0)
    train_final(SETTINGS, tmp_path, CPU, TimeLeft(seconds=5000.0, step=0.25))
    assert length(trained[2]) == (1000, 100.0 + 5000.0)


def test_where_no_step_fits_nothing_is_trained(
    tmp_path: Path, trained: list[NetworkSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    write_best(tmp_path)
    for seconds in (0.2, -7.0):
        train_final(SETTINGS, tmp_path, CPU, TimeLeft(seconds, step=0.25))
    assert trained == []
    assert not (tmp_path / NETWORK.parent).exists()
    assert "No time is left" in capsys.readouterr().err


def test_other_best_sets_begin_anew(
    tmp_path: Path, trained: list[NetworkSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    write_best(tmp_path)
    train_final(SETTINGS, tmp_path, CPU)
    (tmp_path / NETWORK).write_text("a network")
    train_final(SETTINGS, tmp_path, CPU)
    assert (tmp_path / NETWORK).exists()
    assert "anew" not in capsys.readouterr().err
    write_best(tmp_path, fog=0.2)
    train_final(SETTINGS, tmp_path, CPU, TimeLeft(seconds=50.0, step=0.25))
    assert not (tmp_path / NETWORK).exists()
    assert length(trained[2]) == (200, 50.0)  # nothing is done of it yet
    assert "best sets have changed" in capsys.readouterr().err


def test_a_shared_start_is_the_runs_base_network(
    tmp_path: Path, trained: list[NetworkSettings]
) -> None:
    write_best(tmp_path)
    shared: SearchSettings = replace_values(SETTINGS, {"final_start": "shared"})
    train_final(shared, tmp_path, CPU)
    assert trained[0].init == str(tmp_path / "base.safetensors")
