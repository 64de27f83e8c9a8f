"""`riskline trace`: one text's trajectory, on the terminal, as JSON or as a page."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from riskline.commands import Ending, options
from riskline.commands.reading import Reading
from riskline.commands.run import Judging, Telling, told
from riskline.errors import InputError, OutputError, UsageError
from riskline.escape import visible
from riskline.records import Failure, Record

if TYPE_CHECKING:
    from riskline.show.traced import Traced

_LONGEST_NAME = 4096


def trace(
    text: Annotated[
        str | None,
        typer.Argument(metavar="[TEXT]", help="A text, or the address of a record: FILE:LINE or FILE#ID. - is stdin."),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE[:LINE]", help="Trace this file, or its record at LINE.", rich_help_panel=options.READING
        ),
    ] = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="Write the verdict record with its trajectory.", rich_help_panel=options.WRITING),
    ] = False,
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write a self-contained page.", rich_help_panel=options.WRITING)
    ] = None,
    guard: options.Guard = options.GUARD_DEFAULT,
    policy: options.Policy = "default",
    unsafe_threshold: options.UnsafeThreshold = None,
    controversial_threshold: options.ControversialThreshold = None,
    taxonomy: options.Taxonomy = None,
    guideline: options.Guideline = None,
    provider: options.Provider = "auto",
    input_format: options.InputFormat = "auto",
    role: options.Role = options.BareRole.prompt,
    prompt_field: options.PromptField = None,
    response_field: options.ResponseField = None,
    text_field: options.TextField = None,
    messages_field: options.MessagesField = None,
    color: options.Color = options.ColorWhen.auto,
    quiet: options.Quiet = False,
) -> Ending:
    """Show how risk runs along one text: coloured tokens, a risk line with threshold, onset and peak, categories.

    What no text guard sees, an image say, is told, and the exit code is 3.
    """
    if html == "-":
        raise UsageError("--html takes a file", hint="--html trace.html")
    telling = Telling(quiet, verbose=False, color=color)
    reading = Reading("check", [], input_format, role, prompt_field, response_field, text_field, messages_field)
    record, address = _record(text, file, reading, telling)
    judging = Judging(guard, policy, unsafe_threshold, controversial_threshold, provider, "tokens", taxonomy, guideline)
    traced = _traced(record, judging, address, telling)
    if traced.unseen and (html or json):
        telling.note(traced.unseen)
    if html:
        _write_page(traced, html, telling)
    if json:
        _write_json(traced)
    elif not html:
        _print(traced, telling)
    return Ending(incomplete=bool(traced.unseen))


def _record(text: str | None, file: str | None, reading: Reading, telling: Telling) -> tuple[Record, str | None]:
    from riskline.sources import find_record

    if text is not None and file is not None:
        raise UsageError("both TEXT and --file are given; use just one of them")
    if file is None and text is not None and _is_address(text):
        telling.note(f"tracing the record at {text}; a text that looks like an address goes in by stdin")
        file = text
    elif text is not None and text != "-":
        _require_words(text)
    if file is not None:
        record = find_record(file, reading.options())
        return record, record.origin.address
    if text is None or text == "-":
        if text is None and sys.stdin.isatty():
            raise UsageError("nothing to trace: no TEXT, and stdin is a terminal", hint='riskline trace "some text"')
        text = _stdin_text()
    return Record.of(text, role="response" if reading.role is options.BareRole.response else "prompt"), None


def _require_words(text: str) -> None:
    """Refuse a TEXT that reads as a file or an address: its verdict would pass for that of what is in the file.

    Raises:
        UsageError: it names a file or a folder that is here, or is the address of a file that is not.
    """
    named = text if len(text) < _LONGEST_NAME and "\0" not in text else ""
    if os.path.isfile(named):
        raise UsageError(
            f"{visible(text)} is a file, and TEXT is traced as it stands",
            hint=f"--file {shlex.quote(visible(text))}; those very words go in by stdin",
        )
    if os.sep in named and os.path.isdir(named):  # noqa: PTH112 - pathlib raises where a name is too long
        raise UsageError(f"{visible(text)} is a folder; expected a text", hint="riskline check FOLDER")
    if re.fullmatch(r"\S+\.\w+:\d+", text):
        raise UsageError(
            f"{visible(text)} is the address of a record, but no such file is here",
            hint="the path from this folder; a text that looks like an address goes in by stdin",
        )


def _is_address(text: str) -> bool:
    """Whether `text` is FILE:LINE or FILE#ID of a file that exists."""
    if len(text) > _LONGEST_NAME or "\n" in text or "\0" in text:
        return False
    name, colon, line = text.rpartition(":")
    if colon and line.isdigit() and os.path.isfile(name):
        return True
    name, hash_sign, _ = text.rpartition("#")
    return bool(hash_sign) and os.path.isfile(name)


def _stdin_text() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"stdin is not UTF-8: byte {error.start} is no part of a character") from error


def _traced(record: Record, judging: Judging, address: str | None, telling: Telling) -> Traced:
    from riskline.show.traced import Traced
    from riskline.sinks.plain import unseen_parts

    guard, judge = judging.load()
    telling.note(told(guard, judge))
    outcome = guard.decide([record], judge)[0]
    if isinstance(outcome, Failure):
        raise InputError(f"the text could not be judged: {outcome.message} ({outcome.code})")
    verdict = outcome.verdict
    limits = judge.policy.limits(guard.manifest, verdict.role)
    along, unseen = verdict.trajectory, unseen_parts(verdict.unseen, None)
    risk, unsafe = (along.risk, along.unsafe) if along else ((), ())
    return Traced(
        text=outcome.turn.text,
        verdict=verdict,
        safe=tuple(round(1 - value, 4) for value in risk),
        controversial=tuple(round(max(0.0, value - worst), 4) for value, worst in zip(risk, unsafe, strict=True)),
        unsafe=unsafe,
        thresholds=(limits.unsafe, limits.controversial),
        rule=str(judge.rule_of(verdict.role)),
        context=record.turns[: verdict.turn % len(record.turns)],
        address=address,
        unseen=f"not judged: parts that no text guard sees: {', '.join(unseen)}" if unseen else "",
    )


def _write_page(traced: Traced, path: str, telling: Telling) -> None:
    from riskline.show.page import page

    try:
        Path(path).write_text(page(traced), encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"cannot write `{path}`: {error.strerror}", hint="--html FILE in a folder that exists"
        ) from error
    telling.note(f"wrote {path}")


def _write_json(traced: Traced) -> None:
    import orjson

    sys.stdout.flush()
    sys.stdout.buffer.write(orjson.dumps({"text": traced.text, "verdict": traced.verdict.to_json()}) + b"\n")


def _print(traced: Traced, telling: Telling) -> None:
    from rich.console import Console

    from riskline.show.trace import print_trace

    colored = telling.colored(sys.stdout)
    print_trace(traced, Console(force_terminal=colored, no_color=not colored, highlight=False, soft_wrap=False))
