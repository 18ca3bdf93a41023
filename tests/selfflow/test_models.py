from pathlib import Path

import pytest
import torch
from torch import nn

import selfflow
from selfflow.classical import Dis
from selfflow.models import known_models, load, load_network, save
from selfflow.raft import RAFT, raft_large, raft_small
from selfflow.runs.errors import UserError
from selfflow.runs.store import save_model


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "runs"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)


def test_a_saved_network_comes_back_by_name_and_by_path(tmp_path: Path) -> None:
    network = raft_small().eval()
    path = save("mine", network, {"target": "sample", "steps": 3})
    loaded, metadata = load_network("mine")
    assert metadata["kind"] == "flow"
    assert metadata["architecture"] == "raft-small"
    assert metadata["target"] == "sample"
    assert metadata["steps"] == 3
    pair = torch.rand(2, 1, 3, 64, 64)
    with torch.no_grad():
        expected = network(*pair, 2)
        for model in (load("mine"), load(path), loaded.eval()):
            assert torch.equal(model(*pair, 2), expected)
    assert "mine" in known_models()
    save(tmp_path / "elsewhere.safetensors", network, {})
    assert isinstance(load(tmp_path / "elsewhere.safetensors"), RAFT)


def test_networks_are_loaded_for_use_or_for_training() -> None:
    save("mine", raft_large(norm="instance"), {})
    network = load("mine")
    assert isinstance(network, RAFT)
    assert not network.training
    assert network.architecture == "raft-large-instance"
    assert load_network("mine")[0].training


def test_a_name_in_the_store_comes_before_a_built_in_one() -> None:
    assert isinstance(load("dis"), Dis)
    save("dis", raft_small(), {})
    assert isinstance(load("dis"), RAFT)


def test_built_in_models_map_batches_of_images_to_flow() -> None:
    pair = torch.rand(2, 2, 3, 40, 48)
    for name in ("zero", "dis", "farneback"):
        model = selfflow.load(name)
        assert model(*pair).shape == (2, 2, 40, 48)
        forward, backward = model.bidirectional(*pair)
        assert forward.shape == backward.shape == (2, 2, 40, 48)


def test_an_unknown_name_lists_the_known_ones() -> None:
    save("mine", raft_small(), {})
    with pytest.raises(UserError) as caught:
        load("mien")
    message = str(caught.value)
    for known in ("mien", "mine", "zero", "dis", "farneback", "torchvision:raft_small"):
        assert known in message
    assert "\n" not in message


def test_a_classical_method_cannot_be_trained() -> None:
    with pytest.raises(UserError, match="dis"):
        load_network("dis")


def test_a_model_of_another_kind_is_refused_and_not_listed() -> None:
    save_model("features", nn.Linear(1, 1).state_dict(), {"kind": "encoder"})
    with pytest.raises(UserError, match="features"):
        load("features")
    assert "features" not in known_models()


def test_weights_that_do_not_fit_are_named() -> None:
    save_model("odd", nn.Linear(1, 1).state_dict(), {"kind": "flow"})
    with pytest.raises(UserError, match="odd does not fit raft-small"):
        load("odd")
    save_model("new", nn.Linear(1, 1).state_dict(), {"architecture": "raft-huge"})
    with pytest.raises(UserError, match="raft-huge"):
        load("new")


def test_torchvisions_weights_are_read_where_it_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []

    def fetch(url: str, **options: object) -> dict[str, torch.Tensor]:
        fetched.append((url, options["weights_only"]))
        return raft_small().state_dict()

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    model = load("torchvision:raft_small:C_T_V1")
    assert isinstance(model, RAFT)
    assert model.architecture == "raft-small"
    assert fetched[0][0].endswith("raft_small_C_T_V1-ad48884c.pth")
    assert fetched[0][1] is True


def test_weights_that_cannot_be_fetched_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(
        UserError, match=r"raft_large.*no route.*raft_large_C_T_SKHT_V2-\w+\.pth at"
    ):
        load("torchvision:raft_large")


def test_networks_are_loaded_from_princetons_or_torchvisions_files(tmp_path: Path) -> None:
    network = raft_large()
    torch.save(network.state_dict(), tmp_path / "raft_large.pth")
    loaded, metadata = load_network(tmp_path / "raft_large.pth")
    assert metadata["architecture"] == "raft-large"
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in network.state_dict().items())
