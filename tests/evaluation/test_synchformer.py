"""Synchformer is asked in its own folder, by its own example, whose answer is read."""

import numpy as np
import pytest

from happyhorse.errors import MissingToolError
from happyhorse.evaluation.synchformer import SynchformerJudge

ANSWER = """
import sys
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert arguments["--exp_name"] == "24-01-04T16-39-21" and arguments["--vid_path"].endswith(".mp4")
import av
with av.open(arguments["--vid_path"]) as clip:
    assert clip.streams.video and clip.streams.audio
print("Prediction Results:")
print('p=0.8076 (11.9841), "-0.40" (8)')
print('p=0.0100 (1.5e-01), "0.00" (10)')
"""
FRAMES, SOUND = np.zeros((120, 16, 16, 3), np.uint8), np.zeros(120_000, np.float32)


def checkout(folder, example):
    experiment = folder / "logs" / "sync_models" / "24-01-04T16-39-21"
    experiment.mkdir(parents=True)
    (experiment / "24-01-04T16-39-21.pt").write_bytes(b"weights")
    (folder / "example.py").write_text(example, "utf-8")
    return folder


def test_the_likeliest_offset_is_read(tmp_path):
    (found,) = SynchformerJudge(checkout(tmp_path, ANSWER))(FRAMES, SOUND)
    assert (found.metric, found.value) == ("Synchformer DeSync (s)", 0.4)


def test_short_clips_are_not_judged(tmp_path):
    assert SynchformerJudge(checkout(tmp_path, ANSWER))(FRAMES[:48], SOUND[:48_000]) == []


@pytest.mark.parametrize("example", ["import no_such_module", "print('hello')"])
def test_what_goes_wrong_over_there_is_told(tmp_path, example):
    with pytest.raises(MissingToolError, match="does not run: (.*no_such_module|hello)"):
        SynchformerJudge(checkout(tmp_path, example))(FRAMES, SOUND)


def test_a_folder_that_is_no_checkout_is_refused(tmp_path):
    with pytest.raises(MissingToolError, match="holds no Synchformer: give a checkout"):
        SynchformerJudge(tmp_path)
