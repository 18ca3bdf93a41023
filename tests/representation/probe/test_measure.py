import pytest
import torch
from torch import Tensor, nn

from representation.encoder import Encoder
from representation.probe.images import IGNORED, LabelledImage, LabelledImages
from representation.probe.measure import cell_labels, probe
from representation.probe.settings import ProbeSettings
from representation.probe.watch import ProbeWatch
from representation.resnet import ResNet
from representation.snapshot import Snapshot
from selfflow.runs.loop import Task


class Colours(Encoder):
    """Features are the mean colours around the cells."""

    def __init__(self, stride: int = 8) -> None:
        super().__init__("colours", [3], [stride], mean=(0, 0, 0), std=(1, 1, 1), alignment=1)

    def backbone_stages(self, images: Tensor) -> list[Tensor]:
        return [nn.functional.avg_pool2d(images, self.backbone_stride, ceil_mode=True)]


@pytest.mark.parametrize("size", [(32, 40), (29, 35)])
def test_a_cell_has_the_label_of_most_of_its_pixels(size: tuple[int, int]) -> None:
    labels = torch.randint(IGNORED, 3, size, generator=torch.Generator().manual_seed(0))
    labels[:12, :20] = 2
    for encoder in (Colours(), ResNet("resnet18", 8)):
        found = cell_labels(labels, encoder, 3)
        centres = encoder.positions(*size)[0]
        assert found.shape == centres.shape[1:]
        counts = torch.zeros(*found.shape, 4)
        for y in range(size[0]):
            for x in range(size[1]):
                rows = (centres[1, :, 0] - y).abs()
                columns = (centres[0, 0] - x).abs()
                row, column = rows.argmin(), columns.argmin()
                if rows.sort().values[:2].unique().numel() == 1:  # a tie goes to the even cell
                    row = row + row % 2
                if columns.sort().values[:2].unique().numel() == 1:
                    column = column + column % 2
                counts[row, column, labels[y, x] + 1] += 1
        assert torch.equal(found, counts.argmax(2) - 1)


def coloured(seed: int, dense: bool = True) -> LabelledImage:
    """Return an image of two colours whose labels are the colours; or one of one colour."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.zeros(32, 48, dtype=torch.long)
    labels[:, 16 * (1 + seed % 2) :] = 1
    if not dense:
        labels[:] = seed % 2
    image = 0.1 * torch.rand(3, 32, 48, generator=generator) + 0.4
    image[0] += 0.3 * labels
    return LabelledImage(image[None], labels if dense else labels[0, 0])


def images(dense: bool = True) -> LabelledImages:
    train, test = ([coloured(n, dense) for n in part] for part in (range(12), range(12, 20)))
    return LabelledImages(train, test, 2, dense)


@pytest.mark.parametrize("kind", ["ridge", "neighbours"])
def test_colours_tell_coloured_things_and_nothing_tells_nothing(kind: str) -> None:
    settings = ProbeSettings.model_validate({"kind": kind, "neighbours": 5})
    found = probe(Colours(), images(), settings)
    assert found["probe_miou"] > 0.95
    assert found["probe_accuracy"] > 0.97
    whole = probe(Colours(), images(dense=False), settings)
    assert whole == {"probe_accuracy": 1.0}

    class Blind(Colours):
        def backbone_stages(self, images: Tensor) -> list[Tensor]:
            return [0 * stage + 1 for stage in super().backbone_stages(images)]

    assert probe(Blind(), images(), settings)["probe_miou"] < 0.5


class Training(Task[None]):
    def __init__(self, encoder: Encoder) -> None:
        self.modules = {"encoder": encoder}

    def step(self, batch: None, step: int) -> dict[str, Tensor]:
        return {"loss": torch.rand(())}


def test_the_watch_looks_before_the_first_step_and_then_every_so_many(
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.manual_seed(0)
    encoder = ResNet("resnet18", 32)  # in training mode
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    random = torch.get_rng_state()
    settings = ProbeSettings(data="somewhere", every=2)
    watch = ProbeWatch(Training(encoder), Snapshot(encoder, 8), images(), settings)
    told = []
    for step in range(4):
        if step == 1:
            torch.set_rng_state(random)
        watch.step(None, step)
        watch.after_step(step)
        told.append(watch.figures().keys() == {"probe_miou", "probe_accuracy"})
    assert told == [True, True, False, True]
    said = capsys.readouterr().err
    assert [f"after step {n}:" in said for n in range(5)] == [True, False, True, False, True]
    assert "probe miou 0." in watch.note()
    assert encoder.training
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    torch.set_rng_state(random)
    draws = torch.rand(3)
    torch.set_rng_state(random)
    watch.look(5)
    assert torch.equal(torch.rand(3), draws)


def test_a_snapshot_takes_the_weights_of_now_and_may_have_another_stride() -> None:
    encoder = ResNet("resnet18", 32)
    take = Snapshot(encoder, 8)
    image = torch.rand(1, 3, 64, 64)
    first = take()(image)
    assert first.shape[2:] == (8, 8)
    torch.testing.assert_close(first[:, :, ::4, ::4], encoder.eval()(image), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        encoder.layer4[1].bn2.bias.add_(1.0)
    assert not torch.equal(take()(image), first)
    assert Snapshot(encoder)().stride == 32
