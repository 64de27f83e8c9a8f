"""An evaluation's report as tables on a terminal: what it is over, then the figures, each with its interval and n."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table

from riskline.escape import inert, visible

Report: TypeAlias = Mapping[str, Any]

_NAMES = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "false_positive_rate": "false-positive rate",
    "best_f1": "best F1, any threshold",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "f1_with_spans": "F1, texts with spans",
    "f1_without_spans": "F1, texts without",
    "stop_rate": "stop rate on safe texts",
    "flicker_mean": "label changes after the flag, mean",
    "flicker_any": "flagged texts that flicker",
    "early_alarm_rate": "early alarm",
    "hit_rate": "hit",
    "miss_rate": "miss",
    "error_tokens_mean": "signed error, tokens, mean",
    "error_tokens_median": "signed error, tokens, median",
    "error_characters_mean": "signed error, characters, mean",
    "error_characters_median": "signed error, characters, median",
    "not_early_of_detections": "of detections: not early",
    "in_place_of_detections": "of detections: inside or within 10 tokens",
} | {f"recall_at_fpr_{rate}": f"recall at {rate} % false positives" for rate in (1, 3, 5, 10)}
_SHORT = ("f1", "precision", "recall", "false_positive_rate", "auroc")
_SHOWN = 40
_WIDTH = 120
"""Of a report that goes to a file or a pipe."""


def print_report(report: Report, *, colored: bool) -> None:
    """Print the report."""
    width = None if sys.stdout.isatty() else _WIDTH
    console = Console(
        file=sys.stdout, width=width, force_terminal=colored, no_color=not colored, highlight=False, markup=False,
        emoji=False,
    )  # fmt: skip
    for line in _opening(report):
        console.print(line, soft_wrap=True)
    _both(console, "strict and loose", report["binary"])
    _confusion(console, report["confusion"])
    for sliced in report["slices"]:
        _slice(console, sliced)
    if report["categories"]:
        _categories(console, report["categories"])
    if report["spans"]:
        _both(console, f"span F1, {report['spans']['n']:,} texts", report["spans"])
    if report["timing"]:
        _timing(console, report["timing"])
    console.print()
    for note in report["notes"]:
        console.print(_plain(f"note: {note}"), soft_wrap=True)


def _plain(text: str) -> str:
    return inert(visible(text))


def _opening(report: Report) -> Iterable[str]:
    data, judged, reading, boot = (report[key] for key in ("data", "judged_by", "reading", "bootstrap"))
    labels = ", ".join(f"{n:,} {label}" for label, n in data["labels"].items())
    lost = f", {data['not_measured']:,} not measured" if data["not_measured"] else ""
    yield f"measured {data['measured']:,} records ({labels}; {data['gold']} gold){lost}"
    yield _plain(f"guard {judged['guard']} ({judged['precision']}) on {judged['provider']}, policy {judged['policy']}")
    yield f"reading {reading['name']}: " + "; ".join(_rule(reading, role) for role in reading["rule"])
    yield f"strict: {reading['strict']}; loose: {reading['loose']}"
    if boot["replicates"]:
        level, times, seed = f"{100 * boot['level']:g} %", f"{boot['replicates']:,}", boot["seed"]
        yield f"in brackets: {level} intervals, {boot['method']}, {times} times, seed {seed}"


def _rule(reading: Report, role: str) -> str:
    text = f"{role}s by {reading['rule'][role]}"
    if reading["thresholds"]:
        limits = reading["thresholds"][role]
        text += f", unsafe from {limits['unsafe']:g}, controversial from {limits['controversial']:g}"
    return text


def _table(console: Console, title: str, headings: Sequence[str]) -> Table:
    console.print()
    console.print(title, style="bold", soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index == 0 else "right", overflow="fold")
    return table


def _figure(figure: Report) -> str:
    if figure["value"] is None:
        return "–"
    ends = "" if figure["low"] is None else f" [{_number(figure['low'])},{_number(figure['high'])}]"
    return _number(figure["value"]) + ends


def _counted(figure: Report) -> tuple[str, str]:
    return _figure(figure), f"{figure['n']:,}"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _both(console: Console, title: str, block: Report) -> None:
    """Rows of figures with a column for strict and one for loose; what is missing gets its reason below."""
    table = _table(console, title, ("", "strict", "n", "loose", "n"))
    strict, loose = block["strict"]["figures"], block["loose"]["figures"]
    for name in strict:
        table.add_row(_NAMES.get(name, name.replace("_", " ")), *_counted(strict[name]), *_counted(loose[name]))
    console.print(table)
    _reasons(console, [*strict.items(), *loose.items()])


def _reasons(console: Console, figures: Iterable[tuple[str, Report]]) -> None:
    missing: dict[str, list[str]] = {}
    for name, figure in figures:
        if figure["value"] is None:
            missing.setdefault(figure["reason"], []).append(_NAMES.get(name, name.replace("_", " ")))
    for reason, names in missing.items():
        console.print(_plain(f"–: {reason} ({', '.join(dict.fromkeys(names))})"), soft_wrap=True)


def _confusion(console: Console, confusion: Report) -> None:
    table = _table(console, "confusion: rows are gold, columns are verdicts", ("", *confusion["labels"]))
    for label, counts in zip(confusion["labels"], confusion["counts"], strict=True):
        table.add_row(label, *(f"{count:,}" for count in counts))
    console.print(table)


def _slice(console: Console, sliced: Report) -> None:
    if not sliced["values"] or (sliced["field"] == "role" and len(sliced["values"]) == 1):
        return
    short = ("F1", "precision", "recall", "FPR", "AUROC")
    table = _table(console, f"by {_plain(sliced['field'])}", ("", "n", "", *short))
    for value in sliced["values"][:_SHOWN]:
        for reading in ("strict", "loose"):
            figures = value[reading]["figures"]
            first = (_plain(value["value"]), f"{value['n']:,}") if reading == "strict" else ("", "")
            table.add_row(*first, reading, *(_figure(figures[name]) for name in _SHORT))
    console.print(table)
    if (more := len(sliced["values"]) - _SHOWN + sliced["left_out"]) > 0:
        console.print(f"{more:,} smaller values are left out here", soft_wrap=True)
    if sliced["without"]:
        console.print(f"{sliced['without']:,} records have no value", soft_wrap=True)


def _categories(console: Console, categories: Report) -> None:
    table = _table(
        console,
        f"by category: micro F1 {_figure(categories['figures']['micro_f1'])}, "
        f"macro F1 {_figure(categories['figures']['macro_f1'])}",
        ("", "n", "flagged, strict", "flagged, loose", "F1", "precision", "recall", "AUROC"),
    )
    names = ("flagged_strict", "flagged_loose", "f1", "precision", "recall", "auroc")
    for value in categories["values"][:_SHOWN]:
        cells = (_figure(value["figures"][name]) for name in names)
        table.add_row(_plain(value["category"]), f"{value['n']:,}", *cells)
    console.print(table)
    if unknown := [value["category"] for value in categories["values"] if not value["known"]]:
        shown = ", ".join(unknown[:_SHOWN])
        console.print(_plain(f"–: the guard has no such category ({shown}); --category-map renames"), soft_wrap=True)


def _timing(console: Console, timing: Report) -> None:
    for reading in ("strict", "loose"):
        block = timing[reading]
        title = f"when, {reading}: {timing['n']:,} texts with a known start, {timing['safe']:,} safe ones"
        table = _table(console, title, ("", "by onset", "by fired token", "n"))
        onset, fired = block["onset"]["figures"], block["fired"]["figures"]
        for name in onset:
            table.add_row(_along(name), _figure(onset[name]), *_counted(fired[name]))
        for name, figure in block["figures"].items():
            table.add_row(_NAMES[name], "", *_counted(figure))
        console.print(table)
        _reasons(console, [*onset.items(), *block["figures"].items()])


def _along(name: str) -> str:
    return _NAMES.get(name) or f"hit within {name.removeprefix('within_')} tokens"
