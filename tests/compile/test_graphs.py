"""Recorded steps: what is copied, kept and forgotten, with a recorder that replays by calling again."""

import dataclasses

import pytest
import torch

from happyhorse.compile.graphs import GraphRunner, Recording, mapped, tensors_in
from happyhorse.config import ModelConfig
from happyhorse.model.transformer import Transformer
from happyhorse.types import Latents, Text


class Recorder:
    """Behaves as a GPU's: a replay reads the recorded inputs and writes into the recorded results, and nothing else."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def __call__(self, work, device):
        self.recorded += 1
        results = work()

        def replay():
            self.replayed += 1
            with torch.inference_mode():  # a kernel writes whoever owns the memory
                for old, new in zip(tensors_in(results), tensors_in(work()), strict=True):
                    old.copy_(new)

        return Recording(results, replay)


@dataclasses.dataclass(frozen=True)
class Scaled:
    values: torch.Tensor
    factor: float


def step(x: Scaled, other: torch.Tensor | None) -> tuple[torch.Tensor, Latents]:
    total = x.values * x.factor if other is None else x.values * x.factor + other
    return total, Latents(total + 1, total + 2)


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def runner(recorder):
    with torch.no_grad():
        yield GraphRunner(step, limit=2, record=recorder)


def test_replays_give_what_the_step_gives(runner, recorder):
    for factor in range(3):
        x, other = torch.full((3,), float(factor)), torch.arange(3.0)
        total, latents = runner(Scaled(x, 2.0), other)
        torch.testing.assert_close(total, 2 * x + other)
        torch.testing.assert_close(latents.audio, 2 * x + other + 2)
    assert (recorder.recorded, recorder.replayed) == (1, 3)


def test_a_result_survives_the_next_step(runner):
    first, _ = runner(Scaled(torch.zeros(3), 1.0), None)
    runner(Scaled(torch.ones(3), 1.0), None)
    assert torch.equal(first, torch.zeros(3))


def test_a_callers_tensors_are_left_alone_and_may_change(runner):
    """Not the first caller's memory is recorded but a copy of it; what is written into a tensor later is seen."""
    x = torch.zeros(3)
    runner(Scaled(x, 1.0), None)
    runner(Scaled(torch.ones(3), 1.0), None)
    assert torch.equal(x, torch.zeros(3))
    x.fill_(5)
    assert torch.equal(runner(Scaled(x, 1.0), None)[0], torch.full((3,), 5.0))


def test_strides_of_the_inputs_do_not_matter(runner, recorder):
    runner(Scaled(torch.rand(2, 3), 1.0), None)
    x = torch.arange(6.0).view(3, 2).T
    assert torch.equal(runner(Scaled(x, 1.0), None)[0], x)
    assert torch.equal(runner(Scaled(torch.ones(1, 1).expand(2, 3), 1.0), None)[0], torch.ones(2, 3))
    assert recorder.recorded == 1


@pytest.mark.parametrize(
    "other",
    [
        (Scaled(torch.zeros(4), 1.0), None),
        (Scaled(torch.zeros(3, dtype=torch.float64), 1.0), None),
        (Scaled(torch.zeros(3), 2.0), None),
        (Scaled(torch.zeros(3), 1.0), torch.ones(3)),
    ],
    ids=["size", "dtype", "number", "missing tensor"],
)
def test_what_a_graph_depends_on_is_recorded_anew(runner, recorder, other):
    runner(Scaled(torch.zeros(3), 1.0), None)
    torch.testing.assert_close(tensors_in(runner(*other)), tensors_in(step(*other)))
    assert recorder.recorded == 2


def test_the_sizes_used_last_are_kept(runner, recorder):
    for size in (1, 2, 1, 3, 1):  # 3 takes the place of 2
        runner(Scaled(torch.zeros(size), 1.0), None)
    assert recorder.recorded == 3 and runner.graphs == 2
    runner(Scaled(torch.zeros(2), 1.0), None)
    assert recorder.recorded == 4 and runner.graphs == 2


def test_a_size_first_seen_in_inference_mode_can_be_used_outside_of_it(runner):
    with torch.inference_mode():
        runner(Scaled(torch.zeros(3), 1.0), None)
    assert torch.equal(runner(Scaled(torch.ones(3), 1.0), None)[0], torch.ones(3))


def test_with_gradients_the_step_itself_is_called(recorder):
    x = torch.ones(3, requires_grad=True)
    GraphRunner(step, record=recorder)(Scaled(x, 3.0), None)[0].sum().backward()
    assert x.grad is not None and torch.equal(x.grad, torch.full((3,), 3.0))
    assert recorder.recorded == 0


def test_on_a_cpu_the_step_itself_is_called():
    runner, x = GraphRunner(lambda x: x), torch.ones(3)
    with torch.no_grad():
        assert runner(x) is x
    assert runner.graphs == 0


def test_structures_keep_their_form():
    value = (Scaled(torch.ones(2), 3.0), None, ("word", torch.zeros(1)))
    assert mapped(value, lambda tensor: tuple(tensor.shape)) == (Scaled((2,), 3.0), None, ("word", (1,)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
        ),
    ],
)
@torch.inference_mode()
def test_denoising_steps_of_two_prompts_are_those_of_the_model(recorder, device):
    """Latents change from step to step, the prompt and its length from clip to clip."""
    torch.manual_seed(0)
    model = Transformer(ModelConfig(hidden=32, head_dim=8, query_heads=2, kv_heads=1, shared=1, text_vocab=300))
    for head in (model.final_linear_video, model.final_linear_audio):
        torch.nn.init.normal_(head.weight, std=0.1)
    model = model.to(device)
    runner = GraphRunner(model, record=recorder if device == "cpu" else None)
    for words in (6, 6, 4):
        latents = Latents(torch.randn(1, 48, 2, 4, 4), torch.randn(1, 5, 64)).to(device)
        text = model.encode_text(Text(torch.randint(3, 200, (1, words)), torch.tensor([words])).to(device))
        layout = model.layout(latents, text)
        for _ in range(2):
            expected, latents = model(latents, text, layout), runner(latents, text, layout)
            torch.testing.assert_close(latents.video, expected.video, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(latents.audio, expected.audio, atol=1e-5, rtol=1e-5)
    assert runner.graphs == 2
