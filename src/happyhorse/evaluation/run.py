"""``happyhorse evaluate``: asks for every case of a suite, measures it, and gathers the report.

Each case is measured from files and kept as a record, so memory holds the frames and sound of one case at a time (and
some 90 kB of readings and embeddings of every case), and a run that was stopped goes on. What no model takes part in
(real scenes, codecs) is the same for all models and kept in the user's cache.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from happyhorse import __version__
from happyhorse.evaluation.instruments import MEDIA
from happyhorse.evaluation.measure import Bench, Case, known_record, made_record, real_seeds
from happyhorse.evaluation.record import Record, Records, code_fingerprint, fingerprint
from happyhorse.evaluation.source import Source, read_samples
from happyhorse.evaluation.suites import HASHES, Suite
from happyhorse.weights.store import file_hash

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Measured:
    """A case with all that was read of it."""

    case: Case
    known: Record
    made: Record
    file: Path | None
    """The clip that was judged."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A suite, where its clips come from, and what they are measured with."""

    suite: Suite
    source: Source
    bench: Bench
    made: Records
    """Where the readings of the clips are kept."""
    known: Records
    """Where those of the real scenes and the codecs are kept."""
    tools: tuple[str, ...]
    """Fingerprints of codecs, fitted instruments and recognisers."""
    embedder: str = "foal"
    """Name of the model whose latents are the embeddings of the Fréchet distances."""

    def facts(self) -> dict[str, Any]:
        """What is measured, with what."""
        times = list(self.source.timings().values())
        return {
            "happyhorse": __version__,
            "suite": self.suite.name,
            "suite hash": HASHES.get(self.suite.name, "")[:16],
            **self.source.facts,
            "recognisers": ", ".join(ear.name for ear in self.bench.instruments.recognisers) or "none",
            "judges": ", ".join(judge.name for judge in self.bench.instruments.judges) or "none",
            **{f"embedding of the {medium}": f"{self.embedder}-{medium}-latents" for medium in MEDIA},
            "seconds to make a clip (median)": round(statistics.median(times), 1) if times else None,
        }

    def cases(self, progress: Progress | None = None) -> list[Measured]:
        """Measures the whole suite, the clips first; ``progress`` is called with the steps done and their number."""
        cases, total = self.suite.plans(), 2 * len(self.suite.cases)
        tell = progress or (lambda done, total: None)
        base = fingerprint(code_fingerprint(), self.suite.to_dict(), self.tools)
        made: list[tuple[Record, Path | None]] = []
        for case in cases:
            tell(len(made), total)
            made.append(self._made(case, lambda case=case: self._known(case, cases, base), base))
        measured: list[Measured] = []
        for case, (record, file) in zip(cases, made, strict=True):
            tell(len(cases) + len(measured), total)
            measured.append(Measured(case, self._known(case, cases, base), record, file))
        tell(total, total)
        return measured

    def _known(self, case: Case, cases: list[Case], base: str) -> Record:
        record = self.known.get(case.name, base)
        if record is None:
            record = known_record(case, stranger_of(case, cases), self.bench)
            self.known.put(case.name, base, record)
        return record

    def _made(self, case: Case, known: Callable[[], Record], base: str) -> tuple[Record, Path | None]:
        scene = functools.cache(lambda: self.bench.real(case.plan))
        paths = {take: self.source.find(case, take, scene) for take in case.takes()}
        source = fingerprint(base, {take: file_hash(path) if path else None for take, path in paths.items()})
        record = self.made.get(case.name, source)
        if record is None:
            samples, skipped = read_samples(paths, case.plan.seconds)
            named = {case.name + take: why for take, why in skipped.items()}
            real = real_seeds(known()) if case.with_seeds else []
            record = made_record(case, samples, real, self.bench, named)
            self.made.put(case.name, source, record)
        return record, paths[""]


def stranger_of(case: Case, cases: list[Case]) -> Case:
    """The case of the same family before this one (before the first one comes the last)."""
    family = [other for other in cases if other.plan.family == case.plan.family]
    return family[family.index(case) - 1]
