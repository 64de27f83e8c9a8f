"""The flags that commands share, each declared once."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from riskline.catalog import DEFAULT_GUARD

JUDGING = "Judging"
READING = "Reading"
WRITING = "Writing"


class FailOn(enum.StrEnum):
    """The least label that makes the exit code 1."""

    unsafe = "unsafe"
    controversial = "controversial"
    never = "never"


class BareRole(enum.StrEnum):
    """What a bare text is."""

    prompt = "prompt"
    response = "response"


class Trajectories(enum.StrEnum):
    """What is written of a trajectory."""

    none = "none"
    tokens = "tokens"
    segments = "segments"


class ColorWhen(enum.StrEnum):
    """When output is coloured."""

    auto = "auto"
    always = "always"
    never = "never"


Guard = Annotated[
    str,
    typer.Option(
        "--guard", "-g", metavar="NAME[:PRECISION]|FOLDER", help="The guard that judges.", rich_help_panel=JUDGING
    ),
]
Policy = Annotated[
    str,
    typer.Option(metavar="NAME|FILE", help="default, strict, loose, or a TOML file.", rich_help_panel=JUDGING),
]
UnsafeThreshold = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="P(unsafe) from which a text is unsafe. Default: the policy's.", rich_help_panel=JUDGING
    ),
]
ControversialThreshold = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Risk from which a text is controversial. Default: the policy's.", rich_help_panel=JUDGING
    ),
]
Taxonomy = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Name categories as another taxonomy does; or, from a TOML file, judge by these.",
        rich_help_panel=JUDGING,
    ),
]
Guideline = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT|@FILE",
        help="What the guard is to judge by, where it takes that; a TOML file has it as `text`.",
        rich_help_panel=JUDGING,
    ),
]
Provider = Annotated[
    str,
    typer.Option(metavar="NAME", help="auto, cpu, cuda, tensorrt, coreml, dml or openvino.", rich_help_panel=JUDGING),
]
InputFormat = Annotated[
    str,
    typer.Option(
        metavar="FORMAT",
        help="auto, text, markdown, lines, jsonl, json, yaml, csv, tsv or parquet.",
        rich_help_panel=READING,
    ),
]
Role = Annotated[BareRole, typer.Option(help="What a bare text is.", rich_help_panel=READING)]
PromptField = Annotated[
    str | None, typer.Option(metavar="PATH", help="Dotted path of the prompt in a record.", rich_help_panel=READING)
]
ResponseField = Annotated[
    str | None, typer.Option(metavar="PATH", help="Dotted path of the response in a record.", rich_help_panel=READING)
]
TextField = Annotated[
    str | None, typer.Option(metavar="PATH", help="Dotted path of a bare text in a record.", rich_help_panel=READING)
]
MessagesField = Annotated[
    str | None, typer.Option(metavar="PATH", help="Dotted path of the messages in a record.", rich_help_panel=READING)
]
AllTurns = Annotated[
    bool, typer.Option("--all-turns", help="Judge every turn, not only the last.", rich_help_panel=READING)
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB", help="Also take files like this in folder walks. May repeat.", rich_help_panel=READING
    ),
]
MaxRecordBytes = Annotated[int, typer.Option(min=1, help="A larger record is a failure.", rich_help_panel=READING)]
StrictInput = Annotated[
    bool, typer.Option("--strict-input", help="Stop at the first record that cannot be read.", rich_help_panel=READING)
]
AllowIncomplete = Annotated[
    bool,
    typer.Option(
        "--allow-incomplete", help="Exit 0, not 3, if some records could not be judged.", rich_help_panel=JUDGING
    ),
]
RunInfo = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Write versions, provider, guard and policy hashes here.", rich_help_panel=WRITING
    ),
]
Outputs = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="[FORMAT:]FILE",
        help="Write here, not to stdout. May repeat.",
        rich_help_panel=WRITING,
    ),
]
Redact = Annotated[bool, typer.Option("--redact", help="Offsets and keyed hashes, no text.", rich_help_panel=WRITING)]
RedactKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY", help="The key of those hashes. Default: a fresh one every run.", rich_help_panel=WRITING
    ),
]
Color = Annotated[ColorWhen, typer.Option(help="When to colour.", rich_help_panel=WRITING)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.", rich_help_panel=WRITING)]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Say more on stderr: nodes per provider, skips.", rich_help_panel=WRITING),
]

GUARD_DEFAULT = DEFAULT_GUARD
MAX_RECORD_BYTES = 16 << 20
