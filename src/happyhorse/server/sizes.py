"""How a picture size is made."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Size:
    """A size as a preview, or as a preview that is rendered; all in pixels, width and height."""

    preview: tuple[int, int]
    large: tuple[int, int] | None = None
    """What the preview is rendered to; None: it stays as it is."""

    @property
    def name(self) -> str:
        """ "WxH" of what the client gets."""
        return size_name(self.large or self.preview)

    @property
    def preview_name(self) -> str:
        return size_name(self.preview)

    @property
    def rendered(self) -> bool:
        return self.large is not None


def size_name(size: tuple[int, int]) -> str:
    """ "WxH"."""
    return f"{size[0]}x{size[1]}"
