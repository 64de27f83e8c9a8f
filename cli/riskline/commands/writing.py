"""The flags that say what is written, as open sinks."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from riskline.commands.run import Telling
from riskline.finding import Redaction

if TYPE_CHECKING:
    from riskline.policy import Judge
    from riskline.sinks import Sink


@dataclass(frozen=True, slots=True)
class Keyed:
    """How `score` attaches a verdict to a record."""

    key: str = "verdict"
    overwrite: bool = False
    only_verdict: bool = False


def open_sinks(
    command: Literal["check", "score"],
    format_: str,
    outputs: Sequence[str],
    stack: ExitStack,
    telling: Telling,
    judge: Judge,
    *,
    redaction: Redaction | None,
    keyed: Keyed | None = None,
) -> list[Sink]:
    """Open every output before the first record is judged; with --output nothing goes to stdout."""
    raise NotImplementedError
