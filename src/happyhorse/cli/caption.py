"""``happyhorse caption``: what a clip shows and sounds like."""

from __future__ import annotations

import json
from pathlib import Path

from happyhorse.sampling.caption import Captioner
from happyhorse.sampling.given import load_film, load_sound


def caption_clips(paths: list[Path], model: str | None, device: str | None, as_json: bool) -> None:
    """Prints a line for each clip. Raises MediaError for the first file that has no picture or no sound."""
    captioner = Captioner.from_pretrained(model or "foal-base", device)
    for path in paths:
        film, sound = load_film(path), load_sound(path)
        assert film is not None and sound is not None
        text = captioner(film, sound)
        if as_json:
            print(json.dumps({"path": str(path), "caption": text}, ensure_ascii=False), flush=True)
        else:
            print(text if len(paths) == 1 else f"{path}  {text}", flush=True)
