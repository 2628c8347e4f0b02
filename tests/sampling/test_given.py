"""Media that a clip is made around: read, fitted, kept, and refused where they contradict each other."""

import av
import numpy as np
import pytest
import torch

from happyhorse.codecs.media import read_mp4, write_mp4, write_wav
from happyhorse.errors import ConfigError, MediaError, SizeError
from happyhorse.sampling.given import Given, at_24, load_film, load_image, load_sound
from happyhorse.sampling.pipeline import Pipeline, Stopwatch
from happyhorse.sampling.request import make_request
from happyhorse.types import ClipShape

BALL = "a red ball bounces on wood"
HALF = ClipShape(0.5, 64, 64)


@pytest.fixture(scope="module")
def pipe(tiny_model):
    return Pipeline.from_pretrained(tiny_model)


def tone(seconds: float, rate: int = 24_000) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def stripes(frames: int, rows: int = 64, columns: int = 64) -> np.ndarray:
    """A film whose every frame is another grey."""
    shades = np.linspace(20, 230, frames).round().astype(np.uint8)
    return np.broadcast_to(shades[:, None, None, None], (frames, rows, columns, 3)).copy()


def latents(pipe, given, seconds=0.5, size="64x64"):
    request = make_request(pipe.parts.sampling, BALL, seconds=seconds, size=size, seed=1, steps=2)
    with torch.inference_mode():
        return pipe.generate_latents(request, given, Stopwatch())


def test_a_sound_is_known_from_end_to_end_and_kept_as_it_is(pipe):
    given = Given(audio=load_sound(tone(0.5)))
    clip = pipe(BALL, audio=tone(0.5), size="64x64", steps=2, seed=1)
    assert np.array_equal(clip.audio[0], tone(0.5)) and len(clip.frames) == 12
    with torch.inference_mode():
        wave = torch.nn.functional.pad(torch.from_numpy(tone(0.5)), (0, 1000))[None]
        assert torch.equal(latents(pipe, given).audio, pipe.parts.audio.encode(wave))
    assert not torch.equal(latents(pipe, given).video, latents(pipe, Given()).video)


def test_a_film_is_known_from_end_to_end_and_kept_as_it_is(pipe):
    film = stripes(12, 70, 90)
    clip = pipe(BALL, video=film, steps=2, seed=1)
    assert np.array_equal(clip.frames, film), "in its own size"
    assert clip.audio.shape == (1, 12_000)
    assert clip.recipe["size"] == "64x64" or clip.recipe["size"] == "128x128"
    one, other = latents(pipe, Given(video=load_film(stripes(12)))), latents(pipe, Given())
    assert not torch.equal(one.audio, other.audio)
    with torch.inference_mode():
        frames = torch.from_numpy(stripes(12)[[*range(12), 11]]).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
        assert torch.equal(one.video, pipe.parts.video.encode(frames))


def test_the_last_image_stands_in_the_last_latent_frame_alone(pipe):
    image = np.full((64, 64, 3), (200, 60, 20), np.uint8)
    found = latents(pipe, Given(last_image=load_image(image)))
    still = torch.tensor([200, 60, 20]).view(1, 3, 1, 1, 1).expand(1, 3, 5, 64, 64) / 127.5 - 1
    with torch.inference_mode():
        assert torch.equal(found.video[:, :, -1:], pipe.parts.video.encode(still)[:, :, -1:])
    both = latents(pipe, Given(image=load_image(image), last_image=load_image(image)))
    assert torch.equal(both.video[:, :, -1], found.video[:, :, -1])
    assert not torch.equal(both.video[:, :, 0], found.video[:, :, 0])


def test_a_clip_is_as_long_as_what_is_given_unless_asked_otherwise(pipe):
    assert Given(audio=load_sound(tone(1.02))).seconds(10) == 1.0
    assert Given(video=load_film(stripes(30))).seconds(1.0) == 1.0
    assert Given().seconds(10) is None
    assert len(pipe(BALL, audio=tone(2), seconds=0.5, size="64x64", steps=1).frames) == 12


def test_what_is_done_to_the_media_is_said():
    long, short = Given(audio=load_sound(tone(2))), Given(audio=load_sound(tone(0.25)))
    assert list(long.notes(HALF)) == ["the sound lasts 2.00 s; its first 0.5 s are used"]
    assert list(short.notes(HALF)) == ["the sound lasts 0.25 s; the rest of the 0.5 s is silent"]
    assert not short.samples(12)[6000:].any() and np.array_equal(short.samples(12)[:6000], tone(0.25))
    assert list(Given(video=load_film(stripes(12))).notes(HALF)) == []


def test_films_of_other_rates_are_shown_at_24(tmp_path):
    write_mp4(tmp_path / "a.mp4", stripes(30), tone(1)[None], 30, 24_000)
    film = load_film(tmp_path / "a.mp4")
    assert film is not None and len(film.frames) == 24 and film.source["fps"] == 30
    assert list(Given(video=film).notes(ClipShape(1, 64, 64))) == ["the film has 30 frames a second; it is shown at 24"]
    numbered = np.arange(30, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    assert at_24(numbered, 30)[:, 0, 0, 0].tolist()[:6] == [0, 1, 3, 4, 5, 6]
    assert at_24(numbered[:6], 12)[:, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_a_film_needs_no_sound_track(tmp_path):
    with av.open(str(tmp_path / "silent.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width = stream.height = 64
        for pixels in stripes(12):
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    film = load_film(tmp_path / "silent.mp4")
    assert film is not None and film.frames.shape == (12, 64, 64, 3) and "fps" not in film.source
    with pytest.raises(MediaError, match="has no sound"):
        load_sound(tmp_path / "silent.mp4")


def test_sounds_are_mixed_and_resampled(tmp_path):
    stereo = np.stack([tone(1, 48_000), tone(1, 48_000)])
    write_wav(tmp_path / "a.wav", stereo, 48_000)
    sound = load_sound(tmp_path / "a.wav")
    assert sound is not None and abs(len(sound.waveform) - 24_000) < 64
    inside = slice(2000, 22_000)
    assert np.corrcoef(sound.waveform[inside], tone(1)[inside])[0, 1] > 0.99


def test_a_clip_repeats_from_its_recipe_by_the_command_line(tiny_model, tmp_path, capsys):
    from happyhorse.cli.main import run

    write_wav(tmp_path / "a.wav", tone(0.5)[None], 24_000)
    common = ["--model", str(tiny_model), "--steps", "1", "--seed", "3"]
    first, again = tmp_path / "first.mp4", tmp_path / "again.mp4"
    assert run(["generate", BALL, "-o", str(first), "--audio", str(tmp_path / "a.wav"), *common]) == 0
    assert run(["generate", "-o", str(again), "--like", str(first), "--model", str(tiny_model)]) == 0
    assert first.read_bytes() == again.read_bytes()
    assert np.corrcoef(read_mp4(first).audio[0, 2000:11_000], tone(0.5)[2000:11_000])[0, 1] > 0.9
    (tmp_path / "a.wav").unlink()
    assert run(["generate", "-o", str(tmp_path / "b.mp4"), "--like", str(first), "--model", str(tiny_model)]) == 2
    assert "not found: give it by --audio" in capsys.readouterr().err


def test_contradictions_and_wrong_media_are_refused(tmp_path):
    film, sound, image = load_film(stripes(12)), load_sound(tone(1)), load_image(stripes(1)[0])
    with pytest.raises(ConfigError, match="leave nothing to make"):
        Given(video=film, audio=sound)
    with pytest.raises(ConfigError, match="without an image"):
        Given(video=film, last_image=image)
    with pytest.raises(SizeError, match=r"lasts 0\.50 s; ask for at most that"):
        Given(video=film).check(ClipShape(1, 64, 64))
    with pytest.raises(MediaError, match="float"):
        load_sound(np.zeros(4, np.int16))  # type: ignore[arg-type]
    with pytest.raises(MediaError, match="uint8"):
        load_film(np.zeros((2, 4, 4), np.uint8))
    (tmp_path / "a.mp4").write_bytes(b"no film")
    for load in (load_sound, load_film):
        with pytest.raises(MediaError, match=r"a\.mp4 is damaged or not a"):
            load(tmp_path / "a.mp4")
        with pytest.raises(MediaError, match="not found"):
            load(tmp_path / "none.mp4")
