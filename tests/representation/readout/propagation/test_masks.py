"""Masks in files, and sequences in DAVIS's layout."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from representation.readout.propagation.davis import choose_clips
from representation.readout.propagation.masks import (
    object_numbers,
    palette,
    read_indices,
    two_valued,
    write_indices,
)
from representation.readout.propagation.sequence import Truth
from selfflow.runs.errors import UserError


def test_255_is_the_object_where_there_are_two_values_and_void_where_there_are_indices(
    tmp_path: Path,
) -> None:
    two = np.array([[0, 255, 255]], np.uint8)
    several = np.array([[0, 1, 2, 255]], np.uint8)
    Image.fromarray(two).save(tmp_path / "two.png")
    write_indices(tmp_path / "several.png", several)
    assert two_valued(two)
    assert not two_valued(several)
    assert not two_valued(np.zeros((1, 3), np.uint8))
    numbers = object_numbers(tmp_path / "two.png", binary=True, merged=False)
    assert numbers.tolist() == [[0, 1, 1]]
    numbers = object_numbers(tmp_path / "several.png", binary=False, merged=False)
    assert numbers.tolist() == [[0, 1, 2, 0]]
    numbers = object_numbers(tmp_path / "several.png", binary=False, merged=True)
    assert numbers.tolist() == [[0, 1, 1, 0]]
    with pytest.raises(UserError, match=r"several.png: has the value 1"):
        object_numbers(tmp_path / "several.png", binary=True, merged=False)


def test_masks_are_written_as_indices_with_pascals_colours(tmp_path: Path) -> None:
    numbers = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_indices(tmp_path / "mask.png", numbers)
    with Image.open(tmp_path / "mask.png") as image:
        assert image.mode == "P"
        assert image.getpalette()[3:9] == [128, 0, 0, 0, 128, 0]
    assert np.array_equal(read_indices(tmp_path / "mask.png"), numbers)
    # PASCAL VOC's development kit, bit by bit.
    for number in range(256):
        colour, rest = [0, 0, 0], number
        for place in range(8):
            for channel in range(3):
                colour[channel] |= (rest >> channel & 1) << (7 - place)
            rest >>= 3
        assert palette()[number].tolist() == colour


def test_grey_masks_in_colour_files_are_read_and_coloured_ones_are_not(tmp_path: Path) -> None:
    grey = np.repeat(np.array([[0, 255]], np.uint8)[..., None], 3, 2)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert read_indices(tmp_path / "grey.png").tolist() == [[0, 255]]
    Image.fromarray(grey * np.array((1, 0, 0), np.uint8)).save(tmp_path / "red.png")
    Image.fromarray(grey[..., 0]).convert("1").save(tmp_path / "bits.png")
    assert read_indices(tmp_path / "bits.png").tolist() == [[0, 255]]
    (tmp_path / "text.png").write_text("no image")
    for name, reason in (
        ("red", "has colours"),
        ("text", "not an image"),
        ("none", "no such mask"),
    ):
        with pytest.raises(UserError, match=reason):
            read_indices(tmp_path / f"{name}.png")


def test_lists_are_followed_where_they_are(tmp_path: Path, davis: Callable[..., Path]) -> None:
    root = davis(tmp_path, names=("a", "b", "c"), frames=3)
    choice = choose_clips(root)
    assert (choice.year, choice.source) == (None, "all that have masks")
    assert [clip.name for clip in choice.clips] == ["a", "b", "c"]
    # DAVIS-2016 as it was first distributed, then as it comes with DAVIS-2017.
    first = root / "ImageSets/480p/val.txt"
    first.parent.mkdir(parents=True)
    lines = [
        f"/JPEGImages/480p/{n}/0000{i}.jpg /Annotations/480p/{n}/0000{i}.png"
        for n in "cb"
        for i in (0, 1)
    ]
    first.write_text("\n".join(lines))
    choice = choose_clips(root)
    assert (choice.year, choice.source) == (2016, "ImageSets/480p/val.txt")
    assert [clip.name for clip in choice.clips] == ["c", "b"]
    for year, names in ((2016, "b\n"), (2017, "b\na\n\n")):
        path = root / f"ImageSets/{year}/val.txt"
        path.parent.mkdir()
        path.write_text(names)
    choice = choose_clips(root)
    assert (choice.year, choice.source) == (2017, "ImageSets/2017/val.txt")
    assert [clip.name for clip in choice.clips] == ["b", "a"]
    assert [clip.name for clip in choose_clips(root, year=2016).clips] == ["b"]
    assert [clip.name for clip in choose_clips(root, names=("c",)).clips] == ["c"]
    assert choose_clips(root, subset="train").source == "all that have masks"


def test_the_first_and_the_last_frame_are_not_scored(
    tmp_path: Path, davis: Callable[..., Path]
) -> None:
    root = davis(tmp_path, frames=6)
    (root / "Annotations/480p/a/00003.png").unlink()
    clip = choose_clips(root).clips[0]
    assert clip.scored == [1, 2, 4]
    assert clip.shortened(4).scored == [1, 2]
    assert clip.shortened(None) is clip
    for index in (1, 2):
        (root / f"Annotations/480p/a/{index:05d}.png").unlink()
    with pytest.raises(UserError, match="no mask to score in its first 4 frames"):
        choose_clips(root).clips[0].shortened(4)


def test_what_is_missing_is_named(tmp_path: Path, davis: Callable[..., Path]) -> None:
    root = davis(tmp_path, frames=4)
    with pytest.raises(UserError, match="no folder JPEGImages/1080p"):
        choose_clips(root, resolution="1080p")
    with pytest.raises(UserError, match=r"sequence b: there is no folder .*JPEGImages/480p/b"):
        choose_clips(root, names=("b",))
    (root / "Annotations/480p/a/00000.png").unlink()
    with pytest.raises(UserError, match=r"no mask of the first frame, 00000\.png"):
        choose_clips(root)
    other = davis(tmp_path / "other", frames=4)
    for index in (1, 2):
        (other / f"Annotations/480p/a/0000{index}.png").unlink()
    with pytest.raises(UserError, match="none to score"):
        choose_clips(other)
    two = davis(tmp_path / "two", frames=2)
    with pytest.raises(UserError, match="2 frames, at least three are needed"):
        choose_clips(two)


def test_masks_without_objects_or_of_two_sizes_are_errors(
    tmp_path: Path, davis: Callable[..., Path]
) -> None:
    root = davis(tmp_path, frames=4)
    clip = choose_clips(root).clips[0]
    truth = Truth(clip, merged=False)
    assert truth.objects == [1, 2]
    assert Truth(clip, merged=True).objects == [1]
    write_indices(clip.masks[1], np.zeros((5, 7), np.uint8))
    with pytest.raises(UserError, match="the mask is 7x5, the first one of the sequence 96x64"):
        truth[1]
    write_indices(clip.masks[0], np.full((64, 96), 0, np.uint8))
    with pytest.raises(UserError, match="shows no object"):
        Truth(clip, merged=False)
