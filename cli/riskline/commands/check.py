"""`riskline check`: the gate. Judge files and folders, list findings, fail at a label."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Annotated

import typer

from riskline.commands import Ending, options
from riskline.commands.options import FailOn
from riskline.commands.reading import Reading
from riskline.commands.run import Judging, Run, Telling, ending, redaction, write_run_info
from riskline.commands.writing import Writing
from riskline.errors import InputError


def check(
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Files and folders; - is stdin.")],
    fail_on: Annotated[
        FailOn, typer.Option(help="The least label that makes the exit code 1.", rich_help_panel=options.JUDGING)
    ] = FailOn.unsafe,
    guard: options.Guard = options.GUARD_DEFAULT,
    policy: options.Policy = "default",
    unsafe_threshold: options.UnsafeThreshold = None,
    controversial_threshold: options.ControversialThreshold = None,
    taxonomy: options.Taxonomy = None,
    guideline: options.Guideline = None,
    provider: options.Provider = "auto",
    allow_incomplete: options.AllowIncomplete = False,
    allow_empty: Annotated[
        bool,
        typer.Option(
            "--allow-empty", help="Exit 0, not 2, if there is nothing to judge.", rich_help_panel=options.JUDGING
        ),
    ] = False,
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
        str,
        typer.Option(
            metavar="FORMAT",
            help="On stdout: text, json, jsonl, sarif, github or junit.",
            rich_help_panel=options.WRITING,
        ),
    ] = "text",
    output: options.Outputs = None,
    redact: options.Redact = False,
    redact_key: options.RedactKey = None,
    run_info: options.RunInfo = None,
    color: options.Color = options.ColorWhen.auto,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> Ending:
    """Judge files and folders and list findings with file, line and column.

    Exit code 0: all judged, nothing at --fail-on. 1: a finding at --fail-on. 2: the job could not be done.
    3: no finding, but some records could not be judged.
    """
    reading = Reading(
        "check", paths, input_format, role, prompt_field, response_field, text_field, messages_field,
        all_turns, include, max_record_bytes, strict_input,
    )  # fmt: skip
    telling = Telling(quiet, verbose, color)
    judging = Judging(
        guard,
        policy,
        unsafe_threshold,
        controversial_threshold,
        provider,
        "segments",
        taxonomy,
        guideline,
        sparing=True,
    )
    writing = Writing("check", format, output or [], redaction(redact, redact_key), run_info=run_info)
    items = reading.open()
    loaded, judge = judging.load()
    with ExitStack() as stack:
        sinks = writing.open(stack, telling, judge)
        run = Run(
            loaded, judge, telling, sinks, progress=telling.on_terminal and not (sys.stdout.isatty() and not output)
        )
        summary = run.over(items)
    if run_info:
        write_run_info(run_info, loaded, judge, summary)
    if not allow_empty and summary.judged + summary.not_judged == 0:
        raise InputError(
            "there is nothing to judge in what was named",
            hint="--include GLOB takes other files, --allow-empty accepts this",
        )
    return ending(summary, fail_on, allow_incomplete=allow_incomplete)
