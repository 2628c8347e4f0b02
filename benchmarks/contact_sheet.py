"""Frames over waveforms of clips the foal makes for a few prompts: the pictures in README.md and docs/.

python benchmarks/contact_sheet.py docs/foal.jpg --first 6
python benchmarks/contact_sheet.py docs/twelve.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from happyhorse import Pipeline
from happyhorse.codecs.images import write_jpeg, write_png
from happyhorse.data.preview import stack, strip

PROMPTS = (
    "a red ball bounces on wood",
    "a brown horse trots across grass",
    "a person in a blue coat walks through snow",
    "heavy rain in a street",
    "a calm sea at sunset",
    'a woman with red hair and light skin in front of a blue wall says "bonjour" in French',
    "a green ball bounces on metal",
    "a blue ball bounces on stone",
    "a white horse trots over cobbles",
    "a person in a red coat walks on gravel",
    'a man with black hair and brown skin in front of a yellow wall says "hello my friend" in English',
    'a woman with grey hair and dark skin in front of a pink wall says "你好" in Mandarin',
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="a .jpg, or a .png")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--first", type=int, default=len(PROMPTS), help="only so many of the prompts")
    parser.add_argument("--prompts", type=Path, help="other prompts, one per line")
    asked = parser.parse_args()
    prompts = asked.prompts.read_text(encoding="utf-8").splitlines() if asked.prompts else PROMPTS
    pipeline, rows = Pipeline.from_pretrained("foal"), []
    for prompt in prompts[: asked.first]:
        clip = pipeline(prompt, seed=asked.seed)
        rows.append(strip(clip.frames, torch.from_numpy(clip.audio[0])))
        print(prompt, flush=True)
    write = write_jpeg if asked.output.suffix == ".jpg" else write_png
    write(asked.output, stack(rows))


if __name__ == "__main__":
    main()
