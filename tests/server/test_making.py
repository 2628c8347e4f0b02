from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")

from happyhorse.codecs.images import read_image
from happyhorse.errors import MediaError
from happyhorse.sampling.given import load_image
from happyhorse.server.blobs import Blobs
from happyhorse.server.making import Media, sheet, thumbnail
from happyhorse.server.orders import Medium


def test_a_sheet_shows_sixteen_frames_in_reading_order(tmp_path: Path) -> None:
    levels = np.arange(32, dtype=np.uint8) * 8
    frames = np.broadcast_to(levels[:, None, None, None], (32, 32, 48, 3)).copy()
    (tmp_path / "sheet.jpg").write_bytes(sheet(frames))
    shown = read_image(tmp_path / "sheet.jpg")
    assert shown.shape == (4 * 32, 4 * 48, 3)
    middles = [shown[32 * row + 16, 48 * column + 24, 0] for row in range(4) for column in range(4)]
    assert np.abs(np.array(middles, int) - levels[1::2]).max() <= 3


def test_pictures_of_large_clips_are_small(tmp_path: Path) -> None:
    frames = np.zeros((4, 704, 1280, 3), np.uint8)
    (tmp_path / "thumbnail.jpg").write_bytes(thumbnail(frames))
    (tmp_path / "sheet.jpg").write_bytes(sheet(frames))
    assert read_image(tmp_path / "thumbnail.jpg").shape == (282, 512, 3)
    assert max(read_image(tmp_path / "sheet.jpg").shape) <= 1024


@pytest.mark.parametrize("place", ["folder", "memory://media"])
def test_media_come_from_any_store_without_their_paths(tmp_path: Path, place: str) -> None:
    blobs = Blobs(tmp_path / place if place == "folder" else place)
    media = Media(blobs, tmp_path)
    kept = blobs.put_bytes(thumbnail(np.full((2, 64, 96, 3), 90, np.uint8)), "image/jpeg")
    image = media.load("image", Medium(kept.hash, kept.media_type, kept.bytes), load_image)
    assert image.pixels.shape == (64, 96, 3) and image.source["path"] is None
    broken = blobs.put_bytes(b"no picture", "image/jpeg")
    with pytest.raises(MediaError, match="the given last image is not") as refused:
        media.load("last_image", Medium(broken.hash, "image/jpeg", 10), load_image)
    assert str(tmp_path) not in str(refused.value)
