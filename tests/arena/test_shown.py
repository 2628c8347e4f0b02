from pathlib import Path

import av
import numpy as np
import pytest

pytest.importorskip("pyloudnorm")

from happyhorse.arena.arena import Arena
from happyhorse.arena.shown import write_shown
from happyhorse.codecs.media import probe, read_mp4, write_mp4
from happyhorse.errors import MediaError

RECIPE = '{"model": "foal", "weights": "0123456789abcdef", "prompt": "a ball"}'


@pytest.fixture
def clip(tmp_path: Path, moving_frames: np.ndarray) -> Path:
    """Half a second with a recipe."""
    tone = 0.3 * np.sin(np.arange(12_000) / 9).astype(np.float32)[None]
    write_mp4(tmp_path / "clip.mp4", moving_frames, tone, 24, 24_000, RECIPE)
    return tmp_path / "clip.mp4"


def test_what_is_shown_is_the_clip_without_its_recipe(clip: Path, tmp_path: Path) -> None:
    shown = tmp_path / "shown.mp4"
    write_shown(clip, shown)
    whole, bare = read_mp4(clip), read_mp4(shown)
    assert whole.comment == RECIPE and bare.comment == ""
    data = shown.read_bytes()
    assert b"foal" in clip.read_bytes()
    assert not any(word in data for word in (b"foal", b"0123456789abcdef", b"Lavf", b"a ball"))
    assert np.array_equal(bare.frames, whole.frames) and np.array_equal(bare.audio, whole.audio)
    assert probe(shown).seconds == probe(clip).seconds
    write_shown(clip, tmp_path / "again.mp4")
    assert (tmp_path / "again.mp4").read_bytes() == data


def test_tracks_lose_their_names(clip: Path, tmp_path: Path) -> None:
    named, shown = tmp_path / "named.mp4", tmp_path / "shown.mp4"
    with av.open(str(clip)) as read, av.open(str(named), "w") as written:
        copies = {stream.index: written.add_stream_from_template(stream) for stream in read.streams}
        for copy in copies.values():
            copy.metadata["handler_name"] = "pony-9000"
        for packet in read.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                written.mux(packet)
    write_shown(named, shown)
    assert b"pony-9000" in named.read_bytes() and b"pony-9000" not in shown.read_bytes()


def test_files_of_other_formats_are_said(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="H.264"):
        write_shown(clip.rename(tmp_path / "clip.webm"), tmp_path / "shown.webm")
    assert not list(tmp_path.glob("*shown*"))


def test_matches_give_what_is_shown_and_sweep_it_with_its_model(clip: Path, tmp_path: Path) -> None:
    arena = Arena(tmp_path / "arena")
    for number, name in enumerate(("one", "other")):
        folder = tmp_path / name
        folder.mkdir()
        film = read_mp4(clip)
        write_mp4(folder / "0.mp4", film.frames + number, film.audio, 24, 24_000, RECIPE.replace("foal", name))
        line = '{"file": "0.mp4", "prompt": "a ball", "category": "foley", "board": "text-to-video"}'
        (folder / "prompts.jsonl").write_text(line)
        arena.entries.add(name, folder)
    shown = tmp_path / "arena" / "shown"
    assert len(list(shown.iterdir())) == 2
    for path in shown.iterdir():
        path.unlink()  # as in an arena from before there were such copies
    match = arena.next_match("v", "text-to-video")
    assert {match.left_clip.parent, match.right_clip.parent} == {shown}
    assert probe(match.left_clip).comment == probe(match.right_clip).comment == ""
    arena.entries.remove("one")
    assert len(list(shown.iterdir())) == 1
