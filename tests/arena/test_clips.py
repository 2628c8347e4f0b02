"""What the arena shows and what it refuses, each refusal with the file and the limit."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from happyhorse.arena import clips
from happyhorse.arena.clips import inspect_clip
from happyhorse.errors import MediaError


def foreign(path, video="libx264", audio="aac", layout="stereo", fps=24, frames=24, rate=48_000, silent=False):
    """A clip of one second as some other program might write it."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream(video, rate=fps)
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        sound = container.add_stream(audio, rate=rate, layout=layout) if audio else None
        for index in range(frames):
            frame = VideoFrame.from_ndarray(np.full((64, 64, 3), 9 * index % 256, np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        if sound is not None:
            channels = sound.codec_context.layout.nb_channels
            wave = np.zeros((channels, rate)) if silent else 0.2 * np.sin(np.arange(rate) / 20) * np.ones((channels, 1))
            for start in range(0, rate - rate % 960, 960):
                block = AudioFrame.from_ndarray(
                    np.ascontiguousarray(wave[:, start : start + 960], np.float32), format="fltp", layout=layout
                )
                block.sample_rate, block.pts, block.time_base = rate, start, Fraction(1, rate)
                container.mux(sound.encode(block))
            container.mux(sound.encode(None))
    return path


def test_a_clip_is_measured(write_clip, tmp_path):
    facts = inspect_clip(write_clip(tmp_path / "a.mp4", level=0.1))
    assert (facts.width, facts.height, facts.fps, facts.seconds) == (32, 32, 24, 0.5)
    assert facts.lufs == pytest.approx(-20, abs=1.5) and facts.peak == pytest.approx(0.1, abs=0.02)
    assert facts.gain == pytest.approx(-23 - facts.lufs)


def test_other_programs_clips_are_shown(tmp_path):
    facts = inspect_clip(foreign(tmp_path / "a.webm", "libvpx-vp9", "libopus"))
    assert facts.seconds == pytest.approx(1) and facts.lufs is not None


def test_a_silent_clip_is_shown_as_it_is(tmp_path):
    facts = inspect_clip(foreign(tmp_path / "a.mp4", silent=True))
    assert facts.lufs is None and facts.gain == 0


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"audio": None}, r"a\.mp4 has no sound"),
        ({"layout": "5.1"}, r"a\.mp4 has 6 channels; the limit is 2"),
        ({"video": "mpeg4"}, r"the picture of .*a\.mp4 is coded as mpeg4, .* give h264, vp8, vp9, av1"),
        ({"audio": "ac3"}, r"the sound of .*a\.mp4 is coded as ac3, .* give aac, mp3, opus, vorbis"),
        ({"frames": 9}, r"a\.mp4 lasts 0\.38 s; the limits are 0\.5 to 60 s: give a longer one"),
    ],
)
def test_clips_that_are_refused(tmp_path, changes, words):
    with pytest.raises(MediaError, match=words):
        inspect_clip(foreign(tmp_path / "a.mp4", **changes))


def test_a_clip_that_is_too_long_is_refused_before_all_of_it_is_decoded(write_clip, tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.mp4", seconds=2.0)
    monkeypatch.setattr(clips, "SECONDS_MAX", 1.5)
    with pytest.raises(MediaError, match=r"a\.mp4 lasts 1\.5\d s; the limits are 0\.5 to 1\.5 s: cut it"):
        inspect_clip(path)
    monkeypatch.setattr(clips, "SECONDS_MAX", 0.9)
    with pytest.raises(MediaError, match=r"a\.mp4 lasts 2\.\d\d s; the limits are 0\.5 to 0\.9 s: cut it"):
        inspect_clip(path)


def test_files_that_are_no_clips(write_clip, tmp_path):
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    with pytest.raises(MediaError, match=r"a\.gif ends in \.gif; the arena shows \.mp4 and \.webm"):
        inspect_clip(tmp_path / "a.gif")
    with pytest.raises(MediaError, match="was not found"):
        inspect_clip(tmp_path / "b.mp4")
    (tmp_path / "c.mp4").write_bytes(b"nonsense" * 100)
    with pytest.raises(MediaError, match=r"c\.mp4 is damaged or not a media file"):
        inspect_clip(tmp_path / "c.mp4")


def test_a_clip_that_was_cut_off_is_refused_or_short(write_clip, tmp_path):
    data = write_clip(tmp_path / "a.mp4", seconds=2.0).read_bytes()
    for kept in (0.3, 0.6, 0.9):
        (tmp_path / "cut.mp4").write_bytes(data[: int(kept * len(data))])
        try:
            assert inspect_clip(tmp_path / "cut.mp4").seconds <= 2
        except MediaError as error:
            assert "cut.mp4" in str(error)
