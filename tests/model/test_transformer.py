import math

import pytest
import torch

from happyhorse.config import foal, magihuman_15b
from happyhorse.errors import ConfigError
from happyhorse.model.transformer import Attention, Transformer, gelu7, parameter_count, swiglu7
from happyhorse.types import Latents, Text

DIT = ["dit_t2v", "dit_ti2v", "dit_sr540", "dit_sr1080_local"]


# ----------------------------------------------------------------------------- the published model's numbers
def given(case) -> tuple[Latents, Text]:
    count = case.settings["n_text"]
    latents = Latents(case["in.x_t"], case["in.audio_x_t"])
    return latents, Text(case["in.txt_feat"][:, :count], torch.tensor([count]))


@pytest.mark.parametrize("name", DIT)
@torch.no_grad()
def test_published_velocity(golden, name):
    case = golden(name)
    model = golden.published(case)
    layers = {}
    for index, layer in enumerate(model.block.layers):
        layer.register_forward_hook(lambda _m, _i, out, index=index: layers.__setitem__(index, out[0][0]))
    velocity = model(*given(case))
    assert case.error("out.video", velocity.video) < 1e-4
    assert case.error("out.audio", velocity.audio) < 1e-4
    compared = [index for index in layers if case.holds(f"fp32.layer{index}.out")]
    assert 0 in compared
    for index in compared:
        assert case.error(f"fp32.layer{index}.out", layers[index]) < 1e-4


@pytest.mark.parametrize("name", DIT)
@torch.no_grad()
def test_published_velocity_in_bfloat16(golden, name):
    case = golden(name)
    model = golden.published(case, matmul_dtype="bfloat16")
    outputs = []
    model.final_linear_video.register_forward_hook(lambda _m, _i, out: outputs.append(out[0]))
    model.final_linear_audio.register_forward_hook(lambda _m, _i, out: outputs.append(out[0]))
    model(*given(case))
    rows = torch.zeros(sum(case.settings[key] for key in ("n_video", "n_audio", "n_text")), 192)
    n_video, n_audio = len(outputs[0]), len(outputs[1])
    rows[:n_video], rows[n_video : n_video + n_audio, :64] = outputs
    assert case.relative_l2("out_bf16.tokens", rows) < 0.03


def test_published_keys_and_size():
    with torch.device("meta"):
        model = Transformer(magihuman_15b())
    assert parameter_count(model) == 15_299_419_136
    state = {key: (list(value.shape), value.dtype) for key, value in model.state_dict().items()}
    assert len(state) == 331
    single = {
        "attention.pre_norm.weight": ([5120], torch.float32),
        "attention.linear_qkv.weight": ([7208, 5120], torch.bfloat16),
        "attention.q_norm.weight": ([128], torch.float32),
        "attention.k_norm.weight": ([128], torch.float32),
        "attention.linear_proj.weight": ([5120, 5120], torch.bfloat16),
        "mlp.pre_norm.weight": ([5120], torch.float32),
        "mlp.up_gate_proj.weight": ([27304, 5120], torch.bfloat16),
        "mlp.down_proj.weight": ([5120, 13652], torch.bfloat16),
    }
    first = {"mlp.up_gate_proj.weight": [61440, 5120], "mlp.down_proj.weight": [15360, 20480]}
    expected = {
        "adapter.video_embedder.weight": ([5120, 192], torch.float32),
        "adapter.video_embedder.bias": ([5120], torch.float32),
        "adapter.audio_embedder.weight": ([5120, 64], torch.float32),
        "adapter.audio_embedder.bias": ([5120], torch.float32),
        "adapter.text_embedder.weight": ([5120, 3584], torch.float32),
        "adapter.text_embedder.bias": ([5120], torch.float32),
        "adapter.rope.bands": ([16], torch.float32),
        "final_norm_video.weight": ([5120], torch.float32),
        "final_norm_audio.weight": ([5120], torch.float32),
        "final_linear_video.weight": ([192, 5120], torch.float32),
        "final_linear_audio.weight": ([64, 5120], torch.float32),
    }
    for layer in range(40):
        for key, (shape, dtype) in single.items():
            specific = layer < 4 or layer >= 36
            shape = [3 * shape[0], *shape[1:]] if specific else shape
            expected[f"block.layers.{layer}.{key}"] = (first.get(key, shape) if layer < 4 else shape, dtype)
    assert state == expected


# ------------------------------------------------------------------------------------------------ the foal
def small(**changes) -> Transformer:
    torch.manual_seed(0)
    config = {"hidden": 48, "head_dim": 16, "query_heads": 3, "kv_heads": 1, "shared": 2, "text_vocab": 32}
    return Transformer(foal(**{**config, **changes})).eval()


def clip(batch: int = 2, seed: int = 1) -> Latents:
    generator = torch.Generator().manual_seed(seed)
    return Latents(torch.randn(batch, 48, 3, 4, 4, generator=generator), torch.randn(batch, 9, 64, generator=generator))


def prompts(*lengths: int, seed: int = 2) -> Text:
    generator = torch.Generator().manual_seed(seed)
    return Text(torch.randint(0, 32, (len(lengths), max(lengths)), generator=generator), torch.tensor(lengths))


def features(*lengths: int) -> Text:
    return Text(torch.randn(len(lengths), max(lengths), 20), torch.tensor(lengths))


def assert_close(ours: Latents, other: Latents, tolerance: float = 2e-6) -> None:
    torch.testing.assert_close(ours.video, other.video, atol=tolerance, rtol=1e-4)
    torch.testing.assert_close(ours.audio, other.audio, atol=tolerance, rtol=1e-4)


def test_foal_has_a_few_million_parameters_and_unit_scale_rows():
    model = Transformer(foal())
    assert 5e6 < parameter_count(model) < 8e6
    hidden = model.adapter.video_rows(torch.randn(1, 48, 3, 4, 4), None)
    assert 0.8 < hidden.std() < 1.2


@pytest.mark.parametrize("attention", ["softmax", "sigmoid"])
@pytest.mark.parametrize("local", [(), (1, 2)])
@torch.no_grad()
def test_a_batch_gives_what_single_samples_give(attention, local):
    model = small(attention=attention, local_layers=local, receptive_field=1)
    latents, text = clip(3), prompts(5, 2, 1)
    together = model(latents, text)
    for row, length in enumerate([5, 2, 1]):
        alone = model(latents[row : row + 1], Text(text.values[row : row + 1, :length], torch.tensor([length])))
        assert_close(together[row : row + 1], alone)


@pytest.mark.parametrize("coordinates", ["v1", "v2", "foal"])
@pytest.mark.parametrize("attention", ["softmax", "sigmoid"])
@torch.no_grad()
def test_a_batch_gives_what_single_samples_give_with_features(coordinates, attention):
    model = small(text="features", text_channels=20, coordinates=coordinates, attention=attention)
    latents, text = clip(3), features(5, 1, 3)
    together = model(latents, text)
    for row, length in enumerate([5, 1, 3]):
        alone = model(latents[row : row + 1], Text(text.values[row : row + 1, :length], torch.tensor([length])))
        assert_close(together[row : row + 1], alone)


@torch.no_grad()
def test_crossed_streams_hear_each_other_and_read_the_prompt():
    model = small(streams="crossed")
    latents, text = clip(2), prompts(5, 2)
    plain = model(latents, text)
    deaf = model(Latents(latents.video, latents.audio + 1), text)
    assert not torch.allclose(plain.video, deaf.video) and not torch.allclose(plain.audio, deaf.audio)
    alone = model(latents[1:], Text(text.values[1:, :2], torch.tensor([2])))
    assert_close(plain[1:], alone)
    with pytest.raises(ConfigError, match="crossed"):
        small(streams="crossed", text="features")


@torch.no_grad()
def test_cached_text_gives_the_same_velocity():
    model = small()
    latents, text = clip(), prompts(6, 3)
    cache = model.encode_text(text)
    layout = model.layout(latents, cache)
    for seed in (1, 5):
        assert_close(model(clip(seed=seed), cache, layout), model(clip(seed=seed), text), 0)


@torch.no_grad()
def test_one_cached_prompt_serves_a_batch():
    model = small()
    latents = clip(3)
    one = prompts(4)
    many = Text(one.values.expand(3, -1), one.lengths.expand(3))
    assert_close(model(latents, model.encode_text(one).expand(3)), model(latents, many))


@torch.no_grad()
def test_text_rows_see_earlier_text_only():
    model = small(language_head=True)
    text = prompts(6)
    changed = Text(text.values.clone(), text.lengths)
    changed.values[0, 4] = (changed.values[0, 4] + 1) % 32
    before, after = model.encode_text(text), model.encode_text(changed)
    # The last positions count from the end of the prompt, so equal lengths keep earlier rows where they were.
    for old, new in zip((*before.keys, *before.values), (*after.keys, *after.values), strict=True):
        assert torch.equal(old[:, :4], new[:, :4])
    assert not torch.equal(before.keys[-1][:, 4:], after.keys[-1][:, 4:])
    old, new = model.language_logits(text), model.language_logits(changed)
    assert old.shape == (1, 6, 32)
    assert torch.equal(old[:, :4], new[:, :4])
    assert not torch.equal(old[:, 4:], new[:, 4:])


@torch.no_grad()
def test_every_row_of_media_reads_all_of_the_prompt_and_its_order():
    model = small()
    latents, text = clip(1), prompts(6)
    swapped = Text(text.values.clone(), text.lengths)
    swapped.values[0, [1, 4]] = text.values[0, [4, 1]]
    difference = model(latents, text).zip(model(latents, swapped), lambda a, b: (a - b).abs())
    assert (difference.video.amax(dim=(1, 3, 4)) > 0).all()
    assert (difference.audio.amax(dim=2) > 0).all()


@torch.no_grad()
def test_sound_and_picture_read_each_other():
    model, latents, text = small(), clip(1), prompts(3)
    louder = model(Latents(latents.video, latents.audio + 1), text)
    assert not torch.allclose(louder.video, model(latents, text).video)
    brighter = model(Latents(latents.video + 1, latents.audio), text)
    assert not torch.allclose(brighter.audio, model(latents, text).audio)


@torch.no_grad()
def test_gate_forced_open_is_plain_attention():
    gated, plain = small(), small(gate="none")
    state = gated.state_dict()
    for index, layer in enumerate(gated.block.layers):
        attention: Attention = layer.attention
        qkv = attention.linear_qkv
        key = f"block.layers.{index}.attention.linear_qkv.weight"
        rows = state[key].view(qkv.copies, qkv.outputs, qkv.inputs)[:, : -attention.widths[3]]
        state[key] = rows.reshape(-1, qkv.inputs)

        def open_gate(_module, _inputs, out, gates=attention.widths[3]):
            return torch.cat([out[..., :-gates], torch.full_like(out[..., -gates:], 100.0)], dim=-1)

        qkv.register_forward_hook(open_gate)
    plain.load_state_dict(state)
    latents, text = clip(), prompts(4, 2)
    assert_close(gated(latents, text), plain(latents, text))


@torch.no_grad()
def test_gates_start_at_one_half():
    model = Transformer(foal())
    outputs = []
    qkv = model.block.layers[3].attention.linear_qkv
    qkv.register_forward_hook(lambda _m, _i, out: outputs.append(torch.sigmoid(out[..., -6:])))
    model(clip(1), prompts(4))
    assert (torch.cat([out.flatten() for out in outputs]) - 0.5).abs().mean() < 0.05


@torch.no_grad()
def test_local_layers_that_reach_every_frame_are_full_layers():
    latents, text = clip(), prompts(4, 2)
    wide = small(local_layers=(0, 1, 2, 3), receptive_field=3)
    assert_close(wide(latents, text), small()(latents, text))
    narrow = small(local_layers=(0, 1, 2, 3), receptive_field=0)
    assert not torch.allclose(narrow(latents, text).video, small()(latents, text).video)


def test_every_weight_learns():
    model = small(language_head=True).train()
    velocity = model(clip(), prompts(4, 2))
    loss = velocity.video.square().mean() + velocity.audio.square().mean()
    (loss + model.language_logits(prompts(4)).square().mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("patch", [2, 4])
@torch.no_grad()
def test_audio_patches_shorten_the_sequence_and_keep_the_shape(patch):
    model = small(audio_patch=patch)
    latents = clip()
    rows = dict(model.layout(latents, prompts(2, 2)).spans)
    assert rows[1] == -(-9 // patch)
    assert model(latents, prompts(2, 2)).audio.shape == latents.audio.shape


@torch.no_grad()
def test_embedded_timesteps_change_the_stream_they_belong_to_most():
    model = small(timestep="embedded")
    latents, text = clip(1), prompts(3)
    base = model(latents, text, times=torch.tensor([[0.5, 0.5]]))
    later = model(latents, text, times=torch.tensor([[0.9, 0.5]]))
    change = base.zip(later, lambda a, b: (a - b).square().mean())
    assert change.video > change.audio > 0


@torch.no_grad()
def test_bfloat16_products_stay_near_float32():
    exact, rough = small(), small(matmul_dtype="bfloat16")
    latents, text = clip(), prompts(4, 2)
    a, b = exact(latents, text), rough(latents, text)
    assert b.video.dtype == torch.float32
    assert (a.video - b.video).norm() / a.video.norm() < 0.03


@pytest.mark.parametrize("lengths", [(4, 4), (4, 2)])
@torch.no_grad()
def test_compiles_as_one_graph(lengths):
    model = small(local_layers=(1,), receptive_field=1)
    latents, text = clip(), prompts(*lengths)
    layout = model.layout(latents, text)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert_close(compiled(latents, text, layout), model(latents, text))


def test_bounded_activations():
    x = torch.tensor([-20.0, -1.0, 0.0, 2.0, 7.0, 50.0], dtype=torch.float64)
    capped = x.clamp(max=7)
    assert torch.allclose(gelu7(x), capped / (1 + torch.exp(-1.702 * capped)))
    assert torch.allclose(swiglu7(x, torch.full_like(x, 30.0)), gelu7(x) * 8)
    three, below = torch.tensor([3.0, -30.0], dtype=torch.float64)
    assert math.isclose(swiglu7(three, below).item(), gelu7(three).item() * -6)


@torch.no_grad()
def test_even_rows_gate_odd_rows():
    mlp = small().block.layers[1].mlp
    hidden, spans = torch.randn(2, 5, 48), ((0, 5),)
    gate, linear = mlp.up_gate_proj(mlp.pre_norm(hidden), spans).unflatten(-1, (-1, 2)).unbind(-1)
    torch.testing.assert_close(mlp(hidden, spans), mlp.down_proj(swiglu7(gate, linear), spans))


@pytest.mark.parametrize("patch", [1, 4])
@torch.no_grad()
def test_added_noisy_input_is_scaled_by_each_row(patch):
    plain, added = (small(audio_patch=patch, noisy_input=kind) for kind in ("hidden", "added"))
    added.load_state_dict(plain.state_dict(), strict=False)
    latents, text = clip(), prompts(4, 2)
    velocity = plain(latents, text)
    assert_close(added(latents, text), velocity.zip(latents, torch.add))

    added.final_scale_video.weight.normal_()
    factor = (added(latents, text).video - velocity.video) / latents.video
    cells = factor.unflatten(4, (-1, 2)).unflatten(3, (-1, 2))
    torch.testing.assert_close(cells, cells[:, :1, :, :, :1, :, :1].expand_as(cells), atol=1e-3, rtol=1e-3)
    assert cells[0, 0, :, :, 0, :, 0].unique().numel() == cells[0, 0, :, :, 0, :, 0].numel()


def test_text_cache_needs_a_model_that_reads_tokens():
    reads_features = small(text="features", text_channels=20, coordinates="v2")
    with pytest.raises(ConfigError, match="tokens"):
        reads_features.encode_text(features(3))
    cache = small().encode_text(prompts(3))
    with pytest.raises(ConfigError, match="tokens"):
        reads_features(clip(1), cache)
