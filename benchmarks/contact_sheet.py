"""Frames over waveforms of clips the foal makes for a few prompts: the pictures in README.md and docs/.

python benchmarks/contact_sheet.py docs/foal.png --seed 7
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from happyhorse import Pipeline
from happyhorse.codecs.media import write_png
from happyhorse.data.preview import stack, strip

PROMPTS = (
    "a red ball bounces on wood",
    "a brown horse trots across grass",
    "a person in a blue coat walks through snow",
    "heavy rain in a street",
    "a calm sea at sunset",
    'a woman with red hair and light skin in front of a blue wall says "bonjour" in French',
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--prompts", type=Path, help="one prompt per line")
    asked = parser.parse_args()
    prompts = asked.prompts.read_text(encoding="utf-8").splitlines() if asked.prompts else PROMPTS
    pipeline, rows = Pipeline.from_pretrained("foal"), []
    for prompt in prompts:
        clip = pipeline(prompt, seed=asked.seed)
        rows.append(strip(clip.frames, torch.from_numpy(clip.audio[0])))
        print(prompt, flush=True)
    write_png(asked.output, stack(rows))


if __name__ == "__main__":
    main()
