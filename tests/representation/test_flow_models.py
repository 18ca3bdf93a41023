"""FlowE's batches with flow from any model, in the step or from the cache."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision

from representation.flow_cache import ComputedFlow, FlowCache
from representation.methods.flowe import ViewPair
from representation.pretrain import assemble, batches_for, flow_folder, method_class
from selfflow.io import write_image
from selfflow.runs.config import load

MODELS = ["s-af-small", "default-small", "dis", "farneback", "torchvision:raft_small", "file.pth"]
TINY = {
    "device": "cpu",
    "flow_iterations": 2,
    "frames.batch_size": 2,
    "views.height": 48,
    "views.width": 64,
    "views.affine": False,
    "encoder.architecture": "timm/test_resnet",
    "heads.hidden": 8,
    "heads.out": 4,
    "flowe.loss_at": "cells",
}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a folder of frames in which a texture moves by two pixels a frame."""
    folder = tmp_path_factory.mktemp("target") / "film"
    folder.mkdir()
    small = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    texture = F.interpolate(small, (72, 96), mode="bicubic").clamp(0, 1)
    pixels = (texture[0] * 255).byte().permute(1, 2, 0)
    for number in range(4):
        write_image(folder / f"{number:05d}.png", pixels.roll(2 * number, 1).numpy())
    return str(folder)


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torchvision's networks, with random weights, are where they are downloaded to."""
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    state = torchvision.models.optical_flow.raft_small().state_dict()
    url = torchvision.models.optical_flow.Raft_Small_Weights.DEFAULT.url
    downloaded = tmp_path / "torch" / "hub" / "checkpoints" / Path(url).name
    downloaded.parent.mkdir(parents=True)
    torch.save(state, downloaded)
    torch.save(state, tmp_path / "file.pth")


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("name", MODELS)
def test_any_model_gives_the_flow_in_the_step_or_once(name: str, scale: float, film: str):
    values = {**TINY, "flow_model": name, "target": film, "flow_scale": scale}
    parts = assemble(load(method_class("flowe").Settings, values=values))
    assert isinstance(parts.flow, ComputedFlow)
    make = batches_for(parts, cached=False)
    computed: ViewPair = make(0)
    assert not flow_folder().exists()
    read: ViewPair = [batches_for(parts, cached=True)(0) for _ in range(2)][1]
    assert len(list(flow_folder().rglob("*.npy"))) == 2
    for batch in (computed, read):
        assert batch.forward is not None
    assert computed.forward is not None
    assert read.forward is not None
    # Half precision moves the places by less than a tenth of a pixel, and few of them out of view.
    torch.testing.assert_close(read.forward.targets, computed.forward.targets, atol=0.1, rtol=0)
    assert (read.forward.valid == computed.forward.valid).float().mean() > 0.95
    loss = parts.method.step(read, 0)["loss"]
    assert torch.isfinite(loss)


def test_dis_finds_the_texture_again(film: str):
    values = {**TINY, "flow_model": "dis", "target": film, "views.zoom": (1.0, 1.0)}
    parts = assemble(load(method_class("flowe").Settings, values=values))
    batch: ViewPair = batches_for(parts)(0)
    assert batch.forward is not None
    moved = (batch.forward.targets - batch.forward.positions)[:, :, 1:-1, 1:-1]
    expected = torch.tensor((2.0, 0.0)).view(1, 2, 1, 1).expand_as(moved)
    assert (moved - expected).abs().median() < 0.2


def test_two_models_do_not_share_their_flow(film: str):
    kept = set()
    for name in MODELS[:4]:
        values = {**TINY, "flow_model": name, "target": film}
        parts = assemble(load(method_class("flowe").Settings, values=values))
        assert parts.flow is not None
        kept.add(FlowCache(parts.flow, flow_folder()).folder)
    assert len(kept) == 4
