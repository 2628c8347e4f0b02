"""The models that a server offers, and what each of them can be asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from happyhorse.errors import ConfigError
from happyhorse.server.errors import unknown_model
from happyhorse.server.model_offers import ModelOffer, load_model_offer
from happyhorse.server.public_offers import PublicOffer, load_public_offer
from happyhorse.server.sizes import Size
from happyhorse.weights.registry import is_public

__all__ = ["ModelOffer", "Offer", "Offers", "PublicOffer", "Size", "load_offer"]


class Offer(Protocol):
    """A model as clients may ask for it, whatever kind it is."""

    @property
    def name(self) -> str: ...

    @property
    def source(self) -> str:
        """What a worker loads it by."""
        ...

    @property
    def fps(self) -> int: ...

    @property
    def takes(self) -> tuple[str, ...]:
        """What a clip can be made with beside a prompt, in the words of ``wishes.ASKED_AS``."""
        ...

    @property
    def seconds_range(self) -> tuple[float, float]:
        """Of the shortest and the longest clip."""
        ...

    @property
    def render_steps(self) -> int:
        """Denoising steps of a render unless asked otherwise."""
        ...

    @property
    def memory_bytes(self) -> int:
        """About what a worker needs for it, apart from the clip."""
        ...

    @property
    def unit_seconds(self) -> float:
        """A rule of thumb for a unit of work (see ``estimates``), for as long as nothing was measured."""
        ...

    def hosted(self, resolution: str, aspect: float) -> Size:
        """How a resolution of the hosted service is made: 480P, 720P or 1080P."""
        ...

    def render_of(self, preview: tuple[int, int], wanted: str | None = None) -> tuple[int, int]:
        """What a preview is rendered to, ``wanted`` if that can be. Raises SizeError if it cannot."""
        ...

    def describe(self) -> dict[str, Any]:
        """What clients are told of it: fields of ``views.ModelCard``."""
        ...


class Offers:
    """All models of a server; the first is the default."""

    def __init__(self, offers: Sequence[Offer]) -> None:
        assert offers, "a server offers at least one model"
        self._by_name = {offer.name: offer for offer in offers}
        if len(self._by_name) < len(offers):
            raise ConfigError(f"two models are called the same ({', '.join(offer.name for offer in offers)})")

    @classmethod
    def load(cls, names: Sequence[str]) -> Offers:
        """The models with these names or folders. Raises WeightsError for one that is not here or has no manifest."""
        return cls([load_offer(name) for name in names])

    def __iter__(self) -> Iterator[Offer]:
        return iter(self._by_name.values())

    @property
    def names(self) -> list[str]:
        return list(self._by_name)

    @property
    def default(self) -> Offer:
        return next(iter(self._by_name.values()))

    def find(self, name: str | None) -> Offer:
        """A model by its name, the default without one. Raises ServiceError if it is not offered."""
        if not name:
            return self.default
        if name not in self._by_name:
            raise unknown_model(name, self.names)
        return self._by_name[name]


def load_offer(name: str) -> ModelOffer | PublicOffer:
    """What a model can be asked for. Raises WeightsError if it is not here."""
    return load_public_offer(name) if is_public(name) else load_model_offer(name)
