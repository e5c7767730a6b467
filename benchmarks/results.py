"""What was measured, as every section notes it: runs with figures, their medians, and ratios between them."""

import json
import statistics
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from wiresock_py.lab import LabError


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement of one subject; figures by their name, which carries the unit."""

    section: str
    subject: str
    """What is compared: a client, or what grows."""
    case: str
    figures: dict[str, float]


@dataclass(slots=True)
class Results:
    """All runs of one command, with what they were made on."""

    machine: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """What could not be measured, and why."""
    runs: list[Run] = field(default_factory=list)

    def add(self, runs: Iterable[Run]) -> Iterator[Run]:
        """Note each run as it comes, and hand it on."""
        for run in runs:
            self.runs.append(run)
            yield run

    @contextmanager
    def excusing(self, what: str) -> Iterator[None]:
        """Note what of *what* could not be measured, if so, and go on with the rest."""
        try:
            yield
        except LabError as error:
            self.missing[what] = f"{error}; {error.remedy}" if error.remedy else str(error)

    def subjects(self, section: str) -> list[str]:
        """What a section has runs of, in the order of the first ones."""
        return list(dict.fromkeys(run.subject for run in self.runs if run.section == section))

    def cases(self, section: str) -> list[str]:
        """The cases of a section, in the order of the first runs."""
        return list(dict.fromkeys(run.case for run in self.runs if run.section == section))

    def values(self, section: str, subject: str, case: str, figure: str) -> list[float]:
        """Every value of a figure, in the order of measurement; none if it was not taken."""
        place = (section, subject, case)
        found = [run.figures.get(figure) for run in self.runs if (run.section, run.subject, run.case) == place]
        return [value for value in found if value is not None]

    def median(self, section: str, subject: str, case: str, figure: str) -> float | None:
        """The median of a figure; None if it was not taken."""
        values = self.values(section, subject, case, figure)
        return statistics.median(values) if values else None

    def ratio(self, section: str, subject: str, to: str, case: str, figure: str) -> float | None:
        """How many times another subject's median a subject's is; None where either is missing or the other's is 0."""
        mine, theirs = (self.median(section, name, case, figure) for name in (subject, to))
        return mine / theirs if mine is not None and theirs else None

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        data = json.loads(path.read_text())
        return cls(**{**data, "runs": [Run(**run) for run in data["runs"]]})
