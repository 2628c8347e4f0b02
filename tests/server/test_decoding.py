import struct
import zlib

import av
import numpy as np
import pytest

from happyhorse.codecs.images import jpeg, write_png
from happyhorse.codecs.media import write_mp4, write_wav
from happyhorse.errors import MediaError
from happyhorse.server.decoding import decode
from happyhorse.server.uploads import UploadLimits

LIMITS = UploadLimits()
TONE = 0.3 * np.sin(np.arange(24_000)[None] / 20).astype(np.float32)


def encode(path, container, sound=None, picture=None, frames=(), rate=48_000):
    """Half a second of sound and the frames, as FFmpeg's encoders of these names write them."""
    with av.open(str(path), "w", format=container) as file:
        streams = []
        if picture:
            stream = file.add_stream(picture, rate=24)
            stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
            streams.append((stream, pictures(frames)))
        if sound:
            stream = file.add_stream(sound, rate=rate, layout="mono")
            streams.append((stream, samples(stream, rate)))
        for stream, media in streams:
            for frame in [*media, None]:
                for packet in stream.encode(frame):
                    file.mux(packet)


def pictures(frames):
    for number, pixels in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
        frame.pts = number
        yield frame


def samples(stream, rate):
    form, size = stream.codec_context.format, stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(format=form, layout="mono", rate=rate, frame_size=size)
    tone = 0.3 * np.sin(np.arange(rate // 2)[None] / 20).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
    frame.sample_rate, frame.pts = rate, 0
    return [*resampler.resample(frame), *resampler.resample(None)]


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [
        *(("mp3", "libmp3lame", 44_100), ("adts", "aac", 48_000), ("ipod", "aac", 44_100), ("flac", "flac", 48_000)),
        *(("ogg", "libopus", 48_000), ("ogg", "flac", 44_100), ("wav", "pcm_s24le", 44_100)),
    ],
)
def test_sound_in_every_format_that_is_taken(tmp_path, container, codec, rate):
    encode(tmp_path / "a", container, sound=codec, rate=rate)
    facts = decode(tmp_path / "a", "audio", LIMITS)
    assert facts.kind == "audio"
    assert facts.sample_rate == rate
    assert facts.seconds == pytest.approx(0.5, abs=0.06), "coders add a block or two"


def test_pictures_in_every_format_that_is_taken(tmp_path, moving_frames):
    write_png(tmp_path / "png", moving_frames[0])
    (tmp_path / "jpeg").write_bytes(jpeg(moving_frames[0]))
    encode(tmp_path / "webp", "webp", picture="libwebp", frames=moving_frames[:1])
    for name in ("png", "jpeg", "webp"):
        facts = decode(tmp_path / name, "image", LIMITS)
        assert (facts.width, facts.height, facts.pixels, facts.frames, facts.seconds) == (96, 64, 6144, 1, 0)


def test_video_in_every_format_that_is_taken(tmp_path, moving_frames):
    write_mp4(tmp_path / "mp4", moving_frames, TONE[:, :12_000], 24, 24_000)
    encode(tmp_path / "mov", "mov", picture="libx264", frames=moving_frames)
    encode(tmp_path / "webm", "webm", sound="libopus", picture="libvpx-vp9", frames=moving_frames)
    for name, sample_rate in (("mp4", 24_000), ("mov", 0), ("webm", 48_000)):
        facts = decode(tmp_path / name, "video", LIMITS)
        assert (facts.width, facts.height, facts.frames, facts.fps) == (96, 64, 12, 24.0)
        assert facts.seconds == pytest.approx(0.5, abs=0.05)
        assert facts.sample_rate == sample_rate


def test_the_sound_of_a_video(tmp_path, moving_frames):
    write_mp4(tmp_path / "mp4", moving_frames, TONE, 24, 24_000)
    facts = decode(tmp_path / "mp4", "audio", LIMITS)
    assert (facts.width, facts.sample_rate) == (0, 24_000)
    assert facts.seconds == pytest.approx(1, abs=0.05)


# --------------------------------------------------------------------------------------------------------------- limits
def test_pixels(tmp_path, moving_frames):
    write_png(tmp_path / "png", moving_frames[0])
    write_mp4(tmp_path / "mp4", moving_frames, TONE[:, :12_000], 24, 24_000)
    decode(tmp_path / "png", "image", LIMITS.replace(pixels=6144))
    for name, kind in (("png", "image"), ("mp4", "video")):
        with pytest.raises(MediaError, match=f"the {kind} is 96x64; the limit is 6,143 pixels"):
            decode(tmp_path / name, kind, LIMITS.replace(pixels=6143))


def test_a_picture_that_unpacks_to_hundreds_of_megabytes_is_never_unpacked(tmp_path):
    width, height, packer = 20_000, 10_000, zlib.compressobj(1)
    rows = [packer.compress(bytes(width * 3 + 1)) for _ in range(100)]  # far from all of them
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", b"".join(rows)),
        (b"IEND", b""),
    ]
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    (tmp_path / "bomb").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(MediaError, match="more than 36,000,000 pixels, which is the limit"):
        decode(tmp_path / "bomb", "image", LIMITS)


def test_seconds(tmp_path, moving_frames):
    write_wav(tmp_path / "wav", TONE, 24_000)
    write_mp4(tmp_path / "mp4", np.concatenate([moving_frames] * 2), TONE, 24, 24_000)
    decode(tmp_path / "wav", "audio", LIMITS.replace(seconds=1.0))
    for name, kind in (("wav", "audio"), ("mp4", "video")):
        with pytest.raises(MediaError, match=f"the {kind} lasts 1.0 s; the limit is 0.9 s"):
            decode(tmp_path / name, kind, LIMITS.replace(seconds=0.9))


def test_seconds_are_counted_and_not_only_read_off(tmp_path):
    """ADTS has no head at all, and its length is a guess."""
    encode(tmp_path / "short", "adts", sound="aac")
    (tmp_path / "long").write_bytes((tmp_path / "short").read_bytes() * 20)
    with pytest.raises(MediaError, match="the audio lasts .* s; the limit is 5 s"):
        decode(tmp_path / "long", "audio", LIMITS.replace(seconds=5.0))


def test_a_head_that_lies_about_its_seconds(tmp_path):
    encode(tmp_path / "flac", "flac", sound="flac")
    data = bytearray((tmp_path / "flac").read_bytes())
    data[21], data[22:26] = data[21] & 0xF0, (4800).to_bytes(4, "big")  # STREAMINFO: 4,800 samples in all
    (tmp_path / "flac").write_bytes(data)
    with pytest.raises(MediaError, match="the audio lasts 0.5 s; the limit is 0.3 s"):
        decode(tmp_path / "flac", "audio", LIMITS.replace(seconds=0.3))


def test_memory_that_a_video_will_take_is_reckoned_first(tmp_path, moving_frames):
    write_mp4(tmp_path / "mp4", moving_frames, TONE[:, :12_000], 24, 24_000)
    taken = 2 * 3 * 96 * 64 * 12
    decode(tmp_path / "mp4", "video", LIMITS.replace(decode_memory=taken))
    with pytest.raises(MediaError, match="the video takes 0 MiB decoded; the limit is"):
        decode(tmp_path / "mp4", "video", LIMITS.replace(decode_memory=taken - 1))


# -------------------------------------------------------------------------------------------- what is not what it seems
def test_lists_of_other_files_are_not_opened(tmp_path):
    """To FFmpeg this is a session description, to our first look a JPEG: it names a place to be reached."""
    text = b"\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    (tmp_path / "x").write_bytes(b"\xff\xd8\xff\xe0" + text + b" " * 100)
    with pytest.raises(MediaError, match="the image is damaged, or not the jpeg file that it begins as"):
        decode(tmp_path / "x", "image", LIMITS)


def test_a_file_that_begins_as_one_format_and_goes_on_as_another(tmp_path):
    """FFmpeg finds a transport stream behind a few odd bytes, and here they are the head of an MP3 frame."""
    encode(tmp_path / "ts", "mpegts", sound="aac")
    (tmp_path / "x").write_bytes(b"\xff\xfb\x90\x64" + (tmp_path / "ts").read_bytes())
    with av.open(str(tmp_path / "x")) as file:
        assert file.format.name == "mpegts"
    with pytest.raises(MediaError, match="the audio is damaged, or not the mp3 file that it begins as"):
        decode(tmp_path / "x", "audio", LIMITS)


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_good_heads_and_noise(tmp_path, kind, moving_frames):
    write_png(tmp_path / "image", moving_frames[0])
    write_wav(tmp_path / "audio", TONE, 24_000)
    write_mp4(tmp_path / "video", moving_frames, TONE[:, :12_000], 24, 24_000)
    data, rng = (tmp_path / kind).read_bytes(), np.random.default_rng(1)
    for keep in (40, 200, len(data) // 2):
        (tmp_path / "x").write_bytes(data[:keep] + rng.bytes(len(data) - keep))
        try:
            decode(tmp_path / "x", kind, LIMITS)
        except MediaError:
            continue


def test_half_a_file(tmp_path, moving_frames):
    write_mp4(tmp_path / "mp4", moving_frames, TONE[:, :12_000], 24, 24_000)
    data = (tmp_path / "mp4").read_bytes()
    (tmp_path / "x").write_bytes(data[:500])
    with pytest.raises(MediaError):
        decode(tmp_path / "x", "video", LIMITS)


def test_codecs_that_are_not_taken(tmp_path, moving_frames):
    encode(tmp_path / "mov", "mov", picture="mpeg2video", frames=moving_frames)
    with pytest.raises(MediaError, match="the video is coded as mpeg2video, which is not taken; use H.264 and AAC"):
        decode(tmp_path / "mov", "video", LIMITS)
    encode(tmp_path / "wav", "wav", sound="adpcm_ms")
    with pytest.raises(MediaError, match="the audio is coded as adpcm_ms"):
        decode(tmp_path / "wav", "audio", LIMITS)


def test_a_video_without_a_picture_and_a_sound_without_sound(tmp_path, moving_frames):
    encode(tmp_path / "mp4", "mp4", sound="aac")
    with pytest.raises(MediaError, match="the video holds no picture"):
        decode(tmp_path / "mp4", "video", LIMITS)
    encode(tmp_path / "silent", "mp4", picture="libx264", frames=moving_frames)
    with pytest.raises(MediaError, match="the audio holds no sound"):
        decode(tmp_path / "silent", "audio", LIMITS)
