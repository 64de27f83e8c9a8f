"""`riskline schema`: the JSON Schemas of what is written and read."""

from __future__ import annotations

import enum
import sys
from importlib.resources import files
from typing import Annotated

import typer

from riskline.commands import Ending


class Schema(enum.StrEnum):
    """What there is a schema of."""

    verdict = "verdict"
    policy = "policy"
    manifest = "manifest"
    eval = "eval"


def schema(name: Annotated[Schema, typer.Argument(help="What to describe.")] = Schema.verdict) -> Ending:
    """Write the JSON Schema (2020-12) of the verdict record, a policy file, a guard's manifest or eval's report."""
    sys.stdout.write((files("riskline") / "schemas" / f"{name.value}.json").read_text(encoding="utf-8"))
    return Ending()
