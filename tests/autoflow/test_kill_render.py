"""A set whose rendering is killed is finished by the same command, with the same bytes."""

import multiprocessing
import time
from pathlib import Path

import pytest

from autoflow.cli import main
from autoflow.writer import LAYOUTS

PATIENCE = 300.0
COUNT = 24


def session(folder: Path, name: str, layout: str) -> None:
    size = ["--count", str(COUNT), "--size", "64x96", "--seed", "4"]
    main(["render", "--out", str(folder / name), "--layout", layout, "--device", "cpu", *size])


def contents(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def a_file_of(sample: int, layout: str) -> str:
    return list(LAYOUTS[layout](sample))[-1]


@pytest.mark.slow
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_killed_half_way_it_is_finished_with_the_same_files(tmp_path: Path, layout: str) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["autoflow.cli"])
    undisturbed, killed, last = (
        context.Process(target=session, args=(tmp_path, name, layout))
        for name in ("whole", "killed", "killed")
    )
    killed.start()
    end = time.monotonic() + PATIENCE
    while not (tmp_path / "killed" / a_file_of(5, layout)).exists():
        assert killed.is_alive()
        assert time.monotonic() < end
        time.sleep(0.002)
    killed.kill()
    killed.join()
    assert killed.exitcode == -9
    left = contents(tmp_path / "killed")
    assert a_file_of(COUNT - 1, layout) not in left
    # What a process leaves that is killed while it writes.
    half = tmp_path / "killed" / a_file_of(0, layout)
    half.with_name(f".0123456789ab-{half.name}").write_bytes(b"half")
    undisturbed.start()
    last.start()
    for process in (undisturbed, last):
        process.join(PATIENCE)
        assert process.exitcode == 0
    whole = contents(tmp_path / "whole")
    assert len(whole) > COUNT
    assert contents(tmp_path / "killed") == whole
