"""Captions: words that see the clip and the words before, one by one as all at once; what they say is read back."""

import numpy as np
import pytest
import torch

from happyhorse.codecs.codec import Codecs
from happyhorse.codecs.text import EOS, Tokenizer
from happyhorse.config import ModelConfig
from happyhorse.data.scenes.captions import slots
from happyhorse.data.scenes.world import FAMILIES, sample_plan
from happyhorse.data.shards import encode_plans
from happyhorse.errors import ConfigError
from happyhorse.model.transformer import Transformer
from happyhorse.sampling.caption import Captioner, greedy
from happyhorse.sampling.given import load_film, load_sound
from happyhorse.training.captions import cross_entropy
from happyhorse.types import ClipShape, Latents, Text
from happyhorse.weights.store import save_module, write_manifest

CONFIG = ModelConfig(
    hidden=32,
    head_dim=16,
    query_heads=2,
    kv_heads=1,
    shared=1,
    language_head=True,
    text_vocab=Tokenizer.load().vocab_size,
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = Transformer(CONFIG)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval().requires_grad_(False)


def clip(seed=0, batch=1):
    generator = torch.Generator().manual_seed(seed)
    return Latents(torch.randn(batch, 48, 2, 2, 4, generator=generator), torch.randn(batch, 5, 64, generator=generator))


def test_one_word_after_the_other_gives_the_scores_of_all_at_once(model):
    tokens = torch.tensor([[1, 300, 301, 302, 7]])
    together, _ = model.caption_logits(tokens, model.encode_media(clip()))
    seen, apart = model.encode_media(clip()), []
    for place in range(5):
        logits, rows = model.caption_logits(tokens[:, place : place + 1], seen, start=place)
        seen = seen.joined(rows)
        apart.append(logits)
    torch.testing.assert_close(torch.cat(apart, dim=1), together, atol=1e-4, rtol=1e-4)


def test_words_see_the_clip_and_the_words_before_and_none_after(model):
    tokens, other = torch.tensor([[1, 300, 301, 302]]), torch.tensor([[1, 300, 400, 302]])
    first, second = (model.caption_logits(t, model.encode_media(clip()))[0] for t in (tokens, other))
    torch.testing.assert_close(first[:, :2], second[:, :2])
    assert not torch.allclose(first[:, 2:], second[:, 2:])
    elsewhere, _ = model.caption_logits(tokens, model.encode_media(clip(seed=1)))
    assert not torch.allclose(first[:, 0], elsewhere[:, 0])


def test_the_loss_counts_true_tokens_only_and_asks_for_the_next_one(model):
    words = Text(torch.tensor([[1, 300, EOS, 0], [1, 300, 301, EOS]]), torch.tensor([3, 4]))
    logits, _ = model.caption_logits(words.values[:, :-1], model.encode_media(clip(batch=2)))
    said = torch.log_softmax(logits, dim=-1)
    goals = [(0, 0, 300), (0, 1, EOS), (1, 0, 300), (1, 1, 301), (1, 2, EOS)]
    wanted = -torch.stack([said[goal] for goal in goals]).mean()
    torch.testing.assert_close(cross_entropy(model, clip(batch=2), words), wanted)


def test_a_model_learns_to_tell_two_clips_apart_and_says_so():
    torch.manual_seed(0)
    model, tokenizer = Transformer(CONFIG), Tokenizer.load()
    clips, said = clip(seed=3, batch=2), ("a red ball bounces on wood", "light rain")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        cross_entropy(model, clips, tokenizer.captions(said)).backward()
        optimizer.step()
    with torch.inference_mode():
        found = [tokenizer.decode(greedy(model, clips[row : row + 1])) for row in range(2)]
    assert found == list(said)
    assert len(greedy(model, clips[:1], limit=3)) == 3


def test_a_mark_ends_every_caption():
    text = Tokenizer.load().captions(["a red ball", "rain"])
    assert text.values[0, text.lengths[0] - 1] == EOS and text.values[1, text.lengths[1] - 1] == EOS
    assert (text.values == EOS).sum() == 2
    assert Tokenizer.load().decode(text.values[0].tolist()) == "a red ball"


def test_a_clip_of_any_size_and_rate_is_captioned(tiny_model, tmp_path, model):
    for role in ("video", "audio"):
        (tmp_path / f"{role}.safetensors").symlink_to(tiny_model / f"{role}.safetensors")
    save_module(model, tmp_path / "base.safetensors", torch.float32)
    write_manifest(tmp_path, "talks", {"seconds": 1.0})
    captioner = Captioner.from_pretrained(tmp_path)
    film, sound = load_film(np.full((40, 90, 160, 3), 99, np.uint8)), load_sound(np.zeros(500, np.float32))
    latents = captioner.encode(film, sound)
    assert latents.video.shape == (1, 48, 7, 6, 10) and latents.audio.shape == (1, 25, 64)
    assert isinstance(captioner(film, sound), str)
    with pytest.raises(ConfigError, match="tiny has no language head"):
        Captioner.from_pretrained(tiny_model)


def test_the_shipped_model_says_what_new_scenes_show():
    captioner, shape = Captioner.from_pretrained("foal-base"), ClipShape(5, 128, 128)
    right = []
    for number, family in enumerate(FAMILIES):
        plan = sample_plan(946_000_000 + number, shape.seconds, "train", family)
        latents = encode_plans([plan], shape, Codecs(captioner.video, captioner.audio), captioner.device)
        right += slots(captioner.write(latents), family, plan.attributes).values()
    assert len(right) > 15 and sum(right) >= len(right) - 1
