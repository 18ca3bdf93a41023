"""`representation visualize`, on a few small frames."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from representation import visualization
from representation.cli import main
from representation.models import build, save
from representation.pictures.frames import Frames, evenly, open_frames
from selfflow.film import write_film
from selfflow.io import read_image, write_image

FRAMES = 4
PATCH = 12  # pixels


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))
    save("mine", build("timm/test_resnet", 32), {})
    return tmp_path / "home"


def pictures() -> list[np.ndarray]:
    """Return frames in which a striking patch moves by 8 pixels on a plain ground."""
    found = []
    patch = np.random.default_rng(0).integers(0, 256, (PATCH, PATCH, 3), np.uint8)
    for number in range(FRAMES):
        frame = np.full((64, 96, 3), 90, np.uint8)
        left = 16 + 8 * number
        frame[24 : 24 + PATCH, left : left + PATCH] = patch
        found.append(frame)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, frame in enumerate(pictures()):
        write_image(tmp_path / "frames" / f"{number}.png", frame)
    return tmp_path / "frames"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["visualize", *map(str, arguments), "--device", "cpu"])


def test_a_folder_of_frames_gives_pictures_films_and_matches(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ask = ("--encoder", "flow/s-af-small", folder, "--out", out, "--pixel", "22,30", "--frame", 0)
    result = run(*ask, "--segments", 2, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    products = ["pca", "segments-2", "neighbours-0-22-30"]
    assert summary["made"] == products
    assert [Path(film).parent.name for film in summary["films"]] == products
    for product in products:
        names = {path.name for path in (out / product).iterdir()}
        assert {"0.png", "3.png", "film.mp4", "visualization.json"} <= names
        assert read_image(out / product / "0.png").shape == (64, 2 * 96, 3)
        film = cv2.VideoCapture(str(out / product / "film.mp4"))
        assert film.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    note = json.loads((out / products[2] / "visualization.json").read_text())
    assert note["input"] == str(folder)
    assert {match["frame"] for match in note["matches"]} == {"1", "2", "3"}
    similar = [match["similarity"] for match in note["matches"]]
    assert similar == sorted(similar, reverse=True)
    for match in note["matches"]:  # the patch moves by whole cells
        assert match["similarity"] > 0.7
        assert match["x"] == pytest.approx(22 + 8 * int(match["frame"]), abs=2)
        assert match["y"] == pytest.approx(30, abs=2)
    assert read_image(out / products[2] / "best.png").shape == (64, 4 * 96, 3)
    # Again it keeps what is there, and makes what is new.
    again = run(*ask, "--segments", 3, "--json")
    assert json.loads(again.stdout)["kept"] == ["pca", "neighbours-0-22-30"]
    assert json.loads(again.stdout)["made"] == ["segments-3"]
    other = run("--encoder", "mine", folder, "--out", out)
    assert other.exit_code == 2
    assert "pca was made with encoder flow/s-af-small, not mine" in other.stderr


def test_a_video_and_images_of_several_sizes(folder: Path, tmp_path: Path) -> None:
    write_film(tmp_path / "film.mp4", pictures(), 25.0)
    size = ("--set", "short_side=48", "--set", "segments_of=each", "--segments", 2)
    out = tmp_path / "out"
    result = run("--encoder", "mine", tmp_path / "film.mp4", "--out", out, *size, "--json")
    assert result.exit_code == 0, result.output
    assert read_image(out / "pca" / "00003.png").shape == (48, 2 * 72, 3)
    assert (out / "segments-2-each" / "film.mp4").exists()
    write_image(folder / "small.jpg", np.full((40, 40, 3), 9, np.uint8))
    write_image(folder / "small.png", np.full((40, 40, 3), 99, np.uint8))
    result = run("--encoder", "mine", folder, "--out", tmp_path / "images")
    assert result.exit_code == 0, result.output
    names = {path.name for path in (tmp_path / "images" / "pca").iterdir()}
    assert {"00000-0.png", "00004-small.png", "00005-small.png"} < names
    assert "film.mp4" not in names
    one = run("--encoder", "mine", folder / "small.jpg", "--out", tmp_path / "one")
    assert one.exit_code == 0, one.output
    assert {path.name for path in (tmp_path / "one" / "pca").iterdir()} == {
        "small.png",
        "visualization.json",
    }


def test_of_several_sequences_each_has_a_folder_and_a_film(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        for number, frame in enumerate(pictures()[:3]):
            write_image(tmp_path / "both" / name / f"{number}.png", frame)
    result = run(
        "--encoder", "mine", tmp_path / "both", "--out", tmp_path / "out", "--pixel", "9,9"
    )
    assert result.exit_code == 0, result.output
    for name in ("one", "two"):
        names = {path.name for path in (tmp_path / "out" / "pca" / name).iterdir()}
        assert names == {"0.png", "1.png", "2.png", "film.mp4"}
    note = json.loads((tmp_path / "out" / "neighbours-0-9-9" / "visualization.json").read_text())
    assert [match["sequence"] for match in note["matches"]].count("two") == 3
    assert [match["sequence"] for match in note["matches"]].count("one") == 2


def test_a_resnet_of_stride_32_is_looked_at_at_8(folder: Path, tmp_path: Path) -> None:
    save("coarse", build("resnet18", 32), {})
    ask = ("--encoder", "coarse", folder, "--out", tmp_path / "out", "--dry-run")
    assert "resnet18 at stride 8" in run(*ask).stderr
    assert "resnet18 at stride 16" in run(*ask, "--set", "stride=16").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pixel", "200,3"), "pixel 200,3 is not in a frame of 96x64"),
        (("--pixel", "3"), "a pixel is x,y, such as 120,80, not 3"),
        (("--pixel", "3,3", "--frame", "9"), "there is no frame 9: there are 4"),
        (("--segments", "99999"), "99999 segments are more than"),
        (("--segments", "1"), "segments"),
    ],
)
def test_what_cannot_be_shown_is_one_line_and_leaves_nothing(
    arguments: tuple[str, ...], message: str, folder: Path, tmp_path: Path
) -> None:
    result = run("--encoder", "mine", folder, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 3  # what is used, and the error
    assert not (tmp_path / "out").exists()


def test_a_broken_frame_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:80])
    result = run("--encoder", "mine", folder, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "2.png" in result.stderr
    assert not list(tmp_path.glob("out/*"))


def test_an_interruption_leaves_no_part(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path, image: np.ndarray) -> None:
        if path.name == "2.png":
            raise KeyboardInterrupt
        write_image(path, image)

    monkeypatch.setattr(visualization, "write_image", interrupted)
    assert run("--encoder", "mine", folder, "--out", tmp_path / "out").exit_code == 130
    assert not list((tmp_path / "out").iterdir())


def test_few_of_many_frames_are_evenly_spread(folder: Path) -> None:
    assert evenly(4, None) == evenly(4, 9) == [0, 1, 2, 3]
    assert evenly(10, 2) == [2, 7]
    frames = Frames(open_frames(str(folder)), build("timm/test_resnet", 32), 32, 2)
    assert [frame.name for frame in frames] == ["1", "3"]
    assert frames[0].scale == (0.5, 0.5)
    np.testing.assert_array_equal(
        frames[0].image, cv2.resize(pictures()[1], (48, 32), interpolation=cv2.INTER_AREA)
    )
