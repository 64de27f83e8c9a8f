"""`riskline score`: data in, data out. Each record comes back with its verdict."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Annotated

import typer

from riskline.commands import Ending, options
from riskline.commands.options import FailOn
from riskline.commands.reading import Reading
from riskline.commands.run import Judging, Run, Telling, ending, redaction, write_run_info
from riskline.commands.writing import Keyed, Writing
from riskline.errors import UsageError


def score(
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="[INPUT…]", help="Files and folders; - or nothing is stdin.")
    ] = None,
    trajectory: Annotated[
        options.Trajectories, typer.Option(help="What is written of a trajectory.", rich_help_panel=options.WRITING)
    ] = options.Trajectories.none,
    guard: options.Guard = options.GUARD_DEFAULT,
    policy: options.Policy = "default",
    unsafe_threshold: options.UnsafeThreshold = None,
    controversial_threshold: options.ControversialThreshold = None,
    taxonomy: options.Taxonomy = None,
    guideline: options.Guideline = None,
    provider: options.Provider = "auto",
    fail_on: Annotated[
        FailOn, typer.Option(help="The least label that makes the exit code 1.", rich_help_panel=options.JUDGING)
    ] = FailOn.never,
    allow_incomplete: options.AllowIncomplete = False,
    input_format: options.InputFormat = "auto",
    role: options.Role = options.BareRole.prompt,
    prompt_field: options.PromptField = None,
    response_field: options.ResponseField = None,
    text_field: options.TextField = None,
    messages_field: options.MessagesField = None,
    all_turns: options.AllTurns = False,
    include: options.Include = None,
    max_record_bytes: options.MaxRecordBytes = options.MAX_RECORD_BYTES,
    strict_input: options.StrictInput = False,
    format: Annotated[
        str, typer.Option(metavar="FORMAT", help="On stdout: jsonl.", rich_help_panel=options.WRITING)
    ] = "jsonl",
    output: options.Outputs = None,
    only_verdict: Annotated[
        bool,
        typer.Option("--only-verdict", help="Write verdicts without the records.", rich_help_panel=options.WRITING),
    ] = False,
    key: Annotated[
        str, typer.Option(metavar="NAME", help="The key that the verdict gets.", rich_help_panel=options.WRITING)
    ] = "verdict",
    overwrite_key: Annotated[
        bool,
        typer.Option("--overwrite-key", help="Replace the key where a record has it.", rich_help_panel=options.WRITING),
    ] = False,
    redact: options.Redact = False,
    redact_key: options.RedactKey = None,
    run_info: options.RunInfo = None,
    color: options.Color = options.ColorWhen.auto,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> Ending:
    """Judge every record and write it back with its verdict, in order.

    Exit code 0: all judged. 1: a label at --fail-on. 2: the job could not be done. 3: some records could not be judged.
    """
    if redact and not only_verdict:
        raise UsageError("--redact would leave the records' own text in the output", hint="add --only-verdict")
    if key in ("failure", "line", "text", "path", "id"):
        raise UsageError(f"--key {key} is a key that score itself writes", hint="--key verdict")
    if not inputs and sys.stdin.isatty():
        raise UsageError("nothing to score: no INPUT, and stdin is a terminal", hint="riskline score data.jsonl")
    reading = Reading(
        "score", inputs or ["-"], input_format, role, prompt_field, response_field, text_field, messages_field,
        all_turns, include, max_record_bytes, strict_input,
    )  # fmt: skip
    telling = Telling(quiet, verbose, color)
    judging = Judging(
        guard, policy, unsafe_threshold, controversial_threshold, provider, trajectory.value, taxonomy, guideline
    )
    keyed = Keyed(key, overwrite_key, only_verdict)
    writing = Writing("score", format, output or [], redaction(redact, redact_key), keyed, run_info)
    items = reading.open()
    loaded, judge = judging.load()
    with ExitStack() as stack:
        sinks = writing.open(stack, telling, judge)
        progress = telling.on_terminal and not (sys.stdout.isatty() and not output)
        run = Run(loaded, judge, telling, sinks, progress=progress, total=reading.lines() if progress else None)
        summary = run.over(items)
    if run_info:
        write_run_info(run_info, loaded, judge, summary)
    return ending(summary, fail_on, allow_incomplete=allow_incomplete)
