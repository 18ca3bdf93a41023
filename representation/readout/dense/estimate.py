"""How long a readout of every pixel will take, measured on one image and one step."""

import copy
from collections.abc import Sequence

import torch

from representation.encoder import Encoder, cell_positions
from representation.readout.dense.batches import Batch
from representation.readout.dense.settings import DenseSettings
from representation.readout.dense.target import Target
from representation.readout.dense.training import DenseTraining, new_heads
from selfflow.random import integers, key, purpose
from selfflow.runs.cost import seconds_of


def seconds_to_encode(encoder: Encoder, size: tuple[int, int]) -> float:
    """Return the seconds that the features of one image (height, width) take."""
    image = torch.full((1, 3, *size), 0.5, device=encoder.mean.device)

    @torch.no_grad()
    def encode() -> None:
        encoder(image)

    encode()  # the first one also chooses algorithms
    return seconds_of(encode, encoder.mean.device)


def seconds_of_step(
    encoder: Encoder,
    target: Target,
    settings: DenseSettings,
    size: tuple[int, int],
    rates: Sequence[float],
    *,
    kept: bool,
) -> float:
    """Return the seconds of a training step with one head for each learning rate.

    It is a step on random numbers of images (height, width), or of their features where they are
    kept, with copies of the networks; reading files is not in it. Two of a batch are tried, because
    a step of a paper's batch can take minutes on a CPU.
    """
    training, device = settings.training, encoder.mean.device
    count, (height, width) = min(2, training.batch_size), size
    with torch.random.fork_rng(devices=[]):
        heads = new_heads(encoder, target, settings, len(rates)).train()
    network = copy.deepcopy(encoder).train(training.finetune) if training.finetune else encoder
    cells = -(-height // encoder.stride), -(-width // encoder.stride)
    shape = (count, encoder.channels, *cells) if kept else (count, 3, height, width)
    if training.pixels is None or training.pixels >= height * width:
        positions = cell_positions(height, width, 1).expand(count, -1, -1, -1)
    else:
        keys = purpose(key(0, torch.arange(2 * count)), "estimate")
        places = integers(keys, 0, min(size), 1, training.pixels)
        positions = places.view(count, 2, 1, -1).float()
    labels = torch.ones(count, *positions.shape[-2:], dtype=torch.uint8)
    batch = Batch(torch.full(shape, 0.5), positions, labels)
    task = DenseTraining(network, heads, target, finetune=training.finetune, computed=kept)
    seconds = min(
        seconds_of(lambda: task.step(batch, 0)["loss"].backward(), device) for _ in range(2)
    )
    return seconds * training.batch_size / count
