"""Verdicts to bytes: one file a format, chosen by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import PurePath
from typing import BinaryIO, Protocol, TypeAlias

from riskline.errors import UsageError
from riskline.finding import Redaction
from riskline.records import Outcome, Summary


class Sink(Protocol):
    """Takes every outcome as it comes, then the summary once; keeps none of them."""

    def write(self, outcome: Outcome) -> None: ...

    def close(self, summary: Summary) -> None: ...


@dataclass(frozen=True, slots=True)
class SinkOptions:
    """How outcomes are written; `facts` names what judged them (`guard`, `policy`, `version`)."""

    redaction: Redaction | None = None
    key: str = "verdict"
    overwrite_key: bool = False
    only_verdict: bool = False
    color: bool = False
    width: int = 100
    facts: Mapping[str, str] = field(default_factory=dict)


Opener: TypeAlias = Callable[[BinaryIO, SinkOptions], Sink]

# Each module has a class `Sink`; a format's module is imported when the format is asked for.
_MODULES = {
    "check": {
        "text": "riskline.sinks.text",
        "json": "riskline.sinks.json",
        "jsonl": "riskline.sinks.jsonl",
        "sarif": "riskline.sinks.sarif",
        "github": "riskline.sinks.github",
        "junit": "riskline.sinks.junit",
    },
    "score": {"jsonl": "riskline.sinks.scored"},
}
_EXTENSIONS = {
    ".txt": "text",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".sarif": "sarif",
    ".xml": "junit",
}


def formats(command: str) -> tuple[str, ...]:
    """Return the formats that a command writes."""
    return tuple(_MODULES[command])


def opener(command: str, name: str) -> Opener:
    """Return what opens a sink of a format.

    Raises:
        UsageError: the command has no such format.
    """
    if name not in _MODULES[command]:
        raise UsageError(f"`{name}` is no format of {command}; expected {' or '.join(formats(command))}")
    sink: Opener = import_module(_MODULES[command][name]).Sink
    return sink


def parse_output(command: str, spec: str) -> tuple[str, str]:
    """Return (format, path) of `[FORMAT:]FILE`: a prefix counts only if it is a format, else the extension decides.

    Raises:
        UsageError: neither says which format.
    """
    prefix, colon, rest = spec.partition(":")
    if colon and rest and prefix in formats(command):
        return prefix, rest
    by_extension = _EXTENSIONS.get(PurePath(spec).suffix.lower())
    if by_extension in formats(command) and by_extension is not None:
        return by_extension, spec
    choices = ", ".join(f"{name}:{spec}" for name in formats(command))
    raise UsageError(f"--output {spec}: the extension names no format of {command}", hint=f"one of {choices}")
