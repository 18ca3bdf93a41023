import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import selfflow
from selfflow.classical import Dis
from selfflow.models import (
    TORCHVISION,
    default_model,
    known_models,
    load,
    load_average,
    load_network,
    save,
    save_half,
)
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


def test_torchvisions_weights_are_named_as_it_names_them() -> None:
    from torchvision.models import get_model_weights

    for model, named in TORCHVISION.items():
        published = get_model_weights(model)
        assert sorted(named) == sorted(weights.name for weights in published)
        assert named[0] == published.DEFAULT.name


def test_an_unknown_name_is_answered_without_torchvision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whose import takes seconds, and a minute on a machine that is busy."""
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(UserError, match="torchvision:raft_small:C_T_V1"):
        load("mien")


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


def test_a_file_of_torchvisions_own_network_gives_its_flow(tmp_path: Path) -> None:
    from torchvision.models.optical_flow import raft_small as theirs

    torch.manual_seed(0)
    other = theirs().eval()
    torch.save(other.state_dict(), tmp_path / "raft_small.pth")
    pair = torch.rand(2, 1, 3, 128, 136)
    with torch.no_grad():
        expected = other(*(2 * pair - 1), num_flow_updates=3)[-1]
        flow = load(tmp_path / "raft_small.pth")(*pair, 3)
    torch.testing.assert_close(flow, expected, atol=1e-4, rtol=0)


def test_the_model_that_nobody_names_is_the_better_one_that_is_there() -> None:
    assert default_model() == "s-af-small"  # shipped
    save("s-af-small", raft_small(), {})
    assert default_model() == "s-af-small"
    assert isinstance(load(), RAFT)


def test_a_run_is_a_model(tmp_path: Path) -> None:
    network = raft_small()
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(UserError, match="run is a folder without a network"):
        load(run)
    # Stopped on the way: what the loop keeps in its checkpoint.
    torch.save({"modules": {"network": network.state_dict()}, "step": 3}, run / "checkpoint.pt")
    assert _same(load_network(run)[0], network)
    # Done: the model that it stored.
    stored = save("mine", raft_small(), {"target": "sample"})
    (run / "results.json").write_text(json.dumps({"model": str(stored)}))
    loaded, metadata = load_network(run)
    assert _same(loaded, load_network("mine")[0])
    assert metadata["target"] == "sample"
    # Its own copy, which no later run of that name replaces; a search has it in a folder.
    save(run / "network.safetensors", network, {})
    assert _same(load_network(run)[0], network)
    run.rename(tmp_path / "train")
    assert _same(load_network(tmp_path)[0], network)


def test_a_folder_does_not_hide_what_is_built_in(tmp_path: Path) -> None:
    (tmp_path / "dis").mkdir()
    assert isinstance(load("dis"), Dis)


def _same(one: RAFT, other: RAFT) -> bool:
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_a_loaded_network_builds_no_graph_and_one_to_train_does() -> None:
    save("mine", raft_small(), {})
    pair = torch.rand(2, 1, 3, 64, 64)
    assert not load("mine")(*pair, 1).requires_grad
    assert load_network("mine")[0](*pair, 1).requires_grad


def test_other_things_than_images_are_refused_in_words() -> None:
    save("mine", raft_small(), {})
    model = load("mine")
    frame = np.zeros((64, 72, 3), np.uint8)
    for wrong in (frame, torch.from_numpy(frame), torch.zeros(1, 3, 64, 72, dtype=torch.uint8)):
        with pytest.raises((ValueError, TypeError), match=r"image1 must be .*\(B, 3, H, W\)"):
            model(wrong, wrong)


def test_importing_the_package_imports_no_torch() -> None:
    script = "import sys, selfflow; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    with pytest.raises(AttributeError, match="lode"):
        selfflow.lode  # noqa: B018


def test_a_model_in_half_precision_is_the_same_but_for_rounding(tmp_path):
    torch.manual_seed(0)
    network = raft_small()
    path = save_half(tmp_path / "small.safetensors", network, {"target": "film"})
    assert path.stat().st_size < 2.2e6
    read, metadata = load_network(path)
    assert metadata["target"] == "film"
    for name, value in read.state_dict().items():
        assert value.dtype == network.state_dict()[name].dtype
        torch.testing.assert_close(value, network.state_dict()[name], rtol=1e-3, atol=1e-6)
    with pytest.raises(UserError, match="safetensors"):
        save_half(tmp_path / "small.pth", network, {})


def test_the_average_of_networks_is_that_of_their_weights(tmp_path):
    states = []
    for seed, name in enumerate("abc"):
        torch.manual_seed(seed)
        network = raft_small()
        save(name, network, {"target": name})
        states.append(network.state_dict())
    average, metadata = load_average(["a", "b", "c"])
    assert metadata["target"] == "a"
    for key, value in average.state_dict().items():
        torch.testing.assert_close(value, sum(state[key] for state in states) / 3)
    save("large", raft_large(), {})
    with pytest.raises(UserError, match="large has another architecture than a"):
        load_average(["a", "large"])
