"""Training without labels: SMURF's losses on a target's own frames (Stone et al., CVPR 2021).

Flow is predicted, both ways, from crops with changed colours, and judged on the unchanged ones:
every iteration's flow is to explain the other frame (census), to be smooth but at edges, and to
agree with what the network itself says when it sees more (distillation).
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from selfflow.colors import flow_to_color
from selfflow.evidence import Evidence, Loss, settled
from selfflow.flow import grid_like, sample
from selfflow.losses import distillation
from selfflow.objective import (
    ObjectiveSettings,
    student_flow,
    student_mask,
    student_view,
    swap,
    teacher_mask,
)
from selfflow.raft import RAFT
from selfflow.runs.config import Config
from selfflow.runs.loop import Task
from selfflow.runs.schedule import ramp
from selfflow.supervised import side_by_side
from selfflow.windows import Windows


class SelfSupervision(Config):
    """The losses and when each of them begins.

    Times are shares of all steps, so that a training of any length goes through the same phases;
    `--steps` moves them along. SMURF's steps, of 75,000, stand in brackets.
    """

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
        self._last: tuple[Windows, Tensor] | None = None

    def step(self, batch: Windows, step: int) -> dict[str, Tensor]:
        """Return the loss, and the last iteration's terms unweighted."""
        settings, weights = self.settings, self.settings.terms
        strength = self._distillation_strength(step)
        distil = strength > 0 and weights.distillation > 0
        # The students come first: under autocast, weights that were first used without gradients
        # would be cached without them.
        flows, views = self._students(batch, distil)
        evidence = Evidence.of(batch, weights.smoothness_order)
        occlusion = self._occlusion(step)

        def explain(flow: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            terms = evidence.terms(flow, occlusion)
            photometric, smoothness = terms["photometric"], terms["smoothness"]
            return weights.photometric * photometric + weights.smoothness * smoothness, terms

        shares = [settings.gamma ** (len(flows) - 1 - i) for i in range(len(flows))]
        loss, terms = _sequence(explain, flows, shares)
        learned = dict.fromkeys(("distillation", "trusted", "taught"), loss.new_zeros(()))
        if distil:
            lesson = self._lesson(batch)
            more, learned = _sequence(lesson, views, shares)
            loss = loss + strength * weights.distillation * more
        self._last = (batch.first(), flows[-1].detach()[:: len(batch.seen1)])
        motion = flows[-1].detach().square().sum(1).sqrt().mean()
        return {"loss": loss, **terms, **learned, "motion": motion}

    def pictures(self) -> dict[str, Tensor]:
        """Return the first pair as the network sees it and its flow, and what the flow explains.

        Above frame 1, frame 2 and the flow from 1 to 2; below where frame 1 counts as visible,
        frame 2 warped, and how far it is from frame 1, all in colours that are not augmented.
        """
        if self._last is None:
            return {}
        pair, flow = self._last
        evidence = Evidence.of(pair, self.settings.terms.smoothness_order)
        visible = evidence.warped(flow, self.settings.terms.occlusion)[1][:1]
        rows, columns = pair.margin
        outside = flow.new_tensor((columns, rows)).view(1, 2, 1, 1)
        warped = sample(pair.around2, grid_like(flow) + flow[:1] + outside)
        difference = (pair.plain1 - warped).abs()
        above = torch.cat((pair.seen1, pair.seen2, flow_to_color(flow[:1])))
        below = torch.cat((visible.expand_as(warped), warped, difference))
        picture = torch.cat((side_by_side(above), side_by_side(below)), 1)
        return {"frames 1, 2, flow; visible, frame 2 warped, difference": picture}

    def _distillation_strength(self, step: int) -> float:
        start, length = self.settings.distillation_start, self.settings.distillation_ramp
        return ramp(step, round(start * self.steps), round(length * self.steps))

    def _occlusion(self, step: int) -> str:
        begun = step >= self.settings.occlusion_start * self.steps
        return self.settings.terms.occlusion if begun else "none"

    def _students(self, batch: Windows, distil: bool) -> tuple[list[Tensor], list[Tensor]]:
        """Return flow after each iteration, both directions, `(2B, 2, h, w)`: of crops, of views.

        Views, the crops' inside enlarged, are seen where there is something to be distilled. Both
        go through the network together if memory allows: one large batch is faster than two small.
        """
        crops = (batch.seen1, batch.seen2)
        if not distil:
            return self._predictions(*crops), []
        margin = self.settings.terms.student_margin
        views1, views2 = (student_view(seen, margin) for seen in crops)
        if not self.network.holds_volume(2 * len(views1), *views1.shape[-2:]):
            return self._predictions(*crops), self._predictions(views1, views2)
        flows, views = [], []
        together = (torch.cat((crops[0], views1)), torch.cat((crops[1], views2)))
        for flow in self._predictions(*together):
            forward, forward_view, backward, backward_view = flow.chunk(4)
            flows.append(torch.cat((forward, backward)))
            views.append(torch.cat((forward_view, backward_view)))
        return flows, views

    def _predictions(self, image1: Tensor, image2: Tensor) -> list[Tensor]:
        iterations = self.settings.iterations
        return self.network.predictions(image1, image2, iterations, bidirectional=True)

    def _lesson(self, batch: Windows) -> Loss:
        """Return what tells how far a student that sees less is from its teacher."""
        terms = self.settings.terms
        with torch.no_grad():
            both = self.network.bidirectional(batch.plain1, batch.plain2, self.settings.iterations)
            teacher = torch.cat(both)
            trusted = teacher_mask(teacher, swap(teacher), terms)
            target = student_flow(teacher, terms.student_margin)

        def learn(flow: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            with torch.no_grad():
                mask = trusted * student_mask(flow, swap(flow), terms)
            # The mean is over all pixels, as SMURF's: few doubtful pixels weigh little.
            loss = distillation(target, flow, mask).mean()
            return loss, {"distillation": loss, "trusted": trusted.mean(), "taught": mask.mean()}

        return learn


def _sequence(
    loss: Loss, flows: list[Tensor], shares: list[float]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a loss summed over the iterations' flows by shares, and the last one's terms."""
    results = [settled(loss, flow) for flow in flows]
    total = flows[0].new_zeros(())
    for (value, _), share in zip(results, shares, strict=True):
        total = total + share * value
    return total, results[-1][1]


def freeze_batch_norm(network: nn.Module) -> None:
    """Keep batch norms at their learned statistics, as RAFT does after its first stage."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
