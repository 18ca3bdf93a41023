"""The training of heads, and of the encoder where it is fine-tuned."""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from representation.encoder import Encoder, read_features
from representation.optimizer import parameter_groups
from representation.readout.dense.batches import Batch, Batches
from representation.readout.dense.heads import Heads
from representation.readout.dense.settings import DenseSettings, TrainingSettings
from representation.readout.dense.target import Target
from selfflow.runs.loop import Result, Task, fit
from selfflow.runs.run import Run
from selfflow.runs.schedule import cosine


class DenseTraining(Task[Batch]):
    """Trains heads side by side, each at its own learning rate.

    The loss is the sum of theirs; each one's is a scalar too.
    """

    def __init__(
        self, encoder: Encoder, heads: Heads, target: Target, *, finetune: bool, computed: bool
    ) -> None:
        self.encoder, self.heads, self.target = encoder, heads, target
        self.finetune, self.computed = finetune, computed
        self.modules = {"heads": heads, **({"encoder": encoder} if finetune else {})}

    def step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the losses."""
        device = self.encoder.mean.device
        features = batch.inputs.to(device).float()
        if not self.computed:
            with torch.set_grad_enabled(self.finetune):
                features = self.encoder(features)
        outputs = self.heads(features)  # (B, K, O, h, w)
        read = read_features(
            outputs.flatten(1, 2),
            batch.positions.to(device),
            self.encoder.stride,
            self.encoder.offset,
        ).unflatten(1, outputs.shape[1:3])
        labels = batch.labels.to(device)
        losses = [self.target.loss(each, labels) for each in read.unbind(1)]
        alone = {f"loss_{number}": loss for number, loss in enumerate(losses)}
        return {"loss": torch.stack(losses).sum(), **(alone if len(losses) > 1 else {})}


def train_heads(
    encoder: Encoder,
    target: Target,
    batches: Batches,
    settings: DenseSettings,
    rates: Sequence[float],
    run: Run,
    title: str,
) -> tuple[Heads, Result]:
    """Return heads, one for each learning rate, trained from the same first weights."""
    training, finetune = settings.training, settings.training.finetune
    heads = new_heads(encoder, target, settings, len(rates)).train()
    encoder.train(finetune).requires_grad_(finetune)
    task = DenseTraining(
        encoder, heads, target, finetune=finetune, computed=batches.features is not None
    )
    count = steps(settings, len(batches.examples))
    result = fit(
        task,
        batches,
        optimizer=new_optimizer(training, heads, encoder if finetune else None, rates),
        learning_rate=lambda step: schedule(training.schedule, step, count),
        settings=settings.loop.model_copy(update={"steps": count}),
        run=run,
        title=title,
    )
    encoder.eval()
    return heads.eval(), result


def new_heads(encoder: Encoder, target: Target, settings: DenseSettings, count: int) -> Heads:
    """Return heads with the same random weights, which the seed decides, on the encoder's device.

    The seed also goes into torch's global generator, which dropout asks.
    """
    torch.manual_seed(settings.seed)
    own = settings.head
    heads = Heads(own.kind, encoder.channels, target.outputs, 1, normalise=own.normalise)
    heads.heads.extend(copy.deepcopy(heads.heads[0]) for _ in range(count - 1))
    return heads.to(encoder.mean.device)


def new_optimizer(
    settings: TrainingSettings, heads: Heads, encoder: Encoder | None, rates: Sequence[float]
) -> Optimizer:
    """Return the optimiser of heads, each at its rate times the loop's, and of an encoder.

    The encoder's rate is the first one.
    """
    groups = [
        group
        for head, rate in zip(heads.heads, rates, strict=True)
        for group in parameter_groups([head], rate)
    ]
    if encoder is not None:
        groups += parameter_groups([encoder], rates[0])
    groups = [group for group in groups if group["params"]]
    decay = settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, 1.0, momentum=settings.momentum, weight_decay=decay)
    for group in groups:
        group["weight_decay"] = decay if group["adapt"] else 0.0
    return torch.optim.AdamW(groups, 1.0, betas=(settings.momentum, 0.999))


def schedule(kind: str, step: int, count: int) -> float:
    """Return the learning rate of step `step` of `count` as a share of the first one's.

    poly: (1 - step/count)^0.9, DeepLab's; steps: a tenth from 70 % on, a hundredth from 90 % on, as
    MoCo's FCN; cosine: half a cosine to 0.
    """
    if kind == "poly":
        return float((1 - step / count) ** 0.9)
    if kind == "steps":
        return 0.1 ** sum(step >= share * count for share in (0.7, 0.9))
    return cosine(step, count, 1.0) if kind == "cosine" else 1.0


def steps(settings: DenseSettings, examples: int) -> int:
    """Return how many steps are taken with so many training images."""
    epochs = settings.training.epochs
    if epochs is None:
        return settings.loop.steps
    each = settings.training.batch_size * settings.loop.accumulate
    return max(1, math.ceil(epochs * examples / each))
