"""The latent cache: whole shards, resumable, deterministic order, prompts anew at every step."""

import dataclasses
import json

import pytest
import torch
from safetensors import safe_open

from happyhorse.codecs.audio import AudioCodec, AudioCodecConfig
from happyhorse.codecs.codec import Codecs
from happyhorse.codecs.video import VideoCodec, VideoCodecConfig
from happyhorse.data import shards
from happyhorse.data.shards import LatentDataset, cache, encoders_fingerprint
from happyhorse.errors import WeightsError
from happyhorse.types import ClipShape

SHAPE = ClipShape(0.5, 32, 32)


def test_a_clip_is_the_scene_of_its_seed(tmp_path, codecs):
    folder = cache(tmp_path, SHAPE, 5, codecs, seed=40, batch=2)
    with safe_open(str(folder / "shard-00000.safetensors"), framework="pt") as file:
        head = json.loads(file.metadata()["cache"])
        video, audio = file.get_tensor("video"), file.get_tensor("audio")
    assert video.shape == (5, 48, 4, 2, 2) and audio.shape == (5, 13, 64) and video.dtype == torch.float16
    plan = shards.sample_plan(42, 0.5, "train")
    assert head["clips"][2] == {"seed": 42, "family": plan.family, "attributes": dict(plan.attributes)}
    alone = shards.encode_plans([plan], SHAPE, codecs, "cpu")
    torch.testing.assert_close(video[2].float(), alone.video[0], atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(audio[2].float(), alone.audio[0], atol=2e-3, rtol=2e-3)


def test_an_interrupted_cache_is_continued(tmp_path, codecs, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_CLIPS", 3)

    def stop_in_second_shard(done, total):
        if done > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache(tmp_path / "a", SHAPE, 7, codecs, batch=1, progress=stop_in_second_shard)
    folder = tmp_path / "a" / shards.shape_name(SHAPE)
    assert [path.name for path in folder.iterdir()] == ["shard-00000.safetensors"]
    first = (folder / "shard-00000.safetensors").read_bytes()

    seen = []
    cache(tmp_path / "a", SHAPE, 7, codecs, batch=1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 7), (5, 7), (6, 7), (7, 7)]
    assert (folder / "shard-00000.safetensors").read_bytes() == first
    assert LatentDataset(tmp_path / "a").count(SHAPE) == 7


def test_a_cache_of_one_family_shows_nothing_else(tmp_path, codecs):
    cache(tmp_path, SHAPE, 6, codecs, family="talker")
    assert {clip["family"] for clip in LatentDataset(tmp_path)._set(SHAPE).clips} == {"talker"}
    for other in (None, "ball"):
        with pytest.raises(WeightsError, match="other family"):
            cache(tmp_path, SHAPE, 6, codecs, family=other)


def test_latents_of_other_codecs_are_refused(tmp_path, codecs):
    cache(tmp_path, SHAPE, 2, codecs)
    other = type(codecs.video)()
    other.gain.fill_(2.0)
    with pytest.raises(WeightsError, match="other codecs"):
        cache(tmp_path, SHAPE, 2, dataclasses.replace(codecs, video=other))


def test_a_damaged_shard_and_a_missing_shape_are_named(tmp_path, codecs):
    folder = cache(tmp_path, SHAPE, 2, codecs)
    with pytest.raises(WeightsError, match="64x64-2s"):
        LatentDataset(tmp_path).batch(0, ClipShape(2, 64, 64), 1)
    (folder / "shard-00000.safetensors").write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="shard-00000"):
        LatentDataset(tmp_path)
    with pytest.raises(WeightsError, match="no cached latents"):
        LatentDataset(tmp_path / "nowhere")


def test_batches_are_a_function_of_the_step(tmp_path, codecs):
    cache(tmp_path, SHAPE, 6, codecs)
    first, second = LatentDataset(tmp_path, seed=3), LatentDataset(tmp_path, seed=3)
    for _ in range(2):
        first.batch(0, SHAPE, 4)
    a, b = first.batch(5, SHAPE, 4), second.batch(5, SHAPE, 4)
    assert torch.equal(a.latents.video, b.latents.video) and a.prompts == b.prompts
    assert a.latents.video.dtype == torch.float32


def test_an_epoch_visits_every_clip_once(tmp_path, codecs):
    cache(tmp_path, SHAPE, 6, codecs)
    data = LatentDataset(tmp_path)
    for epoch in (0, 1):
        means = [data.batch(3 * epoch + step, SHAPE, 2).latents.audio.sum((1, 2)) for step in range(3)]
        assert len(set(torch.cat(means).tolist())) == 6


def test_prompts_change_from_step_to_step_and_some_are_null(tmp_path, codecs):
    cache(tmp_path, SHAPE, 1, codecs)
    data = LatentDataset(tmp_path, prompt_dropout=0.3)
    prompts = [data.batch(step, SHAPE, 1).prompts[0] for step in range(200)]
    assert 0.15 < prompts.count("") / 200 < 0.45
    assert len(set(prompts)) > 4


@pytest.mark.parametrize(
    ("part", "encodes"),
    [("video.decoder", False), ("audio.decoder", False), ("audio.vocoder", False), ("video.encoder", True)],
)
def test_latents_are_those_of_the_encoders_whatever_decodes_them(part: str, encodes: bool):
    small = VideoCodecConfig(encoder_fine=8, encoder_coarse=8, decoder_coarse=8, decoder_middle=8, decoder_fine=8)
    audio = AudioCodec(AudioCodecConfig(decoder_width=8, vocoder_width=8, vocoder_blocks=1))
    codecs = Codecs(VideoCodec(small), audio)
    before = encoders_fingerprint(codecs)
    codec, inside = part.split(".")
    with torch.no_grad():
        for weight in getattr(getattr(codecs, codec), inside).parameters():
            weight.add_(1)
    assert (encoders_fingerprint(codecs) != before) == encodes
