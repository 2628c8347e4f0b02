import pytest
import torch

from happyhorse.config import ModelConfig
from happyhorse.model.transformer import Transformer
from happyhorse.sampling import conditions, published, samplers
from happyhorse.sampling.published import Denoising, PublishedShape, Rendering, snapped
from happyhorse.types import Latents, Text


# ------------------------------------------------------------------------------------- the authors' own numbers
def tiny(golden, **changes) -> Transformer:
    """The golden weights in the geometry that all golden generations have."""
    weights = golden("dit_weights")
    geometry = ModelConfig(
        hidden=128,
        head_dim=32,
        query_heads=4,
        kv_heads=2,
        shared=4,
        text="features",
        text_channels=weights["adapter.text_embedder.weight"].shape[1],
        coordinates="v2",
        weight_dtype="bfloat16",
    )
    model = Transformer(geometry.replace(**changes))
    model.load_state_dict(weights)
    return model.eval()


def text(case, name: str) -> Text:
    return Text(case[name], torch.tensor([case[name].shape[1]]))


def start(case) -> Latents:
    return Latents(case["base.init.video"], case["base.init.audio"])


@torch.no_grad()
def test_a_whole_generation_with_the_base_model(golden):
    case = golden("evaluate_base_t2v")
    settings = Denoising(steps=case.settings["steps"], guided=True)
    final = published.generate(tiny(golden), text(case, "text_cond"), text(case, "text_null"), start(case), settings)
    assert case.error("result.video", final.video) < 1e-4
    assert case.error("result.audio", final.audio) < 1e-4


@torch.no_grad()
def test_a_whole_generation_with_distilled_and_super_resolution_models(golden, monkeypatch):
    case = golden("evaluate_distill_sr_ti2v")
    known = conditions.with_video(conditions.nothing(start(case)), case["image_latent_64x64"])
    fresh = iter([Latents(case[f"draw{2 * step + 2}"], case[f"draw{2 * step + 3}"]) for step in range(4)])
    monkeypatch.setattr(samplers, "fresh_noise", lambda like, generator: next(fresh))
    model, words = tiny(golden), text(case, "text_cond")
    preview = published.generate(model, words, None, start(case), Denoising(steps=4), known=known)
    assert case.error("base.final.video", preview.video) < 1e-4
    assert case.error("result.audio", preview.audio) < 1e-4

    noise = Latents(case["draw10"], case["draw11"])
    begin = published.render_start(preview, noise, Rendering())
    assert case.error("sr.init.video", begin.video) < 1e-4
    assert case.error("sr.init.audio", begin.audio) < 1e-4
    local = tuple(case.settings["sr_local_attn_layers"])
    large = tiny(golden, coordinates="v1", local_layers=local, receptive_field=case.settings["frame_receptive_field"])
    video = published.render(large, words, None, preview, noise, Rendering(steps=3), image=case["image_latent_96x96"])
    assert case.error("result.video", video) < 1e-4


def test_render_start_as_published(golden):
    case = golden("sr_upsample_noise")
    preview = Latents(case["base.video"], case["base.audio"])
    begin = published.render_start(preview, Latents(case["noise.video"], case["noise.audio"]), Rendering())
    assert case.error("sr_init.video", begin.video) < 1e-5
    assert case.error("sr_init.audio", begin.audio) < 1e-5
    assert case.error("zero_snr_table", published.zero_snr_amplitudes()) < 1e-5
    assert published.picture_kept() == pytest.approx(case.settings["sigma"], abs=1e-6)


# ------------------------------------------------------------------------------------------------ what follows from it
@pytest.mark.parametrize(("seconds", "frames", "latents", "sound"), [(5, 125, 32, 126), (4, 100, 26, 101)])
def test_sizes_are_the_published_ones(seconds, frames, latents, sound):
    shape = PublishedShape(seconds, 256, 448)
    assert (shape.frames, shape.latent_frames, shape.audio_latents) == (frames, latents, sound)
    assert shape.latent_size == (latents, 16, 28)


def test_sizes_are_cut_to_whole_cells():
    assert snapped(480, 272) == (480, 256)
    assert snapped(1920, 1088) == (1920, 1088)
    assert snapped(10, 10) == (32, 32)


def test_noise_is_drawn_sound_first():
    shape = PublishedShape(1, 64, 64)
    noise = published.draw_noise(shape, torch.Generator().manual_seed(131))
    torch.manual_seed(131)
    assert torch.equal(noise.audio, torch.randn(1, 26, 64))
    assert torch.equal(noise.video, torch.randn(1, 48, 7, 4, 4))


@torch.no_grad()
def test_given_sound_stays_with_the_distilled_model(golden):
    case = golden("evaluate_base_t2v")
    sound = torch.randn(case["base.init.audio"].shape, generator=torch.Generator().manual_seed(1))
    known = conditions.with_audio(conditions.nothing(start(case)), sound)
    generator = torch.Generator().manual_seed(2)
    final = published.generate(
        tiny(golden), text(case, "text_cond"), None, start(case), Denoising(steps=2), known=known, generator=generator
    )
    assert torch.equal(final.audio, sound)
    assert not torch.equal(final.video, start(case).video)


@torch.no_grad()
@pytest.mark.parametrize("coordinates", ["v1", "v2"])
def test_a_batch_is_its_samples_one_by_one(golden, coordinates):
    """Prompts of different lengths, one of them a single word, which the original cannot render."""
    case, model = golden("evaluate_base_t2v"), tiny(golden, coordinates=coordinates)
    words, shape = case["text_cond"], PublishedShape(0.2, 64, 64)
    noise = [published.draw_noise(shape, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    alone = [Text(words[:, :count], torch.tensor([count])) for count in (1, 7)]
    padded = torch.cat([torch.nn.functional.pad(words[:, :1], (0, 0, 0, 6)), words])
    together = Latents(*(torch.cat(pair) for pair in zip(*((n.video, n.audio) for n in noise), strict=True)))
    settings, away = Denoising(steps=2, guided=True), text(case, "text_null")
    both = published.generate(
        model,
        Text(padded, torch.tensor([1, 7])),
        Text(away.values.repeat(2, 1, 1), away.lengths.repeat(2)),
        together,
        settings,
    )
    for index in range(2):
        one = published.generate(model, alone[index], away, noise[index], settings)
        assert torch.allclose(both.video[index], one.video[0], atol=2e-4)
        assert torch.allclose(both.audio[index], one.audio[0], atol=2e-4)
