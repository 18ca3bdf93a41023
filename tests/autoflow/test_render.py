import pytest
import torch

from autoflow import Hyperparameters, render
from autoflow.scene import draw_scenes
from autoflow.views import Views
from selfflow.runs.config import replace_values

SIZE = (72, 104)


def samples_equal(a, b, rows_a=slice(None), rows_b=slice(None), tolerance=0.0):
    for name, value in vars(a).items():
        other = getattr(b, name)
        torch.testing.assert_close(
            value[rows_a], other[rows_b], rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.fixture(scope="module")
def batch():
    return render(Hyperparameters(), 1, range(8), size=SIZE)


def test_a_sample_is_what_the_conventions_say(batch):
    height, width = SIZE
    assert batch.frames.shape == (8, 2, 3, height, width)
    assert batch.forward.shape == batch.backward.shape == (8, 1, 2, height, width)
    for mask in (batch.visible_forward, batch.visible_backward, batch.valid):
        assert mask.shape == (8, 1, 1, height, width)
        assert mask.dtype == torch.bool
    assert batch.layers.shape == (8, 2, 1, height, width)
    assert batch.layers.dtype == torch.int64
    assert batch.frames.min() >= 0
    assert batch.frames.max() <= 1
    assert all(value.isfinite().all() for value in vars(batch).values())


def test_a_sample_depends_on_its_number_alone(batch):
    samples_equal(render(Hyperparameters(), 1, [5], size=SIZE), batch, rows_b=[5], tolerance=1e-6)
    shuffled = [6, 0, 3]
    part = render(Hyperparameters(), 1, torch.tensor(shuffled), size=SIZE)
    samples_equal(part, batch, rows_b=shuffled, tolerance=1e-6)


def test_flow_and_masks_are_the_same_bit_for_bit_in_any_batch(batch):
    alone = render(Hyperparameters(), 1, [5], size=SIZE)
    for name in ("forward", "backward", "visible_forward", "visible_backward", "layers"):
        assert torch.equal(getattr(alone, name)[0], getattr(batch, name)[5])


def test_a_sample_does_not_depend_on_the_number_of_threads(batch):
    before = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            again = render(Hyperparameters(), 1, range(8), size=SIZE)
            samples_equal(again, batch, tolerance=1e-6)
    finally:
        torch.set_num_threads(before)


def test_numbers_seeds_and_sets_change_what_is_rendered(batch):
    first = batch.frames[0]
    assert not torch.equal(first, batch.frames[1])
    assert not torch.equal(first, render(Hyperparameters(), 2, [0], size=SIZE).frames[0])
    changed = replace_values(Hyperparameters(), {"layers.size": 0.3})
    assert not torch.equal(first, render(changed, 1, [0], size=SIZE).frames[0])


def test_a_scene_is_the_same_at_every_resolution(plain):
    small = render(plain, 1, range(4), size=(96, 128))
    large = render(plain, 1, range(4), size=(192, 256))
    shrunk = large.forward[:, 0, :, ::2, ::2] / 2
    same = small.layers[:, 0] == large.layers[:, 0, :, ::2, ::2]
    assert same.float().mean() > 0.97
    difference = (small.forward[:, 0] - shrunk).norm(dim=1, keepdim=True)
    # Every second pixel of the large frame lies a quarter of a small pixel off its twin.
    assert difference[same].quantile(0.95) < 0.1


def test_clips_have_flow_between_all_neighbours():
    clip = render(Hyperparameters(), 1, range(2), size=SIZE, frames=4)
    assert clip.frames.shape[:2] == (2, 4)
    assert clip.forward.shape[:2] == clip.backward.shape[:2] == (2, 3)
    pairs = clip.pairs()
    assert len(pairs) == 6
    assert torch.equal(pairs.image1[4], clip.frames[1, 1])
    assert torch.equal(pairs.image2[4], clip.frames[1, 2])
    assert torch.equal(pairs.flow[4], clip.forward[1, 1])
    assert torch.equal(pairs.visible[4], clip.visible_forward[1, 1])
    backwards = clip.pairs(reverse=True)
    assert torch.equal(backwards.image1[4], clip.frames[1, 2])
    assert torch.equal(backwards.flow[4], clip.backward[1, 1])


def test_only_blocks_that_a_layer_cannot_touch_are_left_out(plain, monkeypatch):
    wild = {
        "foreground.deformation": 0.05,
        "foreground.perspective": 0.3,
        "background.deformation": 0.05,
        "shapes.thin": 0.5,
        "effects.shadows": 0.5,
        "effects.soft_edges": 0.5,
        "effects.motion_blur": 0.5,
    }
    hyperparameters = replace_values(plain, wild)
    culled = render(hyperparameters, 3, range(4), size=SIZE)

    def all_present(self, layer, spans, margin):
        present = self.scenes.present[self.scene, layer]
        return present[:, None] & torch.ones_like(spans[0], dtype=torch.bool)

    monkeypatch.setattr(Views, "meets", all_present)
    samples_equal(culled, render(hyperparameters, 3, range(4), size=SIZE), tolerance=1e-6)


def test_the_number_of_layers_is_within_its_range(plain):
    scenes = draw_scenes(
        replace_values(plain, {"layers.count": (1, 3)}), 0, torch.arange(64), SIZE, 2
    )
    counts = scenes.present.sum(1) - 1
    assert set(counts.tolist()) == {1, 2, 3}


def test_no_foreground_is_a_scene_too(plain):
    empty = replace_values(plain, {"layers.count": (0, 0)})
    sample = render(empty, 0, range(2), size=SIZE)
    assert (sample.layers == 0).all()
    assert sample.visible_forward.float().mean() > 0.5


@pytest.mark.parametrize(
    ("indices", "size", "frames"), [([], SIZE, 2), ([0], (1, 64), 2), ([0], SIZE, 1)]
)
def test_impossible_requests_are_errors(indices, size, frames):
    with pytest.raises(ValueError, match="needs"):
        render(Hyperparameters(), 0, indices, size=size, frames=frames)


def test_sizes_need_not_be_multiples_of_anything():
    sample = render(Hyperparameters(), 0, [0], size=(37, 71))
    assert sample.frames.shape[-2:] == (37, 71)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_renders_what_the_cpu_renders():
    size = (224, 288)
    on_cpu = render(Hyperparameters(), 1, range(4), size=size)
    on_gpu = render(Hyperparameters(), 1, range(4), size=size, device="cuda")
    close = (on_cpu.frames - on_gpu.frames.cpu()).abs() <= 1 / 255
    assert close.float().mean() > 0.995
