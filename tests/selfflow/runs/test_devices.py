import subprocess
import sys

import pytest
import torch

from selfflow.runs.devices import pick_device
from selfflow.runs.errors import UserError


def have_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(("count", "kind"), [(2, "cuda"), (0, "cpu")])
def test_auto_is_the_gpu_if_there_is_one(
    monkeypatch: pytest.MonkeyPatch, count: int, kind: str
) -> None:
    have_gpus(monkeypatch, count)
    assert pick_device("auto") == pick_device(None) == torch.device(kind)


def test_a_gpu_that_is_not_there_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    have_gpus(monkeypatch, 2)
    assert pick_device("cuda:1") == torch.device("cuda:1")
    assert pick_device("cuda").type == "cuda"
    with pytest.raises(UserError, match="no device cuda:2"):
        pick_device("cuda:2")
    have_gpus(monkeypatch, 0)
    with pytest.raises(UserError, match="no device cuda "):
        pick_device("cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "cpu:0"])
def test_an_unknown_name_is_a_user_error(name: str) -> None:
    with pytest.raises(UserError, match="unknown device"):
        pick_device(name)


def test_each_process_of_torchrun_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    have_gpus(monkeypatch, 2)
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for name, value in {"WORLD_SIZE": 3, "LOCAL_WORLD_SIZE": 3, "MASTER_ADDR": "here"}.items():
        monkeypatch.setenv(name, str(value))
    for number, name in enumerate(("auto", "cuda")):
        monkeypatch.setenv("LOCAL_RANK", str(number))
        assert pick_device(name) == torch.device("cuda", number)
    assert chosen == [0, 1]
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="process 2 has no GPU of its own"):
        pick_device("auto")
    with pytest.raises(UserError, match="cuda:1 cannot be shared"):
        pick_device("cuda:1")


FAULTS = """
import resource
from selfflow.runs.devices import keep_freed_memory
kept = keep_freed_memory()
import torch
def faults():
    torch.ones(2**24)  # 64 MiB, beyond what the C library would keep by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
course = [faults() for _ in range(6)]
print(int(kept), course[-1] - course[-2])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    found = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    kept, faults = map(int, found.stdout.split())
    if kept:  # else it is another C library
        assert faults < 1000  # 64 MiB are 16,384 pages
