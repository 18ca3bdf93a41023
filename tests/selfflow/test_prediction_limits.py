"""What prediction takes: memory that a video's length does not change, 1080p, kill -9."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from selfflow.videofile import VideoFile

PREDICT = "import sys; from selfflow.cli import main; main(sys.argv[1:])"
MEASURED = """
import json, sys
from selfflow.runs.cost import peak_memory
import torch
{work}
print(json.dumps(peak_memory(torch.device("cpu"))))
"""


def peak(work: str, *arguments: object) -> int:
    """Return the peak memory in bytes of a process that does `work`."""
    script = MEASURED.format(work=work)
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        check=True, capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    return int(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_a_video_ten_times_as_long_takes_no_more_memory(
    tmp_path: Path, films: SimpleNamespace
) -> None:
    picture = films.texture(0, 64, 200)
    peaks = []
    for count in (200, 2000):
        video = tmp_path / f"{count}.mp4"
        places = [60 + int(50 * np.sin(number / 9)) for number in range(count)]
        films.write_video(video, [picture[:48, place : place + 64] for place in places])
        everything = ["--format", "kitti", "--visualize", "--visibility", "--quality"]
        work = """
from selfflow.cli import main
main(sys.argv[1:], standalone_mode=False)
"""
        out = tmp_path / f"out{count}"
        peaks.append(peak(work, "predict", video, "--model", "dis", "--out", out, *everything))
        assert len(VideoFile(out / "flow.mp4")) == count - 1
    assert peaks[1] < peaks[0] + 8 * 2**20, peaks


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["raft-small", "raft-large"])
def test_1080p_both_ways_takes_less_than_4_gb(architecture: str) -> None:
    work = """
from selfflow.raft import RAFT
network = RAFT(sys.argv[1]).eval()
with torch.no_grad():
    flows = network.bidirectional(*torch.rand(2, 1, 3, 1080, 1920), 1)
assert all(flow.shape == (1, 2, 1080, 1920) for flow in flows)
"""
    assert peak(work, architecture) < 4e9


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_files(
    tmp_path: Path, films: SimpleNamespace
) -> None:
    video = tmp_path / "clip.mp4"
    films.write_video(video, films.film(0, 120, step=2) + films.film(1, 60, step=2))
    everything = ["--visualize", "--visibility", "--quality", "--model", "dis"]

    def command(out: Path) -> list[str]:
        return [sys.executable, "-c", PREDICT, "predict", str(video), "--out", str(out),
                *everything]  # fmt: skip

    start = time.monotonic()
    subprocess.run(command(tmp_path / "whole"), check=True, timeout=600)
    seconds = time.monotonic() - start
    chooser = random.Random(0)
    kills = 0
    for _ in range(10):
        process = subprocess.Popen(command(tmp_path / "out"))
        try:
            process.wait(chooser.uniform(0.4, 0.9) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    subprocess.run(command(tmp_path / "out"), check=True, timeout=600)
    assert kills >= 3
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert (tmp_path / "whole" / "flow.mp4").exists()


def contents(folder: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
