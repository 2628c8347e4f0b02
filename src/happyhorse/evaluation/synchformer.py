"""Synchformer (Iashin et al. 2024) for those who have its code and weights: DeSync, the offset that it hears.

It runs as its authors' own example in its own folder, with the Python of that folder's ``.venv`` if there is one, so
that nothing of it has to be installed beside this package. It answers one of 21 offsets 0.2 s apart: fit for scenes at
large, too coarse for lips. It answers for silent and still clips too; read it beside their counts.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from happyhorse.codecs.media import write_mp4
from happyhorse.data.scenes.scene import FPS, SAMPLE_RATE
from happyhorse.data.scenes.world import FAMILIES
from happyhorse.errors import MissingToolError
from happyhorse.evaluation.judge import Judgement

LEAST_SECONDS = 4.8
"""What its fourteen segments take in."""
PREDICTION = re.compile(r'^p=[\d.]+ \([-\d.e+]+\), "(-?[\d.]+)"', re.MULTILINE)
"""A line of its answer, the likeliest first."""
SECONDS_MAX = 600


class SynchformerJudge:
    """Synchformer in a folder: a checkout of its repository with one experiment under ``logs/sync_models``."""

    name = "Synchformer"
    families = tuple(FAMILIES)

    def __init__(self, folder: Path) -> None:
        """MissingToolError if the folder is no such checkout."""
        self.folder = folder.resolve()
        experiments = sorted(path.parent.name for path in self.folder.glob("logs/sync_models/*/*.pt"))
        if not (self.folder / "example.py").is_file() or len(experiments) != 1:
            raise MissingToolError(
                f"{folder} holds no Synchformer: give a checkout of v-iashin/Synchformer with the weights and the "
                "settings of one experiment under logs/sync_models"
            )
        self.experiment = self.fingerprint = experiments[0]

    def __call__(self, frames: NDArray[np.uint8], waveform: NDArray[np.floating]) -> list[Judgement]:
        """The distance of the offset that it hears from none, in seconds; nothing for clips under 4.8 s."""
        if len(frames) / FPS < LEAST_SECONDS:
            return []
        with tempfile.TemporaryDirectory() as place:
            clip = Path(place) / "clip.mp4"
            write_mp4(clip, frames, np.asarray(waveform, np.float32)[None], FPS, SAMPLE_RATE)
            return [Judgement("Synchformer DeSync (s)", abs(self._offset(clip)))]

    def _offset(self, clip: Path) -> float:
        own = self.folder / ".venv" / "bin" / "python"
        command = [str(own if own.is_file() else sys.executable), "example.py"]
        command += ["--exp_name", self.experiment, "--vid_path", str(clip), "--device", "cpu"]
        try:
            done = subprocess.run(
                command, cwd=self.folder, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise MissingToolError(f"Synchformer in {self.folder} did not answer in {SECONDS_MAX} s") from error
        found = PREDICTION.search(done.stdout)
        if done.returncode or not found:
            last = (done.stderr.strip() or done.stdout.strip() or "no answer").splitlines()[-1]
            raise MissingToolError(f"Synchformer in {self.folder} does not run: {last}")
        return float(found.group(1))
