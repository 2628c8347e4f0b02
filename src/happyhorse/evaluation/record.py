"""What was read from the clips of one case, kept in a file of its own, so that a run that was stopped goes on.

A record says what it was made from; one that was made from anything else (other clips, other code) is not used again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from happyhorse.evaluation.tally import Reading
from happyhorse.files import whole_file

CODE = ("happyhorse.evaluation", "happyhorse.data.scenes", "happyhorse.codecs")
"""Packages that decide what is read: records of other versions of them are made anew."""
TELLING = ("compare.py", "order.py", "page.py", "plots.py", "report.py", "run.py", "sweep.py")
"""Files among them that only tell what was read."""


@dataclasses.dataclass(frozen=True)
class Row:
    """What was read from one clip."""

    readings: tuple[Reading, ...] = ()
    seen: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Value that is seen or heard, by attribute and medium: {"colour (picture)": "red"}."""
    offsets: tuple[float, ...] = ()
    """Seconds by which each sound comes after the impact that it belongs to."""
    heard: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Transcript by recogniser."""

    def to_dict(self) -> dict[str, Any]:
        readings = [[*dataclasses.astuple(reading)] for reading in self.readings]
        return {"readings": readings, "seen": dict(self.seen), "offsets": list(self.offsets), "heard": dict(self.heard)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Row:
        readings = tuple(Reading(*reading) for reading in values["readings"])
        return cls(readings, values["seen"], tuple(values["offsets"]), values["heard"])


@dataclasses.dataclass(frozen=True)
class Record:
    """What was read from all clips of one case."""

    rows: Mapping[str, Row]
    """By what was measured: "real", "strangers", "codecs" or "model"."""
    features: Mapping[str, NDArray[np.float32]] = dataclasses.field(default_factory=dict)
    """Embeddings [N, D] by row and medium: "codecs/picture"."""
    skipped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Why a file could not be measured, by its name."""


class Records:
    """A folder of records: for each case a JSON file, and the embeddings in an npz file beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, case: str, source: str) -> Record | None:
        """The record of a case that was made from ``source``; None if there is none, or a damaged one."""
        try:
            facts = json.loads(self._path(case).read_text("utf-8"))
            if facts["source"] != source:
                return None
            with np.load(self._path(case, ".npz"), allow_pickle=False) as arrays:
                if str(arrays["source"]) != source:
                    return None
                features = {name: arrays[name] for name in arrays.files if name != "source"}
            rows = {name: Row.from_dict(row) for name, row in facts["rows"].items()}
            return Record(rows, features, facts["skipped"])
        except Exception:  # whatever a damaged file makes its reader say: it is made anew
            return None

    def put(self, case: str, source: str, record: Record) -> None:
        """Keeps a record. Raises OutputError if it cannot be written."""
        with whole_file(self._path(case, ".npz")) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, source=np.array(source), **dict(record.features))  # type: ignore[arg-type]
        rows = {name: row.to_dict() for name, row in record.rows.items()}
        facts = {"source": source, "rows": rows, "skipped": dict(record.skipped)}
        with whole_file(self._path(case)) as temporary:
            temporary.write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", "utf-8")

    def _path(self, case: str, suffix: str = ".json") -> Path:
        return self.folder / f"{case}{suffix}"


def fingerprint(*facts: Any) -> str:
    """Sixteen hex digits of facts that can be written as JSON."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def code_fingerprint() -> str:
    """Changes with any line of the code that draws scenes or reads clips."""
    digest = hashlib.sha256()
    for package in CODE:
        files = (file for file in resources.files(package).iterdir() if file.name.endswith(".py"))
        for file in sorted(files, key=lambda entry: entry.name):
            digest.update(b"" if file.name in TELLING else file.read_bytes())
    return digest.hexdigest()[:16]
