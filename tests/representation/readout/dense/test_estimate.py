import time

import torch

from representation.readout.dense.estimate import seconds_of_step, seconds_to_encode
from representation.readout.dense.settings import DenseSettings


class Slow:
    """Takes 20 ms for each image in its loss."""

    outputs = 3

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        time.sleep(0.02 * len(labels))
        assert outputs.shape[0] == labels.shape[0]
        assert outputs.shape[2:] == labels.shape[1:]
        return outputs.mean()


def test_a_step_is_that_of_a_whole_batch_and_changes_nothing(colors) -> None:
    encoder = colors(4)
    weights, state = encoder.mix.weight.clone(), torch.random.get_rng_state()
    for training in (
        {"batch_size": 8},
        {"batch_size": 8, "pixels": None},
        {"batch_size": 8, "finetune": True},
    ):
        settings = DenseSettings(
            encoder="a",
            data="b",
            protocol="linear",
            training={"learning_rates": (0.1,), **training},
        )
        for kept in (False, True):
            found = seconds_of_step(encoder, Slow(), settings, (24, 32), (0.1,), kept=kept)  # type: ignore[arg-type]
            assert found > 8 * 0.02
    assert torch.equal(encoder.mix.weight, weights)
    assert encoder.mix.weight.grad is None
    assert torch.equal(torch.random.get_rng_state(), state)


def test_an_image_is_encoded(colors) -> None:
    encoder = colors(4)
    assert seconds_to_encode(encoder, (24, 32)) > 0
    assert encoder.calls == 2
