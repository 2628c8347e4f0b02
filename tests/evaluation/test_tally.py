import numpy as np
import pytest

from happyhorse.evaluation.tally import Reading, Tally, markdown, ratio_interval


def test_a_ratio_is_of_the_sums_and_not_a_mean_of_ratios():
    assert ratio_interval([(1, 1), (0, 9)])[0] == pytest.approx(0.1)


def test_the_interval_is_that_of_the_mean():
    values = np.random.default_rng(0).standard_normal(400)
    value, low, high = ratio_interval([(v, 1.0) for v in values])
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((value - half, value + half), abs=0.02)


def test_clips_are_resampled_and_not_events():
    # Ten clips that are wholly right or wholly wrong say no more than ten coins, however many events they hold.
    _, low, high = ratio_interval([(100 * (i % 2), 100) for i in range(10)])
    assert high - low > 0.4


def test_equal_clips_leave_no_doubt():
    assert ratio_interval([(3, 4)] * 5) == (0.75, 0.75, 0.75)


def test_what_counts_nothing_is_left_out_and_not_zero():
    tally = Tally()
    tally.add("model", [Reading("ball", "impacts heard", "all", 0, 0), Reading("ball", "silent", "all", 0)])
    assert [line.metric for line in tally.lines()] == ["silent"]


def test_the_table_has_a_column_for_each_row_of_measurement():
    tally = Tally()
    for clip in range(3):
        for family in ("ball", "horse"):
            tally.add("real", [Reading(family, "right", "trained", 1)])
            tally.add("model", [Reading(family, "right", "trained", clip % 2)])
    lines = tally.lines()
    assert [(line.family, line.row) for line in lines] == [
        ("ball", "real"),
        ("ball", "model"),
        ("horse", "real"),
        ("horse", "model"),
    ]
    table = markdown(lines).splitlines()
    assert table[0] == "| family | what | combinations | real | model | clips |"
    assert table[2].startswith("| ball | right | trained | 1 [1, 1] | 0.333 [")
    assert len(table) == 4


def test_clips_that_count_nothing_leave_the_interval_a_number():
    value, low, high = ratio_interval([(1, 1), (0, 0), (0, 0)])
    assert (value, low, high) == (1, 1, 1)
