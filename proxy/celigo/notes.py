"""What a reader of the imported definitions has to know: secrets to set, fields that stayed behind, guesses. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_RUNS: Final = re.compile(r"[^A-Z0-9]+")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An environment variable that the definitions read; `field` is where integrator.io keeps the value."""

    variable: str
    resource: str
    field: str


@dataclass(slots=True)
class Notes:
    """Collects notes of all resources: `left` is what was not carried over, `guessed` what should be looked at."""

    wanted: list[Wanted] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    guessed: list[str] = field(default_factory=list)

    def of(self, resource: str, stem: str) -> ResourceNotes:
        """Return where the notes about one resource go; `stem` begins the names of its variables."""
        return ResourceNotes(self, resource, stem)


@dataclass(frozen=True, slots=True)
class ResourceNotes:
    """Takes the notes about one resource."""

    _all: Notes
    resource: str
    _stem: str

    def secret(self, name: str, place: str) -> dict[str, str]:
        """Return the reference that stands for a secret in the definitions, and note that it has to be set."""
        variable = _RUNS.sub("_", f"{self._stem}_{name}".upper()).strip("_")
        if variable[:1].isdigit():
            variable = f"_{variable}"
        taken = {each.variable: each for each in self._all.wanted}
        known = taken.get(variable)
        if known is None:
            self._all.wanted.append(Wanted(variable, self.resource, place))
        elif (known.resource, known.field) != (self.resource, place):
            number = 2
            while f"{variable}_{number}" in taken:
                number += 1
            variable = f"{variable}_{number}"
            self._all.wanted.append(Wanted(variable, self.resource, place))
        return {"env": variable}

    def left(self, place: str, why: str) -> None:
        """Note a field that was not carried over."""
        self._all.left.append(f"{self.resource}: {place}: {why}")

    def guessed(self, place: str, what: str) -> None:
        """Note a field that may mean something else."""
        self._all.guessed.append(f"{self.resource}: {place}: {what}")
