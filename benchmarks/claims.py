"""The design's claims, each trained with and without what it claims, at equal budget.

``python benchmarks/claims.py [--seeds 2] [--steps N] [--only sandwich ungated] [--out runs/claims]``

Trains every variant of ``happyhorse.recipes.claims`` (a run that was stopped goes on), then prints the loss on scenes
that were not trained on and what the ruler says of 48 clips of 2 s, one row a seed and variant.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import torch
from in_turn import InTurn

from happyhorse.codecs.text import Tokenizer
from happyhorse.data.shards import LatentDataset, cache
from happyhorse.evaluation.measure import make_cases
from happyhorse.evaluation.order import Order, prepare
from happyhorse.evaluation.report import Report, make_report
from happyhorse.evaluation.source import ModelSource
from happyhorse.evaluation.suites import suite_of
from happyhorse.files import whole_file
from happyhorse.model.transformer import Transformer, parameter_count
from happyhorse.recipes.claims import REFERENCE, SHAPE, VARIANTS, claim
from happyhorse.recipes.recipe import TrainConfig
from happyhorse.training.build import make_state
from happyhorse.training.loop import draw_example, predict
from happyhorse.training.losses import flow_matching_loss
from happyhorse.training.machine import prepare_machine
from happyhorse.training.run import Options, configure, find_codecs, run
from happyhorse.weights.registry import resolve
from happyhorse.weights.store import load_module, write_manifest

SAMPLING = {"steps": 16, "guidance_video": 2.5, "guidance_audio": 3.0}
FAMILIES = ("ball", "horse", "walker", "talker")
CASES = 12
HELD_OUT = 800_000_000
"""Seeds of the scenes that the loss is measured on begin here."""
READ = {
    "foley: F1 of impacts seen and heard": "F1",
    "talkers: mouth against voice (correlation)": "mouth",
    "adherence: attributes right": "attributes",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=None, help="steps of every run instead of the recipe's")
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=Path("runs/claims"))
    asked = parser.parse_args()
    prepare_machine(torch.device("cpu"))
    rows = []
    for seed in range(asked.seeds):
        for variant in asked.only:
            folder = asked.out / f"{variant}-{seed}"
            config = trained(variant, seed, folder, asked.out / f"cache-{seed}", asked.steps)
            rows.append(measured(variant, seed, config, folder))
            print(json.dumps(rows[-1]), flush=True)
    print(table(rows))


def trained(variant: str, seed: int, folder: Path, scenes: Path, steps: int | None) -> TrainConfig:
    """Trains a variant, as far as that is not done yet."""
    options = Options(folder, cache=scenes, steps=steps, device=torch.device("cpu"))
    config = configure(claim(variant).replace(seed=seed), options)
    if code := run(config, options, lambda line: print(line, flush=True)):
        raise SystemExit(code)
    return config


def measured(variant: str, seed: int, config: TrainConfig, folder: Path) -> dict:
    """What is known of a trained variant; read from its folder if it was measured before."""
    kept = folder / "measured.json"
    if kept.exists():
        return json.loads(kept.read_text())
    video, audio = held_out_loss(config, folder)
    facts = {"variant": variant, "seed": seed, "parameters": parameter_count(Transformer(config.model))}
    facts |= {"loss, picture": video, "loss, sound": audio}
    for line in judged(variant, folder).headline:
        if line.row == "model" and line.split == "all" and line.metric in READ:
            facts[READ[line.metric]] = line.value
    with whole_file(kept) as temporary:
        temporary.write_text(json.dumps(facts))
    return facts


@torch.inference_mode()
def held_out_loss(config: TrainConfig, folder: Path) -> tuple[float, float]:
    """Mean squared error of the velocity of both media, on scenes and noise that are the same for all variants."""
    place = folder.parent / "held-out"
    cache(place, SHAPE, 256, find_codecs(None, torch.device("cpu")), seed=HELD_OUT)
    data, text = LatentDataset(place, prompt_dropout=0.0), Tokenizer.load()
    state = make_state(config, torch.device("cpu"))
    load_module(state.model, folder / "base.safetensors")
    together = claim(REFERENCE)
    sums = torch.zeros(2)
    for step in range(8):
        batch = data.batch(step, SHAPE, 32)
        example = draw_example(batch.latents, together, step)
        losses = flow_matching_loss(predict(state, example, text.batch(batch.prompts)), example)
        sums += torch.stack([losses.video.mean(), losses.audio.mean()]) / 8
    return sums[0].item(), sums[1].item()


def judged(variant: str, folder: Path) -> Report:
    """The ruler's report of a variant's clips."""
    suite = suite_of(
        "claims", make_cases(CASES, SHAPE.seconds, 0, FAMILIES), SHAPE.seconds, (SHAPE.height, SHAPE.width)
    )
    model = as_model(variant, folder)
    order = prepare(Order(model=str(model)), suite, folder / "evaluation", True, lambda stage, done, total: None)
    if VARIANTS[variant].sound_after:
        source = ModelSource(InTurn.from_pretrained(model), folder / "evaluation" / "clips", suite.size)
        order = dataclasses.replace(order, source=source)
    return make_report(order.facts(), order.cases())


def as_model(variant: str, folder: Path) -> Path:
    """A model folder of the trained weights and the shipped codecs."""
    model, shipped = folder / "model", resolve("foal").folder
    model.mkdir(exist_ok=True)
    for name, source in {
        "base": folder / "base.safetensors",
        "video": shipped / "video.safetensors",
        "audio": shipped / "audio.safetensors",
    }.items():
        link = model / f"{name}.safetensors"
        link.unlink(missing_ok=True)
        link.symlink_to(source.resolve())
    write_manifest(model, f"claim-{variant}", SAMPLING)
    return model


def table(rows: list[dict]) -> str:
    """A Markdown table, the seeds of a variant side by side."""
    columns = ["loss, picture", "loss, sound", *READ.values()]
    lines = [f"| variant | parameters | {' | '.join(columns)} |", "|" + "---|" * (len(columns) + 2)]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        mine = [row for row in rows if row["variant"] == variant]
        cells = [" ".join(f"{row[name]:.3f}" if name in row else "-" for row in mine) for name in columns]
        lines.append(f"| {variant} | {mine[0]['parameters'] / 1e6:.1f} M | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
