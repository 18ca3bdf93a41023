"""Training without labels: SMURF's losses on a target's own frames (Stone et al., CVPR 2021).

Flow is predicted, both ways, from crops with changed colours, and judged on the unchanged ones:
every iteration's flow is to explain the other frame (census), to be smooth but at edges, and to
agree with what the network itself says when it sees more (distillation).
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from selfflow.colors import flow_to_color
from selfflow.flow import grid_like, sample, stays_inside
from selfflow.losses import census, distillation, inner, masked_mean, smoothness
from selfflow.objective import (
    CENSUS_BORDER,
    ObjectiveSettings,
    student_flow,
    student_mask,
    student_view,
    swap,
    teacher_mask,
    unoccluded,
)
from selfflow.raft import RAFT
from selfflow.runs.config import Config
from selfflow.runs.loop import Task
from selfflow.runs.schedule import ramp
from selfflow.supervised import side_by_side
from selfflow.windows import Windows


class SelfSupervision(Config):
    """The losses and when each of them begins, in shares of all steps."""

    iterations: int = Field(12, ge=1, description="of RAFT; all are supervised")
    gamma: float = Field(
        0.8, gt=0, le=1, description="weight of each iteration to that of the next"
    )
    # What is charged for uncovered pixels is constant and teaches nothing; it is for measuring.
    terms: ObjectiveSettings = ObjectiveSettings()
    # Also after supervised training: a weak network calls most of what it gets wrong occluded, and
    # with the mask from the first step it would learn from nothing but the rest.
    occlusion_start: float = Field(
        0.333, ge=0, le=1, description="share of the steps without occlusion masks (25,000)"
    )
    distillation_start: float = Field(
        0.417, ge=0, le=1, description="share of the steps without distillation (31,250 of 75,000)"
    )
    distillation_ramp: float = Field(
        0.083, ge=0, le=1, description="share of the steps over which its weight grows"
    )


class SelfSupervised(Task[Windows]):
    """A step on unlabelled windows.

    Args:
        network: to be trained; it is also its own teacher.
        settings: the losses.
        steps: of the whole training, to which the settings' shares refer.
    """

    def __init__(self, network: RAFT, settings: SelfSupervision, steps: int) -> None:
        self.network = network
        self.settings = settings
        self.steps = steps
        self.modules = {"network": network}
        self._last: tuple[Tensor, Tensor, Tensor] | None = None

    def step(self, batch: Windows, step: int) -> dict[str, Tensor]:
        """Return the loss, and the last iteration's terms unweighted."""
        settings, terms = self.settings, self.settings.terms
        # The student comes first: under autocast, weights that were first used without gradients
        # would be cached without them.
        flows = self.network.predictions(
            batch.seen1, batch.seen2, settings.iterations, bidirectional=True
        )
        strength = self._distillation_strength(step)
        parts = [self._explain(batch, flow, step) for flow in flows]
        if strength > 0 and terms.distillation > 0:
            distilled = self._distil(batch)
        else:
            distilled = [flows[0].new_zeros(())] * len(flows)
        loss = flows[0].new_zeros(())
        for i, (part, learned) in enumerate(zip(parts, distilled, strict=True)):
            total = terms.photometric * part["photometric"] + terms.smoothness * part["smoothness"]
            total = total + strength * terms.distillation * learned
            loss = loss + settings.gamma ** (len(flows) - 1 - i) * total
        self._last = (batch.seen1[:1], batch.seen2[:1], flows[-1][:1].detach())
        return {"loss": loss, **parts[-1], "distillation": distilled[-1]}

    def pictures(self) -> dict[str, Tensor]:
        """Return both frames as the network sees them, and its flow, side by side."""
        if self._last is None:
            return {}
        frame1, frame2, flow = self._last
        images = torch.cat((frame1, frame2, flow_to_color(flow)))
        return {"frame 1, frame 2, flow": side_by_side(images)}

    def _distillation_strength(self, step: int) -> float:
        start, length = self.settings.distillation_start, self.settings.distillation_ramp
        return ramp(step, round(start * self.steps), round(length * self.steps))

    def _explain(self, batch: Windows, flow: Tensor, step: int) -> dict[str, Tensor]:
        """Return the terms of one iteration's flow, both directions, `(2B, 2, h, w)`."""
        terms = self.settings.terms
        images = torch.cat((batch.plain1, batch.plain2))
        around = torch.cat((batch.around2, batch.around1))
        known = torch.cat((batch.known2, batch.known1))
        rows, columns = batch.margin
        target = grid_like(flow) + flow + flow.new_tensor((columns, rows)).view(1, 2, 1, 1)
        with torch.no_grad():
            kind = terms.occlusion if step >= self.settings.occlusion_start * self.steps else "none"
            # Where flow leaves the crop nobody can check it, but the window may still explain it.
            visible = torch.where(stays_inside(flow), unoccluded(flow, swap(flow), kind), 1)
            lands = (sample(known.to(flow.dtype), target) > 0.999).to(flow.dtype)
            covered = inner(visible * lands, CENSUS_BORDER)
        penalty = census(images, sample(around, target))
        everywhere = inner(torch.ones_like(covered), CENSUS_BORDER)
        return {
            "photometric": masked_mean(penalty, covered),
            "smoothness": smoothness(images, flow, terms.smoothness_order).mean(),
            "covered": masked_mean(covered, everywhere),
        }

    def _distil(self, batch: Windows) -> list[Tensor]:
        """Return how far the student, seeing less, is from its teacher, for every iteration."""
        terms, iterations = self.settings.terms, self.settings.iterations
        margin = terms.student_margin
        with torch.no_grad():
            flows = self.network.bidirectional(batch.plain1, batch.plain2, iterations)
            teacher = torch.cat(flows)
            trusted = teacher_mask(teacher, swap(teacher), terms)
            target = student_flow(teacher, margin)
        view1, view2 = (student_view(seen, margin) for seen in (batch.seen1, batch.seen2))
        losses = []
        for flow in self.network.predictions(view1, view2, iterations, bidirectional=True):
            with torch.no_grad():
                mask = trusted * student_mask(flow, swap(flow), terms)
            # The mean is over all pixels, as SMURF's: few doubtful pixels weigh little.
            losses.append(distillation(target, flow, mask).mean())
        return losses


def freeze_batch_norm(network: nn.Module) -> None:
    """Keep batch norms at their learned statistics, as RAFT does after its first stage."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
