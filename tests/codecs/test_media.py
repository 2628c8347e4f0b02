import av
import numpy as np
import pytest

from happyhorse.codecs import media
from happyhorse.codecs.media import probe, read_mp4, read_wav, write_mp4, write_wav
from happyhorse.errors import MediaError, OutputError


def tone(seconds, channels=1, rate=24_000):
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    return np.stack([wave / (1 + channel) for channel in range(channels)]).astype(np.float32)


@pytest.fixture
def clip(tmp_path, moving_frames):
    path = tmp_path / "clip.mp4"
    write_mp4(path, moving_frames, tone(0.5), 24, 24_000, '{"prompt": "你好 é"}')
    return path


def test_five_seconds_are_exactly_five_seconds(tmp_path, moving_frames):
    path = tmp_path / "five.mp4"
    write_mp4(path, np.concatenate([moving_frames] * 10), tone(5), 24, 24_000)
    with av.open(str(path)) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, sound.codec_context.name) == ("h264", "aac")
        assert video.codec_context.pix_fmt == "yuv420p"
        assert float(video.duration * video.time_base) == 5.0
        assert float(sound.duration * sound.time_base) == pytest.approx(5.0, abs=1e-4)
        assert (video.frames, float(video.average_rate), sound.rate) == (120, 24.0, 24_000)
        assert container.duration == 5_000_000


def test_what_is_read_is_what_was_written(clip, moving_frames):
    read = read_mp4(clip)
    assert read.frames.shape == moving_frames.shape
    assert (read.fps, read.sample_rate, read.comment) == (24, 24_000, '{"prompt": "你好 é"}')
    difference = read.frames.astype(float) - moving_frames
    assert 10 * np.log10(255**2 / np.mean(difference**2)) > 38
    assert np.abs(difference.mean(axis=(0, 1, 2))).max() < 0.5, "colours shifted: the matrix or range is wrong"
    assert read.audio.shape == (1, 12_000)
    middle = slice(2000, 10_000)  # the encoder fades in and out at the very ends
    assert np.abs(read.audio - tone(0.5))[:, middle].max() < 0.01


def test_stereo_keeps_its_sides(tmp_path, moving_frames):
    write_mp4(tmp_path / "s.mp4", moving_frames, tone(0.5, channels=2), 24, 24_000)
    left, right = read_mp4(tmp_path / "s.mp4").audio[:, 2000:10_000]
    assert left.std() == pytest.approx(2 * right.std(), rel=0.02)


def test_the_same_clip_is_the_same_file(tmp_path, moving_frames):
    frames = np.concatenate([moving_frames, moving_frames[::-1]] * 2)
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        write_mp4(tmp_path / name, frames, tone(2), 24, 24_000, "recipe")
    first, *others = ((tmp_path / name).read_bytes() for name in ("a.mp4", "b.mp4", "c.mp4"))
    assert all(other == first for other in others)


def test_probe_reads_the_head(clip):
    facts = probe(clip)
    assert (facts.width, facts.height, facts.fps, facts.seconds) == (96, 64, 24, 0.5)
    assert (facts.sample_rate, facts.channels) == (24_000, 1)


def test_a_full_disk_leaves_no_file(tmp_path, moving_frames, disk_of):
    with pytest.raises(OutputError, match="no space left"), disk_of(2000):
        write_mp4(tmp_path / "a.mp4", moving_frames, tone(0.5), 24, 24_000)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_encoding_leaves_no_file(tmp_path, moving_frames, monkeypatch):
    def interrupted(*_):
        yield from ()
        raise KeyboardInterrupt

    monkeypatch.setattr(media, "_audio_packets", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_mp4(tmp_path / "a.mp4", moving_frames, tone(0.5), 24, 24_000)
    assert list(tmp_path.iterdir()) == []


def test_odd_sides_are_refused(tmp_path):
    with pytest.raises(OutputError, match="33x32"):
        write_mp4(tmp_path / "a.mp4", np.zeros((2, 32, 33, 3), np.uint8), tone(0.1), 24, 24_000)


@pytest.mark.parametrize("reader", [read_mp4, read_wav, probe])
def test_files_that_are_not_media(tmp_path, reader):
    (tmp_path / "text.mp4").write_text("not a film at all\n" * 50)
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(MediaError, match="damaged or not a"):
        reader(tmp_path / "text.mp4")
    with pytest.raises(MediaError, match="is empty"):
        reader(tmp_path / "empty.mp4")
    with pytest.raises(MediaError, match="not found"):
        reader(tmp_path / "missing.mp4")
    with pytest.raises(MediaError, match="is a folder"):
        reader(tmp_path)


def test_a_file_cut_short(clip):
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError):
        read_mp4(clip)


def test_limits_are_named(clip, monkeypatch):
    for limit, value, message in (
        ("FILE_BYTES_MAX", 1000, "limit is 0 MiB"),
        ("SIDE_MAX", 50, "96x64; the limit is 50 px"),
        ("SECONDS_MAX", 0.1, "the limit is 0.1 s"),
        ("DECODED_BYTES_MAX", 1000, "GiB decoded"),
    ):
        with monkeypatch.context() as patch, pytest.raises(MediaError, match=message):
            patch.setattr(media, limit, value)
            read_mp4(clip)


def test_a_film_needs_picture_and_sound(tmp_path, moving_frames):
    write_wav(tmp_path / "a.wav", tone(0.2), 24_000)
    with pytest.raises(MediaError, match="no picture"):
        read_mp4(tmp_path / "a.wav")
    with av.open(str(tmp_path / "silent.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for pixels in moving_frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(MediaError, match="no sound"):
        read_mp4(tmp_path / "silent.mp4")
    with pytest.raises(MediaError, match="no sound"):
        read_wav(tmp_path / "silent.mp4")


def test_wav_round_trip(tmp_path):
    write_wav(tmp_path / "a.wav", tone(0.2, channels=2), 24_000)
    audio, rate = read_wav(tmp_path / "a.wav")
    assert rate == 24_000
    assert np.abs(audio - tone(0.2, channels=2)).max() < 1e-4
