"""One case: what is read of its real scenes, of the codecs and of clips that were made well, badly or not at all."""

import numpy as np
import pytest

from happyhorse.data.scenes.world import FAMILIES
from happyhorse.evaluation.measure import (
    SEEDS,
    known_record,
    made_record,
    make_cases,
    other_scene,
    real_seeds,
)
from happyhorse.evaluation.readings import Sample
from happyhorse.evaluation.report import tally
from happyhorse.evaluation.run import Measured

SECONDS = 2.0


def cases_of(family, count, images=0):
    return make_cases(count, SECONDS, images, families=[family])


def measured(bench, cases, clips):
    """All cases measured, with the clips that ``clips(case)`` gives by take."""
    found = []
    for case in cases:
        known = known_record(case, cases[-1], bench)
        found.append(
            Measured(
                case,
                known,
                made_record(case, clips(case), real_seeds(known) if case.with_seeds else [], bench, {}),
                None,
            )
        )
    return found


def numbers(found):
    return {(line.row, line.metric, line.split): line for line in tally(found).lines()}


def nothing(case):
    return {}


def test_half_of_the_cases_are_held_out_combinations():
    cases = make_cases(4, SECONDS, images=1)
    assert len(cases) == 4 * len(FAMILIES)
    assert sum(FAMILIES[case.plan.family].held_out(case.plan.attributes) for case in cases) == len(cases) / 2
    assert sum(case.with_given for case in cases) == sum(case.with_seeds for case in cases) == len(FAMILIES)
    assert [case.prompt for case in cases] == [case.prompt for case in make_cases(4, SECONDS)]
    assert [case.name for case in cases[: len(FAMILIES)]] == [f"{family}-00" for family in FAMILIES]


def test_takes_have_names_and_seeds_of_their_own():
    first, second = make_cases(2, SECONDS, images=2, families=["ball"])
    given = ("", "-image", "-last", "-film", "-sound")
    assert first.takes() == (*given, "-seed-1", "-seed-2", "-seed-3") and second.takes() == given
    assert make_cases(1, SECONDS, images=1, families=["weather"])[0].takes()[:4] == ("", "-image", "-last", "-seed-1")
    seeds = [first.seed_of(take) for take in first.takes()]
    assert seeds[0] == seeds[1] == seeds[4] == first.plan.seed and len(set(seeds)) == SEEDS


def test_real_balls_are_in_time_and_transparent_codecs_keep_them(bench):
    found = numbers(measured(bench, cases_of("ball", 2), nothing))
    for row in ("real", "codecs"):
        assert found[row, "F1 of impacts and onsets", "all"].value == 1
        assert found[row, "sound away by (ms)", "all"].value < 5
    assert found["codecs", "codec PSNR (dB)", "all"].value > 50
    assert found["codecs", "codec log-mel error (nats)", "all"].value == 0
    assert found["codecs", "codec onsets kept within 10 ms", "all"].value == 1
    assert -60 < found["real", "loudness (LUFS)", "all"].value < -10
    assert not any(row == "model" for row, *_ in found)


def test_strangers_do_not_fit(bench):
    found = numbers(measured(bench, cases_of("ball", 3)[:2], nothing) + measured(bench, cases_of("ball", 2), nothing))
    assert found["strangers", "F1 of impacts and onsets", "all"].value < 0.8
    assert found["real", "F1 of impacts and onsets", "all"].value == 1


def test_a_late_sound_and_a_wrong_picture_show(bench):
    cases = cases_of("ball", 2)

    def late(case):
        real = bench.real(case.plan)
        return {"": Sample(real.frames, np.roll(real.waveform, 2400))}

    found = numbers(measured(bench, cases, late))
    assert found["model", "impacts heard within a frame", "all"].value == 0
    assert found["real", "impacts heard within a frame", "all"].value == 1
    right = [found["real", "surface right (picture)", split].value for split in ("trained", "held out")]
    assert right == [case.plan.attributes["surface"] == "wood" for case in cases]


def test_silence_and_stillness_are_counted_and_silence_has_no_loudness(bench):
    dead = Sample(np.full((48, 64, 64, 3), 90, np.uint8), np.zeros(48_000, np.float32))
    found = numbers(measured(bench, cases_of("talker", 1, images=1), lambda case: {"": dead, "-image": dead}))
    for metric, value in (("silent clips", 1), ("frozen clips", 1), ("mouth within a frame of voice", 0)):
        assert found["model", metric, "all"].value == value
        assert found["real", metric, "all"].value == 1 - value
    assert found["model", "image: frozen clips", "all"].value == 1
    assert ("model", "loudness (LUFS)", "all") not in found


def test_a_given_first_frame_is_compared_with_the_clips(bench):
    def with_start(change):
        def clips(case):
            real = bench.real(case.plan)
            frames = real.frames.copy()
            frames[0] = change(bench.real(case.plan).frames[0])
            return {"-image": Sample(frames, real.waveform)}

        return numbers(measured(bench, cases_of("walker", 1, images=1), clips))

    same, wrong = with_start(lambda image: image), with_start(lambda image: 255 - image)
    assert same["model", "image: first frame PSNR (dB)", "all"].value == 99
    assert same["model", "image: first frame SSIM", "all"].value == 1
    assert same["model", "image: first step over typical step", "all"].value < 2
    assert wrong["model", "image: first frame PSNR (dB)", "all"].value < 15
    assert wrong["model", "image: first frame SSIM", "all"].value < 0.5
    assert wrong["model", "image: first step over typical step", "all"].value > 5


def test_what_is_made_for_a_film_or_a_sound_is_held_against_it(bench):
    def around(late):
        def clips(case):
            real = bench.real(case.plan)
            made = Sample(real.frames, np.roll(real.waveform, late))
            return {"-film": made, "-sound": made, "-last": Sample(real.frames[::-1], real.waveform)}

        return numbers(measured(bench, cases_of("ball", 1, images=1), clips))

    fitting, late = around(0), around(2400)
    for name in ("film given", "sound given"):
        assert fitting["real", f"{name}: F1 of impacts and onsets", "all"].value == 1
        assert fitting["model", f"{name}: F1 of impacts and onsets", "all"].value == 1
        assert late["model", f"{name}: F1 of impacts and onsets", "all"].value == 0
    assert fitting["real", "last image: last frame PSNR (dB)", "all"].value == 99
    assert fitting["model", "last image: last frame PSNR (dB)", "all"].value < 40


def test_the_spread_over_seeds_is_a_share_of_real_scenes(bench):
    def same(case):
        return {take: bench.real(case.plan) for take in case.takes()}

    def other(case):
        return {take: bench.real(other_scene(case.plan, int("0" + take[-1:]))) for take in case.takes()}

    for clips, share in ((same, 0), (other, 1)):
        found = numbers(measured(bench, cases_of("ball", 1), clips))
        for medium in ("picture", "sound"):
            assert found["model", f"spread over seeds, of real scenes' ({medium})", "all"].value == pytest.approx(share)


def test_transcripts_are_counted_in_the_units_of_their_language(bench):
    cases = cases_of("talker", 14)
    found = measured(bench, cases, lambda case: {"": bench.real(case.plan)})
    for one in found:
        plan, row = one.case.plan, one.made.rows["model"]
        assert row.heard == {"echo": "hello my friend"}
        units = {reading.metric for reading in row.readings if reading.metric.startswith("errors in")}
        spaceless = plan.attributes["language"] in ("Mandarin", "Cantonese", "Japanese")
        both = plan.attributes["language"] == "Korean"
        wanted = {"errors in characters (echo)"} if spaceless or both else set()
        assert units == (wanted if spaceless else wanted | {"errors in words (echo)"})
        assert all(0 <= r.total <= r.count for r in row.readings if r.metric.startswith("errors in"))
    assert len({one.case.plan.attributes["language"] for one in found}) > 3
