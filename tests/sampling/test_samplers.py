import itertools
import math

import pytest
import torch
from torch import Tensor

from happyhorse.config import ModelConfig
from happyhorse.flow.guidance import GuidanceScale, guided_steps, magihuman_schedule
from happyhorse.flow.timesteps import grid, magihuman_grid
from happyhorse.model.transformer import Transformer
from happyhorse.sampling import samplers
from happyhorse.sampling.samplers import dmd, euler, renoise, unipc
from happyhorse.types import Known, Latents, Text

ALL = [euler, unipc, dmd]


class Recorder:
    """A field, or one per step, that keeps the states it was called with."""

    def __init__(self, field, steps: int) -> None:
        self.states: list[Latents] = []
        self.velocities: list[Latents] = []
        fields = [field] * steps if callable(field) else field
        self.fields = [lambda x, f=f: self.call(f, x) for f in fields]

    def call(self, field, latents: Latents) -> Latents:
        self.states.append(latents)
        self.velocities.append(field(latents))
        return self.velocities[-1]

    def after_steps(self, final: Latents, stream: str) -> Tensor:
        return torch.stack([getattr(latents, stream) for latents in [*self.states[1:], final]])


def replay(monkeypatch: pytest.MonkeyPatch, draws: list[Latents]) -> None:
    """Makes the samplers draw the recorded noise."""
    remaining = iter(draws)
    monkeypatch.setattr(samplers, "fresh_noise", lambda like, generator: next(remaining))


# ------------------------------------------------------------------------------ the published samplers' numbers
FAKE = {
    "sampler_distill_fake": dmd,
    "sampler_unipc_fake_5": unipc,
    "sampler_unipc_fake_32": unipc,
    "sampler_sde_fake_8": None,
}


@pytest.mark.parametrize("name", FAKE)
def test_published_steps(golden, monkeypatch, name):
    case = golden(name)
    a, b, steps = (case.settings[key] for key in ("a", "b", "steps"))
    silence = torch.zeros(1, 1, 1)
    if "noise" in case:
        draws = zip(case["noise"], case.get("noise_theta", torch.ones(steps)), strict=True)
        replay(monkeypatch, [Latents(noise, silence) for noise, share in draws if share > 0])
    recorder = Recorder(lambda latents: latents.map(lambda x: a * x + b), steps)
    given = recorder.fields, Latents(case["x_init"], silence), magihuman_grid(steps)
    final = renoise(*given, case["noise_theta"].tolist()) if FAKE[name] is None else FAKE[name](*given)
    assert case.error("x_after_step", recorder.after_steps(final, "video")) < 1e-5


def fake_field(text: Tensor, rows: int, sign: float):
    mean = text[0, :rows].mean()
    return lambda x: Latents(0.6 * x.video - 0.2 * sign * mean, 0.5 * x.audio + 0.1 * mean)


def dit_field(golden, text: Tensor):
    weights = golden("dit_weights")
    config = ModelConfig(
        hidden=128,
        query_heads=4,
        kv_heads=2,
        shared=4,
        text="features",
        text_channels=text.shape[-1],
        coordinates="v2",
        weight_dtype="bfloat16",
    )
    model = Transformer(config)
    model.load_state_dict(weights)
    prompt = Text(text, torch.tensor([text.shape[1]]))
    return lambda latents: model(latents, prompt)


def conditions(case) -> Known | None:
    """The image is video frame 0; super-resolution never steps the sound."""
    video, audio = case["init.video"].clone(), case["init.audio"]
    video_mask = torch.zeros(1, video.shape[2], dtype=torch.bool)
    if case.settings["image"]:
        video[:, :, :1], video_mask[:, 0] = case["image_latent"], True
    audio_mask = torch.full((1, audio.shape[1]), case.settings.get("stage") == "sr")
    return Known(Latents(video, audio), video_mask, audio_mask) if (video_mask.any() or audio_mask.any()) else None


def schedule(settings: dict):
    if settings["cfg_number"] == 1:
        return lambda t: GuidanceScale()
    if settings.get("stage") != "sr":
        return magihuman_schedule
    scales = settings["guidance"]
    scale = GuidanceScale(
        scales["sr_video"], 1.0, scales["cfg_trick_start_frame"], first_frames_limit=scales["cfg_trick_value"]
    )
    return lambda t: scale


@pytest.mark.parametrize(
    "name",
    [
        "loop_fake_base_cfg_t2v",
        "loop_fake_base_cfg_ti2v",
        "loop_fake_distill_ti2v",
        "loop_fake_sr_cfg1_ti2v",
        "loop_fake_sr_cfg2_trick",
        "loop_dit_distill_t2v",
        "loop_dit_distill_ti2v",
        "loop_dit_base_cfg",
    ],
)
@torch.no_grad()
def test_published_loops(golden, monkeypatch, name):
    case = golden(name)
    settings, sigmas = case.settings, magihuman_grid(case.settings["steps"])
    if "dit" in name:
        fields = dit_field(golden, case["text_cond"]), dit_field(golden, case["text_null"])
    else:
        sign = -1.0 if settings["stage"] == "sr" else 1.0
        fields = fake_field(case["text_cond"], 4, sign), fake_field(case["text_null"], 5, sign)
    recorder = Recorder(guided_steps(*fields, sigmas, schedule(settings)), len(sigmas) - 1)
    known, sampler = conditions(case), dmd if "noise.video" in case else unipc
    if sampler is dmd:
        draws = zip(case["noise.video"], case["noise.audio"], strict=True)
        replay(monkeypatch, [Latents(*draw) for draw in draws])
    final = sampler(recorder.fields, Latents(case["init.video"], case["init.audio"]), sigmas, known=known)
    assert case.error("final.video", final.video) < 1e-4
    assert case.error("final.audio", final.audio) < 1e-4
    if known is None:
        assert case.error("after_step.video", recorder.after_steps(final, "video")) < 1e-4
        assert case.error("after_step.audio", recorder.after_steps(final, "audio")) < 1e-4


# ------------------------------------------------------------------------------------------------ closed forms
def noise(batch: int = 1, seed: int = 0, dtype: torch.dtype = torch.float32) -> Latents:
    generator = torch.Generator().manual_seed(seed)
    return Latents(
        torch.randn(batch, 4, 3, 2, 2, generator=generator, dtype=dtype),
        torch.randn(batch, 9, 5, generator=generator, dtype=dtype),
    )


def gaussian_fields(sigmas: list[float], mean: float, std: float):
    """The exact velocity for data N(mean, std^2) at every level."""

    def at(t: float):
        variance = (1 - t) ** 2 * std**2 + t**2
        slope = (t - (1 - t) * std**2) / variance
        return lambda latents: latents.map(lambda x: slope * (x - (1 - t) * mean) - mean)

    return [at(t) for t in sigmas[:-1]]


@pytest.mark.parametrize(("sampler", "steps"), [(euler, 1000), (unipc, 30)])
def test_exact_field_of_a_gaussian_gives_that_gaussian(sampler, steps):
    sigmas = grid(steps, 3.0)
    start = noise(batch=400)
    final = sampler(gaussian_fields(sigmas, 0.7, 0.5), start, sigmas)
    for stream in (final.video, final.audio):
        assert stream.mean() == pytest.approx(0.7, abs=0.02)
        assert stream.std() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_renoising_a_distilled_field_of_a_gaussian_gives_that_gaussian(steps):
    """A distilled model maps a noisy point to the data point at the end of its path, not to the mean of all."""
    sigmas, mean, std = grid(steps), 0.7, 0.5

    def at(t: float):
        width = math.sqrt((1 - t) ** 2 * std**2 + t**2)
        return lambda latents: latents.map(lambda x: (x - (mean + std * (x - (1 - t) * mean) / width)) / t)

    final = dmd([at(t) for t in sigmas[:-1]], noise(batch=400), sigmas, generator=torch.Generator().manual_seed(1))
    for stream in (final.video, final.audio):
        assert stream.mean() == pytest.approx(mean, abs=0.02)
        assert stream.std() == pytest.approx(std, abs=0.02)


def gaussian_error(sampler, steps: int, std: float = 0.5) -> float:
    """Distance from the exact end point std * noise of the flow to data N(0, std^2)."""
    sigmas = magihuman_grid(steps, 1.0)[:-1]
    sigmas = [*sigmas, 0.02]
    start = noise(dtype=torch.float64)
    final = sampler(gaussian_fields(sigmas, 0.0, std), start, sigmas)

    def width(t: float) -> float:
        return math.sqrt((1 - t) ** 2 * std**2 + t**2)

    exact = start.map(lambda x: x * width(sigmas[-1]) / width(sigmas[0]))
    return (final.video - exact.video).abs().max().item()


@pytest.mark.parametrize(("sampler", "order"), [(euler, 1), (unipc, 2)])
def test_order_of_accuracy(sampler, order):
    slope = math.log2(gaussian_error(sampler, 40) / gaussian_error(sampler, 80))
    assert slope > order - 0.25


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
@pytest.mark.parametrize("sampler", ALL)
def test_data_of_one_point_is_found_at_any_number_of_steps(sampler, steps):
    target, sigmas = noise(seed=3), grid(steps)
    fields = [lambda x, t=t: x.zip(target, lambda a, b: (a - b) / t) for t in sigmas[:-1]]
    final = sampler(fields, noise(), sigmas)
    assert torch.allclose(final.video, target.video, atol=1e-5)
    assert torch.allclose(final.audio, target.audio, atol=1e-5)


def test_euler_is_exact_on_straight_paths():
    start, data = noise(), noise(seed=4)
    v = start.zip(data, lambda e, x: e - x)
    final = euler(lambda _: v, start, grid(7))
    assert torch.allclose(final.video, data.video, atol=1e-5)


def test_euler_on_a_linear_field():
    """dx = a x dt steps by the factor 1 + a (s - t)."""
    sigmas, start = grid(5), noise()
    final = euler(lambda latents: latents.map(lambda x: 0.7 * x), start, sigmas)
    factor = math.prod(1 + 0.7 * (s - t) for t, s in itertools.pairwise(sigmas))
    assert torch.allclose(final.audio, start.audio * factor, atol=1e-5)


# --------------------------------------------------------------------------------------------------- known latents
MASKS = {
    "first frame": ([True, False, False], [False] * 9),
    "last frame": ([False, False, True], [False] * 9),
    "sound given": ([False] * 3, [True] * 9),
    "picture given": ([True] * 3, [False] * 9),
    "continuation": ([True, True, False], [True] * 5 + [False] * 4),
}


@pytest.mark.parametrize("sampler", ALL)
@pytest.mark.parametrize("name", MASKS)
def test_known_latents_stay_exactly_as_given(sampler, name):
    video_mask, audio_mask = (torch.tensor([mask]) for mask in MASKS[name])
    known = Known(noise(seed=9), video_mask, audio_mask)
    masks, steps = known.masks(), 4

    def field(latents: Latents) -> Latents:
        assert all(torch.equal(a, b) for a, b in pairs(known.paste(latents), latents)), "the field saw other values"
        return latents.map(lambda x: 0.5 * x + x.mean())

    final = sampler(field, noise(), grid(steps), known=known)
    for stream in ("video", "audio"):
        given, made = getattr(known.latents, stream), getattr(final, stream)
        mask = getattr(masks, stream).expand_as(made)
        assert torch.equal(made[mask], given[mask])
        assert not torch.isclose(made[~mask], given[~mask]).any()


def pairs(a: Latents, b: Latents) -> list[tuple[Tensor, Tensor]]:
    return [(a.video, b.video), (a.audio, b.audio)]


# ------------------------------------------------------------------------------------------------------- the rest
def test_fresh_noise_follows_the_generator_and_share_zero_draws_none():
    def field(latents: Latents) -> Latents:
        return latents.map(lambda x: 0.3 * x)

    def sample(seed: int) -> Tensor:
        return dmd(field, noise(), grid(3), generator=torch.Generator().manual_seed(seed)).video

    assert torch.equal(sample(1), sample(1))
    assert not torch.equal(sample(1), sample(2))
    generator = torch.Generator().manual_seed(5)
    before = generator.get_state()
    euler(field, noise(), grid(3), generator=generator)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("sampler", ALL)
def test_progress_counts_every_step_once(sampler):
    seen = []
    sampler(lambda x: x, noise(), grid(3), on_step=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("sampler", ALL)
def test_the_noise_is_left_as_it_was(sampler):
    start = noise()
    copy = start.map(torch.clone)
    sampler(lambda x: x, start, grid(3))
    assert torch.equal(start.video, copy.video) and torch.equal(start.audio, copy.audio)


def test_steps_without_fresh_noise_keep_the_spread_that_means_lose():
    """Data N(0, 1/4), whose mean given x_t is known: a mean is narrower than what it is the mean of."""
    levels, variance = grid(8, 3.0), 0.25

    def field(t: float):
        gain = variance * (1 - t) / ((1 - t) ** 2 * variance + t**2)
        return lambda latents: latents.map(lambda x: x * (1 - gain) / t)

    start = Latents(torch.randn(1, 1, 200_000, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 1, 1))
    spread = {
        name: sampler(
            [field(t) for t in levels[:-1]], start, levels, generator=torch.Generator().manual_seed(1)
        ).video.std()
        for name, sampler in (("dmd", dmd), ("euler", euler), ("unipc", unipc))
    }
    assert 1.1 * spread["dmd"] < min(spread["euler"], spread["unipc"])
    assert max(spread.values()) < 1.05 * 0.5
