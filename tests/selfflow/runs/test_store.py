import json
import struct
from pathlib import Path

import pytest
import torch

from selfflow.runs import store as module
from selfflow.runs.errors import UserError
from selfflow.runs.store import (
    find_model,
    read_metadata,
    read_model,
    save_model,
    store,
    stored_models,
    target_of,
)

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "n": torch.tensor(3)}
METADATA = {
    "kind": "flow",
    "target": "davis",
    "steps": 5,
    "losses": [0.5, 0.25],
    "nested": {"a": 1},
}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "_SHIPPED", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["s-af", "folder/m.safetensors", "m.safetensors"])
def test_a_model_comes_back_with_its_description(name: str) -> None:
    path = save_model(name, WEIGHTS, METADATA)
    assert path.exists()
    assert find_model(name) == path
    weights, metadata = read_model(path)
    assert metadata == read_metadata(path) == METADATA
    assert weights.keys() == WEIGHTS.keys()
    for key, value in WEIGHTS.items():
        assert torch.equal(weights[key], value)
        assert weights[key].dtype == value.dtype


def test_names_lie_in_the_store_and_paths_do_not(tmp_path: Path) -> None:
    assert save_model("s-af", WEIGHTS, {}) == store() / "s-af.safetensors"
    assert store() == tmp_path / "home" / "models"
    assert save_model("s-af-1.5", WEIGHTS, {}) == store() / "s-af-1.5.safetensors"
    assert find_model("s-af-1.5") == store() / "s-af-1.5.safetensors"
    assert save_model(tmp_path / "m", WEIGHTS, {}) == tmp_path / "m.safetensors"


def test_a_path_comes_before_the_store_before_what_is_shipped(tmp_path: Path) -> None:
    save_model(tmp_path / "shipped" / "m.safetensors", WEIGHTS, {"from": "shipped"})
    assert read_metadata(find_model("m")) == {"from": "shipped"}
    save_model("m", WEIGHTS, {"from": "store"})
    assert read_metadata(find_model("m")) == {"from": "store"}
    assert stored_models() == {"m": {"from": "store"}}
    (tmp_path / "m").mkdir()  # a folder is not a model
    assert read_metadata(find_model("m")) == {"from": "store"}
    save_model(tmp_path / "here.safetensors", WEIGHTS, {"from": "path"})
    (tmp_path / "here.safetensors").rename(tmp_path / "m.model")
    assert read_metadata(find_model("m.model")) == {"from": "path"}


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"no model 's-ag'.*none yet"):
        find_model("s-ag")
    save_model("s-af", WEIGHTS, {})
    save_model("features", WEIGHTS, {})
    with pytest.raises(UserError, match=r"no model 's-ag'.*features, s-af"):
        find_model("s-ag")


def test_the_known_ones_are_of_the_kind_that_is_looked_for() -> None:
    save_model("s-af", WEIGHTS, {"kind": "flow"})
    save_model("own", WEIGHTS, {})
    save_model("features", WEIGHTS, {"kind": "encoder"})
    with pytest.raises(UserError, match=r"\(features\)"):
        find_model("s-ag", "encoder")
    with pytest.raises(UserError, match=r"\(own, s-af\)"):
        find_model("s-ag", "flow")


def test_tensors_that_share_memory_are_saved() -> None:
    shared = torch.ones(3)
    weights, _ = read_model(save_model("m", {"a": shared, "b": shared, "c": shared[:2]}, {}))
    assert torch.equal(weights["c"], torch.ones(2))


@pytest.mark.parametrize("content", [b"", b"text, no weights", struct.pack("<Q", 10**12) + b"{}"])
def test_a_broken_file_is_a_user_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    for read in (read_model, read_metadata):
        with pytest.raises(UserError, match=r"broken\.safetensors is not a readable model"):
            read(path)


def test_a_broken_file_in_the_store_does_not_hide_the_others() -> None:
    save_model("good", WEIGHTS, {"kind": "flow"})
    (store() / "bad.safetensors").write_bytes(b"")
    models = stored_models()
    assert models["good"] == {"kind": "flow"}
    assert "not a readable model" in models["bad"]["problem"]


def test_weights_of_others_have_no_description(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(WEIGHTS, tmp_path / "m.safetensors", metadata={"format": "pt"})
    assert read_metadata(tmp_path / "m.safetensors") == {}
    save_file(WEIGHTS, tmp_path / "m.safetensors", metadata={"selfflow": json.dumps([1])})
    assert read_metadata(tmp_path / "m.safetensors") == {}


def test_an_unwritable_place_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        save_model(tmp_path / "file" / "m.safetensors", WEIGHTS, {})


def test_a_model_knows_its_target() -> None:
    save_model("known", WEIGHTS, {"target": "davis"})
    save_model("unknown", WEIGHTS, {})
    assert target_of("known") == "davis"
    for name in ("unknown", "dis"):
        with pytest.raises(UserError, match=f"--target is needed: {name} was not made for one"):
            target_of(name)
