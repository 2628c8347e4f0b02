"""A pipeline's model, compiled or prepared where that pays: decided for each kind of pass, when it is first made."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

from torch import nn

from happyhorse.compile.choose import Choice, check_asked, choose, compiling_seconds, prepared, spec_of, work_seconds
from happyhorse.compile.machine import missing_tool
from happyhorse.compile.spec import CompileSpec
from happyhorse.model.sequence import Layout, RowCache
from happyhorse.types import Latents, Text


class Compiling:
    """What to call instead of a model, and how its passes went."""

    def __init__(
        self,
        model: Any,
        asked: str = "off",
        *,
        clips: int = 1,
        spec: CompileSpec | None = None,
        tell: Callable[[str], None] | None = None,
        tell_eager: bool = True,
    ) -> None:
        """``asked`` is "auto", "off" or "max"; ``clips`` are to be made, and ``tell`` is told what is done and why.

        Without ``tell_eager`` it is not told that a model runs as it is because nothing else was worth it. With
        ``spec``, packages made for it are used instead of those for "auto". Raises ConfigError for another way.
        """
        self.model, self.asked, self.clips, self.tell = model, check_asked(asked), clips, tell
        self.tell_eager = tell_eager
        self.spec, self._made, self._used = spec, dict[Any, Any](), model
        self._stand_ins: dict[CompileSpec, Any] = {}

    def pick(self, latents: Latents, text: Text | RowCache, layout: Layout, steps: int) -> Any:
        """What to call for a clip of ``steps`` such passes: the model itself, or its stand-in."""
        self._used = self.model
        if self.asked != "off":
            from happyhorse.compile.capture import Form

            rows = text.rows if isinstance(text, RowCache) else text.values.shape[1]
            form = Form.of(self.model.config, latents, layout, rows, dynamic=True)
            if form not in self._made:
                self._made[form] = self._make(form, layout, rows, steps)
            self._used = self._made[form]
        return self._used

    @property
    def recipe(self) -> dict[str, Any]:
        """What recipes say of it: nothing if the plain model made the clip."""
        spec = next((spec for spec, model in self._stand_ins.items() if model is self._used), None)
        if spec is None or (spec.scope != "off" and self._used.way != "compiled"):
            return {}
        return {"compile": {"scope": spec.scope, "attention": spec.attention, "linear": spec.linear}}

    def _make(self, form: Any, layout: Layout, text: int, steps: int) -> Any:
        from happyhorse.compile.accelerate import Packages, packaged
        from happyhorse.compile.artefacts import any_at_hand

        config, device = self.model.config, layout.cos.device
        spec = self.spec or spec_of(self.asked, config, device)
        if spec.scope == "off":
            return self._stand_in(spec)
        rows = sum(count for _, count in layout.spans)
        choice = choose(
            self.asked,
            packaged=any_at_hand() and packaged(self._stand_in(spec).plain, spec, form, device),
            missing=missing_tool(device),
            work=work_seconds(config, rows, text, steps * form.batch * self.clips, device),
            compiling=compiling_seconds(config),
        )
        self._say(choice)
        if choice.way == "eager":
            otherwise = prepared(self.model)
            return self._stand_in(otherwise) if otherwise else self.model
        self._stand_in(spec).engine = Packages(config, spec, build=choice.way == "build", tell=self.tell)
        return self._stand_in(spec)

    def _stand_in(self, spec: CompileSpec) -> Any:
        """Of the model, with the attention and number format of ``spec``; the model itself stays as it is."""
        from happyhorse.compile.accelerate import accelerate, change

        if spec not in self._stand_ins:
            changed = sharing(self.model)
            if spec.scope == "off":
                change(changed, spec)
                self._stand_ins[spec] = changed
            else:
                self._stand_ins[spec] = accelerate(changed, spec, otherwise=self.model, tell=self.tell)
        return self._stand_ins[spec]

    def _say(self, choice: Choice) -> None:
        if self.tell and (self.tell_eager or choice.way != "eager"):
            self.tell(choice.why)


def sharing(model: nn.Module) -> Any:
    """A copy of a module with the same weights: what is changed in one of them does not change the other."""
    weights = itertools.chain(model.parameters(), model.buffers())
    return copy.deepcopy(model, {id(weight): weight for weight in weights})
