import torch

from happyhorse.data.scenes import sea
from happyhorse.data.scenes.scene import Canvas, Plan
from happyhorse.data.scenes.weather import FAMILY


def a_plan(kind: str, seed: int = 0) -> Plan:
    return FAMILY.plan(seed, 5.0, {"kind": kind, "scene": "grey"})


def test_the_surf_swells_when_the_near_wave_is_high():
    plan = a_plan("rough sea")
    canvas = Canvas(120, 128, 128)
    frames = sea.draw([plan], "rough sea", canvas)[0]
    near = sea.crest_turns([plan], canvas)[0, :, 0, 0]
    crest = torch.cos(2 * torch.pi * near)
    dark = (frames[2, :, 80:, 60:68] < 0.5).float().sum(dim=(1, 2))
    loud = sea.sound([plan], "rough sea", 120_000, "cpu")[0].reshape(120, 1000).square().mean(1).sqrt()
    assert torch.corrcoef(torch.stack([crest, loud]))[0, 1] > 0.8
    assert torch.corrcoef(torch.stack([dark, loud]))[0, 1] > 0.5, "seen as well as heard"


def test_a_rough_sea_has_higher_waves():
    heights = {}
    for kind in sea.KINDS:
        frames = sea.draw([a_plan(kind)], kind, Canvas(25, 64, 64))[0]
        heights[kind] = frames[:, :, 34:].std(dim=1).mean()
    assert heights["rough sea"] > 2 * heights["calm sea"]


def test_skies_differ_from_each_other():
    canvas = Canvas(1, 64, 64)
    skies = [
        sea.draw([FAMILY.plan(0, 1.0, {"kind": "calm sea", "scene": sky})], "calm sea", canvas) for sky in sea.SKIES
    ]
    means = torch.stack([sky[0, :, 0, :26].mean(dim=(1, 2)) for sky in skies])
    assert torch.pdist(means).min() > 0.2
