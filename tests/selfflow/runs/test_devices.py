import pytest
import torch

from selfflow.runs.devices import pick_device
from selfflow.runs.errors import UserError


def test_auto_is_the_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert pick_device("auto").type == pick_device(None).type == kind


def test_a_gpu_that_is_not_there_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda:1")
    assert pick_device("cuda").type == "cuda"
    with pytest.raises(UserError, match="no device cuda:2"):
        pick_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no device cuda "):
        pick_device("cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "cpu:0"])
def test_an_unknown_name_is_a_user_error(name: str) -> None:
    with pytest.raises(UserError, match="unknown device"):
        pick_device(name)
