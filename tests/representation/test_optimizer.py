"""The optimiser against torch's own and against steps by hand; the rate against its formula."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from representation import optimizer
from representation.heads import perceptron
from representation.lars import Lars
from representation.optimizer import learning_rate, new_optimizer, parameter_groups, peak_rate
from representation.settings import PretrainSettings
from selfflow.runs.config import load


class Trains:
    """As much of a method as the optimiser sees: a head and, ten times slower, a linear map."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.head, self.slow = perceptron(3, 8, 4), nn.Linear(2, 2)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [*parameter_groups([self.head]), *parameter_groups([self.slow], 0.1)]


def settings(**values: object) -> PretrainSettings:
    return load(PretrainSettings, values={k.replace("__", "."): v for k, v in values.items()})


def test_biases_and_normalisation_are_a_group_of_their_own():
    head = perceptron(3, 8, 4)
    head[0].requires_grad_(False)
    adapted, plain = parameter_groups([head], 0.5)
    assert [id(p) for p in adapted["params"]] == [id(head[3].weight)]
    assert {id(p) for p in plain["params"]} == {id(p) for p in head[1].parameters()}
    assert (adapted["adapt"], plain["adapt"]) == (True, False)
    assert adapted["lr_scale"] == plain["lr_scale"] == 0.5


@pytest.mark.parametrize("kind", ["lars", "sgd", "adamw"])
def test_the_optimiser_takes_the_steps_that_its_settings_say(kind: str):
    """Each group beside an optimiser of torch's (or LARS) that is made for it alone."""
    values = {"momentum": 0.8, "weight_decay": 0.1, "learning_rate": 0.3, "kind": kind}
    ours, theirs = Trains(), Trains()
    found = new_optimizer(settings(**{f"optimizer__{k}": v for k, v in values.items()}), ours)
    expected: list[torch.optim.Optimizer] = []
    for group in theirs.parameter_groups():
        scale, adapt = group["lr_scale"], group["adapt"]
        parameters = [{"params": group["params"], "adapt": adapt}]
        if kind == "lars":
            expected.append(Lars(parameters, 0.3 * scale, momentum=0.8, weight_decay=0.1))
        elif kind == "sgd":
            expected.append(torch.optim.SGD(parameters, 0.3 * scale, 0.8, weight_decay=0.1))
        else:
            decay = 0.1 if adapt else 0.0
            expected.append(
                torch.optim.AdamW(parameters, 0.3 * scale, (0.8, 0.999), weight_decay=decay)
            )
    for group in found.param_groups:
        group["lr"] = 0.3 * group["lr_scale"]  # as the loop does
    for step in range(3):
        for method in (ours, theirs):
            generator = torch.Generator().manual_seed(step)
            for parameter in (*method.head.parameters(), *method.slow.parameters()):
                parameter.grad = torch.randn(parameter.shape, generator=generator)
        found.step()
        for each in expected:
            each.step()
    untouched = Trains()
    for name in ("head", "slow"):
        for (key, a), b, before in zip(
            getattr(ours, name).named_parameters(),
            getattr(theirs, name).parameters(),
            getattr(untouched, name).parameters(),
            strict=True,
        ):
            torch.testing.assert_close(a, b, msg=key)
            assert not torch.equal(a, before)


def test_the_rate_scales_with_the_batch_of_all_processes(monkeypatch: pytest.MonkeyPatch):
    given = settings(
        optimizer__learning_rate=0.2,
        optimizer__reference_batch=256,
        frames__batch_size=32,
        loop__accumulate=4,
    )
    assert peak_rate(given) == pytest.approx(0.2 * 128 / 256)
    monkeypatch.setattr(optimizer, "world_size", lambda: 8)
    assert peak_rate(given) == pytest.approx(0.2 * 1024 / 256)
    assert peak_rate(settings(optimizer__learning_rate=0.2, frames__batch_size=32)) == 0.2


def test_the_rate_rises_and_falls_as_the_formula_says():
    given = settings(optimizer__learning_rate=3.0, optimizer__warmup=4, loop__steps=24)
    for step in range(4):
        assert learning_rate(given, step) == pytest.approx(3 * (step + 1) / 4)
    for step in range(4, 25):
        expected = 3 * (1 + math.cos(math.pi * (step - 4) / 20)) / 2
        assert learning_rate(given, step) == pytest.approx(expected)
