"""A model made fast: ``accelerate(model, spec)`` is called as the model is, and gives its numbers.

A pass that no compiled graph serves (a group of one row, a form that is not packaged, gradients) goes through the plain
model, and ``way`` says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from happyhorse.compile import artefacts
from happyhorse.compile.capture import (
    Form,
    Free,
    LayerStep,
    Step,
    layer_example,
    layer_inputs,
    serves,
    size_of_one,
    step_example,
    step_inputs,
)
from happyhorse.compile.graphs import GraphRunner
from happyhorse.compile.machine import allow_graphs, missing_tool
from happyhorse.compile.spec import CompileSpec
from happyhorse.config import ModelConfig
from happyhorse.errors import CompileError, HappyhorseError, MissingToolError
from happyhorse.model.sequence import Layout, RowCache
from happyhorse.model.transformer import Transformer
from happyhorse.types import Latents, Text

Graph = Callable[[list[Tensor]], Any]
_Fits = Callable[[Latents, Text | RowCache, Layout, Tensor | None], bool]
_Run = Callable[[Latents, Text | RowCache, Layout, Tensor | None], Latents]
Tell = Callable[[str], None]
COMPILED, EAGER = "compiled", "eager"


class Engine(Protocol):
    """Where compiled graphs come from."""

    def graph(self, module: nn.Module, tensors: list[Tensor], free: Free) -> Graph:
        """``module`` for inputs such as ``tensors``, sizes ``free`` open. Raises a HappyhorseError if there is none."""
        ...


class Accelerated(nn.Module):
    """Stands in for a Transformer. Its weights are the model's own, bound where they lie: move the model before.

    What is not compiled goes through ``otherwise``: the model, unless another one is given.
    """

    def __init__(
        self,
        model: Transformer,
        spec: CompileSpec,
        engine: Engine | None,
        otherwise: nn.Module | None = None,
        tell: Tell | None = None,
    ) -> None:
        super().__init__()
        self.plain, self.spec, self.engine, self.tell = model, spec, engine, tell
        self.otherwise = otherwise or model
        self.way = EAGER
        """How the last pass went: "compiled" or "eager"."""
        self.why = ""
        """Why it was eager."""
        self._prepared: dict[Form, tuple[_Fits, _Run] | str] = {}

    @property
    def config(self) -> ModelConfig:
        return self.plain.config

    def encode_text(self, text: Text) -> RowCache:
        """As the model's, in the form that compiled code reads without a copy."""
        cache = self.plain.encode_text(text)
        keys, values = (tuple(part.contiguous() for part in parts) for parts in (cache.keys, cache.values))
        return RowCache(keys, values, cache.mask)

    def layout(self, latents: Latents, text: Text | RowCache) -> Layout:
        return self.plain.layout(latents, text)

    def forward(
        self,
        latents: Latents,
        text: Text | RowCache,
        layout: Layout | None = None,
        times: Tensor | None = None,
    ) -> Latents:
        """As the model's own."""
        if isinstance(text, Text) and self.config.text == "tokens":
            text = self.encode_text(text)
        layout = layout or self.plain.layout(latents, text)
        found = self._served(latents, text, layout, times)
        self.way, self.why = (EAGER, found) if isinstance(found, str) else (COMPILED, "")
        run = self.otherwise if isinstance(found, str) else found
        return run(latents, text, layout, times)

    def _served(self, latents: Latents, text: Text | RowCache, layout: Layout, times: Tensor | None) -> _Run | str:
        """What runs such a pass, or why it is not compiled."""
        if self.engine is None:
            return "it is not compiled"
        if _wants_gradients(self.plain, latents):
            return "gradients are asked for"
        rows = text.rows if isinstance(text, RowCache) else text.values.shape[1]
        if what := size_of_one(layout, latents, rows):
            return f"there is only one {what}"
        form = Form.of(self.config, latents, layout, rows, self.spec.dynamic)
        if form not in self._prepared:
            self._prepared[form] = self._make(form, latents.video.device)
        prepared = self._prepared[form]
        if isinstance(prepared, str):
            return prepared
        fits, run = prepared
        return run if fits(latents, text, layout, times) else "its dtypes or sizes are not those that were compiled for"

    def _make(self, form: Form, device: torch.device) -> tuple[_Fits, _Run] | str:
        assert self.engine is not None
        kind = _WholeStep if self.spec.scope == "full" else _LayerByLayer
        try:
            made = kind(self.plain, form, device, self.engine)
        except HappyhorseError as error:
            if self.tell:
                self.tell(f"not compiled: {error}")
            return str(error)
        return made.fits, GraphRunner(made.run) if self.spec.graphs else made.run


def _wants_gradients(model: Transformer, latents: Latents) -> bool:
    if not torch.is_grad_enabled():
        return False
    return latents.video.requires_grad or any(weight.requires_grad for weight in model.parameters())


# ------------------------------------------------------------------------------------------------- one graph or several
# ``fits`` tells whether a pass has the dtypes and sizes that were compiled for, ``run`` is the pass.


class _WholeStep:
    """Scope "full"."""

    def __init__(self, model: Transformer, form: Form, device: torch.device, engine: Engine) -> None:
        (step,), self.example, self.free = parts(model, CompileSpec(scope="full"), form, device)
        self.graph = engine.graph(step, self.example, self.free)

    def fits(self, latents: Latents, text: Text | RowCache, layout: Layout, times: Tensor | None) -> bool:
        return serves(step_inputs(latents, text, layout, times), self.example, self.free)

    def run(self, latents: Latents, text: Text | RowCache, layout: Layout, times: Tensor | None) -> Latents:
        return Latents(*self.graph(step_inputs(latents, text, layout, times)))


class _LayerByLayer:
    """Scope "block": what is before and after the layers runs as it is."""

    def __init__(self, model: Transformer, form: Form, device: torch.device, engine: Engine) -> None:
        self.model = model
        steps, self.example, self.free = parts(model, CompileSpec(scope="block"), form, device)
        self.graphs = [engine.graph(step, self.example, self.free) for step in steps]

    def fits(self, latents: Latents, text: Text | RowCache, layout: Layout, times: Tensor | None) -> bool:
        rows = sum(rows for _, rows in layout.spans)
        hidden = latents.video.new_empty(len(latents.video), rows, self.model.config.hidden)
        return serves(layer_inputs(hidden, _text_of(text, 0), layout), self.example, self.free)

    def run(self, latents: Latents, text: Text | RowCache, layout: Layout, times: Tensor | None) -> Latents:
        adapter = self.model.adapter
        rows = [adapter.video_rows(latents.video, times), adapter.audio_rows(latents.audio, times)]
        if isinstance(text, Text):
            rows.append(adapter.text_rows(text.values))
        hidden = torch.cat(rows, dim=1)
        for index, graph in enumerate(self.graphs):
            made = graph(layer_inputs(hidden, _text_of(text, index), layout))
            hidden = made if isinstance(made, Tensor) else made[0]
        return self.model.read_out(hidden, latents)


def _text_of(text: Text | RowCache, layer: int) -> tuple[Tensor, Tensor] | None:
    return (text.keys[layer], text.values[layer]) if isinstance(text, RowCache) else None


# -------------------------------------------------------------------------------------------------------- the engines
@dataclasses.dataclass(frozen=True)
class JustInTime:
    """torch.compile: graphs are made when they are first called, and forgotten at the end of the process."""

    backend: str = "inductor"
    """"eager" takes the same graphs without generating code."""

    def graph(self, module: nn.Module, tensors: list[Tensor], free: Free) -> Graph:
        import torch._dynamo as dynamo

        if self.backend == "inductor" and (missing := missing_tool(tensors[0].device)):
            raise MissingToolError(f"compiling needs {missing}, which is not installed")
        allow_graphs()
        compiled = torch.compile(module, fullgraph=True, backend=self.backend)

        def run(given: list[Tensor]) -> Any:
            for tensor, dims in zip(given, free, strict=True):
                for dim in dims:
                    dynamo.mark_dynamic(tensor, dim)
            return compiled(given)

        return run


@dataclasses.dataclass(frozen=True)
class Packages:
    """AOTInductor packages: those that are there, and if ``build`` those that are not."""

    config: ModelConfig
    spec: CompileSpec
    build: bool = False
    folder: Path | None = None
    tell: Tell | None = None
    """Told, in a line, what was damaged."""

    def graph(self, module: nn.Module, tensors: list[Tensor], free: Free) -> Graph:
        abi = artefacts.abi_of(module, self.config, self.spec, tensors, free)
        device = tensors[0].device
        if path := artefacts.find(abi, self.folder):
            try:
                artefacts.check(path, abi)
                return artefacts.Package(path, module, device)
            except CompileError as error:
                if not self.build:
                    raise
                if self.tell:
                    self.tell(f"{error}; it is made again")
        if not self.build:
            raise CompileError("no package is at hand for it")
        return artefacts.Package(artefacts.build(module, tensors, free, abi, self.folder), module, device)


def packaged(model: Transformer, spec: CompileSpec, form: Form, device: torch.device) -> bool:
    """Whether all packages for such passes are at hand."""
    return all(artefacts.find(abi) for abi in abis(model, spec, form, device))


def abis(model: Transformer, spec: CompileSpec, form: Form, device: torch.device) -> list[artefacts.Abi]:
    """The ABIs of the graphs for such passes, each once."""
    modules, tensors, free = parts(model, spec, form, device)
    found = [artefacts.abi_of(module, model.config, spec, tensors, free) for module in modules]
    return list({abi.key: abi for abi in found}.values())


def parts(
    model: Transformer, spec: CompileSpec, form: Form, device: torch.device
) -> tuple[list[nn.Module], list[Tensor], Free]:
    """What is compiled for such passes: modules, tensors like those that all are called with, and their open sizes."""
    if spec.scope == "full":
        return [Step(model, form)], *step_example(model.config, form, device)
    steps: list[nn.Module] = [LayerStep(layer, model.config, form) for layer in model.block.layers]
    return steps, *layer_example(model.config, form, device)


def accelerate(
    model: Transformer,
    spec: CompileSpec | None = None,
    engine: Engine | None = None,
    *,
    otherwise: nn.Module | None = None,
    tell: Tell | None = None,
) -> Accelerated:
    """``model`` made fast as ``spec`` says; on its final device, with its final weights.

    Graphs come from ``engine``: just in time, unless packages are given. Attention and number format are changed in
    ``model`` itself. ``tell`` is told what could not be compiled. Raises ConfigError for what the model cannot be
    changed to.
    """
    spec = spec or CompileSpec()
    change(model, spec)
    engine = None if spec.scope == "off" else engine or JustInTime()
    return Accelerated(model, spec, engine, otherwise, tell)


def change(model: Transformer, spec: CompileSpec) -> None:
    """Attention and number format as ``spec`` wants them, in place."""
    if spec.attention != "plain":
        from happyhorse.compile.attention import use_attention

        use_attention(model, spec.attention)
    if spec.linear != "as-is":
        from happyhorse.compile.linears import use_linears

        use_linears(model, spec.linear)
