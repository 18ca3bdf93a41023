"""Films of pictures."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from selfflow.film import write_film
from selfflow.io import Bytes
from selfflow.videofile import VideoFile


def test_a_film_shows_the_pictures_at_the_rate(tmp_path: Path, films: SimpleNamespace) -> None:
    pictures = films.film(0, 6, height=47, width=65)
    write_film(tmp_path / "new" / "film.mp4", iter(pictures), 12.5)
    film = VideoFile(tmp_path / "new" / "film.mp4")
    assert (len(film), film.size, film.frame_rate) == (6, (48, 66), pytest.approx(12.5))
    for index, picture in enumerate(pictures):
        assert np.abs(film.frame(index)[:47, :65].astype(int) - picture).mean() < 12


def test_a_film_that_fails_on_the_way_is_not_there(tmp_path: Path, films: SimpleNamespace) -> None:
    def broken() -> Iterator[Bytes]:
        yield from films.film(0, 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_film(tmp_path / "film.mp4", broken())
    assert not list(tmp_path.iterdir())
    write_film(tmp_path / "film.mp4", films.film(0, 2))
    assert cv2.VideoCapture(str(tmp_path / "film.mp4")).get(cv2.CAP_PROP_FPS) == 10
