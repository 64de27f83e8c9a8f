"""`riskline eval`: measure a guard on labelled data."""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, BinaryIO, cast

import typer

from riskline.commands import Ending, options
from riskline.commands.reading import Reading
from riskline.commands.run import Judging, Run, Telling
from riskline.commands.writing import replaced
from riskline.errors import InputError, UsageError

if TYPE_CHECKING:
    from riskline.evaluation.gold import GoldOptions
    from riskline.evaluation.report import Report
    from riskline.evaluation.rows import Rows

GOLD = "Gold"
MEASURING = "Measuring"
_TOLD = 10


class ReadBy(enum.StrEnum):
    """How scores become verdicts."""

    policy = "policy"
    qwen3guard = "qwen3guard"


def evaluate(
    data: Annotated[list[str], typer.Argument(metavar="DATA…", help="Labelled files and folders; - is stdin.")],
    label_field: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Dotted path of the gold label. Default: label, or the majority of --raters-field.",
            rich_help_panel=GOLD,
        ),
    ] = None,
    label_map: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VALUE=LABEL",
            help="What a value means: safe, controversial or unsafe. May repeat; then every other value needs one.",
            rich_help_panel=GOLD,
        ),
    ] = None,
    raters_field: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="A list of the raters' labels, or their share for unsafe from 0 to 1.",
            rich_help_panel=GOLD,
        ),
    ] = None,
    categories_field: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="The gold categories: names, or an object of names and flags.", rich_help_panel=GOLD
        ),
    ] = None,
    category_map: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VALUE=CATEGORY", help="The guard's name of a gold category. May repeat.", rich_help_panel=GOLD
        ),
    ] = None,
    spans_field: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Unsafe stretches as [[start, end], …] in code points; [] is none, null is not annotated.",
            rich_help_panel=GOLD,
        ),
    ] = None,
    onset_field: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Where the unsafe starts, as a code-point offset.", rich_help_panel=GOLD),
    ] = None,
    lang_field: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="The language: figures for each.", rich_help_panel=GOLD),
    ] = None,
    source_field: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="The source: figures for each.", rich_help_panel=GOLD),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Figures for each value of this field. May repeat.", rich_help_panel=GOLD),
    ] = None,
    reading: Annotated[
        ReadBy,
        typer.Option(
            help="policy: the tool's own verdicts; qwen3guard: as Qwen3Guard's evaluation reads them.",
            rich_help_panel=MEASURING,
        ),
    ] = ReadBy.policy,
    bootstrap: Annotated[
        int,
        typer.Option(
            min=0, max=100_000, help="Resamples for the 95 % intervals; 0 for none.", rich_help_panel=MEASURING
        ),
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the resamples.", rich_help_panel=MEASURING)] = 0,
    guard: options.Guard = options.GUARD_DEFAULT,
    policy: options.Policy = "default",
    unsafe_threshold: options.UnsafeThreshold = None,
    controversial_threshold: options.ControversialThreshold = None,
    taxonomy: options.Taxonomy = None,
    guideline: options.Guideline = None,
    provider: options.Provider = "auto",
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
    json: Annotated[
        bool, typer.Option("--json", help="Write the whole report to stdout.", rich_help_panel=options.WRITING)
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the whole report here.", rich_help_panel=options.WRITING
        ),
    ] = None,
    html: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write a self-contained page with plots.", rich_help_panel=options.WRITING),
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write each record's gold, label and scores here, as JSONL.",
            rich_help_panel=options.WRITING,
        ),
    ] = None,
    color: options.Color = options.ColorWhen.auto,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> Ending:
    """Measure a guard on labelled data: strict and loose figures with intervals, slices, calibration, timing.

    Exit code 0: all measured. 2: the job could not be done. 3: some records could not be measured.
    """
    gold = _gold_options(
        label_field, label_map, raters_field, categories_field, category_map, spans_field, onset_field,
        lang_field, source_field, by,
    )  # fmt: skip
    if all_turns and (spans_field or onset_field):
        flag = "--spans-field" if spans_field else "--onset-field"
        raise UsageError(f"{flag} is about the last turn, but --all-turns judges each; use just one of them")
    read = Reading(
        "score", data, input_format, role, prompt_field, response_field, text_field, messages_field,
        all_turns, include, max_record_bytes, strict_input,
    )  # fmt: skip
    judging = Judging(guard, policy, unsafe_threshold, controversial_threshold, provider, "none", taxonomy, guideline)
    telling = Telling(quiet, verbose, color)
    outputs = Outputs(json, output, html, scores)
    measuring = Measuring(gold, reading, bootstrap, seed, judging, read, telling)
    with ExitStack() as stack:
        streams = outputs.open(stack)
        report = measuring.run(streams.get("scores"))
        outputs.write(report, streams, telling)
    for path in outputs.files.values():
        telling.note(f"wrote {path}")
    return Ending(incomplete=report["data"]["not_measured"] > 0 and not allow_incomplete)


def _gold_options(
    label_field: str | None, label_map: list[str] | None, raters_field: str | None, categories_field: str | None,
    category_map: list[str] | None, spans_field: str | None, onset_field: str | None, lang_field: str | None,
    source_field: str | None, by: list[str] | None,
) -> GoldOptions:  # fmt: skip
    from riskline.evaluation.gold import GoldOptions, read_category_map, read_label_map

    named = [("lang", lang_field), ("source", source_field), *((path, path) for path in by or ())]
    slices = tuple((name, path) for name, path in named if path)
    names = ["role", *(name for name, _ in slices)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two slices are called `{twice}`; expected each field once, and role is always there")
    if category_map and not categories_field:
        raise UsageError("--category-map renames categories, but --categories-field is not given")
    return GoldOptions(
        label_field=label_field,
        label_map=read_label_map(label_map or ()),
        raters_field=raters_field,
        categories_field=categories_field,
        category_map=read_category_map(category_map or ()),
        spans_field=spans_field,
        onset_field=onset_field,
        slices=slices,
    )


@dataclass(frozen=True, slots=True)
class Measuring:
    """The flags that say what is held against what, and how figures are made of it."""

    gold: GoldOptions
    reading: ReadBy
    replicates: int
    seed: int
    judging: Judging
    read: Reading
    telling: Telling

    def run(self, scores: BinaryIO | None) -> Report:
        """Judge every record that has its gold and return the report.

        Raises:
            InputError: there was no record to measure.
        """
        from importlib.metadata import version

        from riskline.evaluation.bootstrap import Bootstrap
        from riskline.evaluation.gold import labelled
        from riskline.evaluation.metrics import require
        from riskline.evaluation.observed import Observer
        from riskline.evaluation.report import Setting, report_of
        from riskline.evaluation.rows import Rows

        require()
        items = labelled(self.read.open(), self.gold, strict=self.read.strict_input)
        guard, judge = self.judging.load()
        # Strict and loose are both reported, so the policy's own choice between them is not made here.
        three = replace(judge.policy, reading="three")
        along = bool(self.gold.spans_field or self.gold.onset_field)
        observer = Observer(judge.manifest, three, "none", judge.names, reading=self.reading.value, along=along)
        rows = Rows(scores)
        progress = self.telling.on_terminal
        total = self.read.lines() if progress else None
        Run(guard, observer, self.telling, [rows], progress=progress, total=total).over(items)
        self._tell(rows)
        judged_by = {
            "riskline": version("riskline"),
            "guard": judge.manifest.id,
            "precision": guard.bundle.precision,
            "provider": guard.session.provider,
            "policy": judge.policy.id,
        }
        boot = Bootstrap(self.replicates, self.seed)
        return report_of(rows, Setting(self.read.paths, self.gold, observer, boot, judged_by))

    def _tell(self, rows: Rows) -> None:
        """Name what could not be measured; refuse to report on nothing."""
        from riskline.evaluation.report import overlooked_note

        if not rows.gold:
            first = f"; the first: {_named(rows.failed[0])}" if rows.failed else ""
            n = rows.failures.total()
            raise InputError(
                f"nothing to measure: {n} records, none with a verdict and a gold label{first}",
                hint="--label-field PATH names the gold label, --text-field PATH and others the text",
            )
        if rows.overlooked:
            self.telling.note(overlooked_note(rows.overlooked))
        for failure in rows.failed[:_TOLD]:
            self.telling.note(f"not measured: {_named(failure)}")
        if (more := rows.failures.total() - _TOLD) > 0:
            self.telling.note(f"not measured: {more} more, in data.failed of --json")


def _named(failure: dict[str, str]) -> str:
    return f"{failure['address']}: {failure['message']} ({failure['code']})"


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the report goes; tables on stdout where nothing else is asked for."""

    json: bool
    file: str | None
    html: str | None
    scores: str | None

    @property
    def files(self) -> dict[str, str]:
        """The files to write, by what goes there."""
        named = {"report": self.file, "page": self.html, "scores": self.scores}
        return {what: path for what, path in named.items() if path}

    def open(self, stack: ExitStack) -> dict[str, BinaryIO]:
        """Open every file before the first record is judged.

        Raises:
            UsageError: two are one file.
            OutputError: one cannot be written.
        """
        paths = [os.path.realpath(path) for path in self.files.values()]
        if twice := next((path for path in paths if paths.count(path) > 1), None):
            raise UsageError(f"two outputs are the same file, `{twice}`")
        if "-" in self.files.values():
            raise UsageError("-o, --html and --scores take a file; --json writes the report to stdout")
        return {what: stack.enter_context(replaced(path)) for what, path in self.files.items()}

    def write(self, report: Report, streams: Mapping[str, BinaryIO], telling: Telling) -> None:
        """Write the report in every form asked for."""
        import orjson

        whole = orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n"
        if "report" in streams:
            streams["report"].write(whole)
        if "page" in streams:
            from riskline.show.evaluated import page

            streams["page"].write(page(report).encode())
        if self.json:
            sys.stdout.flush()
            cast("BinaryIO", sys.stdout.buffer).write(whole)
        elif not (self.file or self.html):
            from riskline.show.measured import print_report

            print_report(report, colored=telling.colored(sys.stdout))
