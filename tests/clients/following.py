"""How a reader follows a guide on a stage: what needs which program, and which numbers are others here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.clients.stage import shell
from tests.support.stage import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.clients.guides import Step
    from tests.clients.stage import ClientStage, Said

_NEEDS: Final = {"java": ("java",), "node": ("node",), "perl": ("perl", "IO::Socket::SSL"), "php": ("php", "ext/curl")}


def marked(steps: Iterable[Step]) -> list[object]:
    """Return the steps as parameters that are left out where a program is missing."""
    return [pytest.param(step, id=str(step), marks=pytest.mark.needs(*_needed(step))) for step in steps]


def _needed(step: Step) -> tuple[str, ...]:
    programs = ("curl", "wget", "git", "node", "java", "perl", "php", "promtool")
    return tuple(each for each in programs if f"{each} " in step.script) + _NEEDS.get(step.page, ())


async def followed(step: Step, stage: ClientStage, folder: Path) -> Said:
    """Save the step's files and run its commands, on the definitions of the stage."""
    step.save(folder)
    admin = "{}:{}".format(*stage.process.admin)
    reverse = "{}:{}".format(*stage.process.listening["reverse"][0])
    return await shell(
        step.script.replace("127.0.0.1:7489", admin).replace("127.0.0.1:7480", reverse), folder, CLIENT_SECRET=SECRET,
        ICLIENT_PROXY_CONFIG=str(stage.folder / "definitions.yaml"),
    )  # fmt: skip
