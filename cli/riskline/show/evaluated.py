"""The report of an evaluation as a self-contained page: no network, no script, plots drawn as SVG.

Covers: markup and control characters in names that come from data; both colour schemes; print.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any, Final

from riskline.escape import visible

Report = dict[str, Any]
Figure = dict[str, Any]

_SIZE, _EDGE = 340, 46
_SERIES: Final = ("strict", "loose")
_NAMES: Final = {
    "f1": "F1", "precision": "precision", "recall": "recall", "false_positive_rate": "false-positive rate",
    "best_f1": "best F1, any threshold", "auroc": "AUROC", "auprc": "AUPRC",
    "recall_at_fpr_1": "recall at 1 % false positives", "recall_at_fpr_3": "recall at 3 % false positives",
    "recall_at_fpr_5": "recall at 5 % false positives", "recall_at_fpr_10": "recall at 10 % false positives",
    "ece": "calibration error (ECE)", "brier": "Brier score",
}  # fmt: skip


def page(report: Report) -> str:
    """Return the page of a report as schemas/eval.json has it."""
    judged, data = report["judged_by"], report["data"]
    head = (
        f"<h1>{data['measured']:,} records measured</h1>"
        f"<p>{_text(', '.join(data['paths']))}</p>"
        f"<p>guard {_text(judged['guard'])} ({_text(judged['precision'])}) on {_text(judged['provider'])}, "
        f"policy {_text(judged['policy'])}</p><p>{_text(_reading(report))}</p><p>{_text(_left_out(data))}</p>"
    )
    parts = [
        _section("Figures", _figures(report)),
        _section("Curves", _plots(report)),
        _section("Confusion", _confusion(report["confusion"])),
        *(_section(f"By {part['field']}", _slice(part)) for part in report["slices"]),
    ]
    if report["categories"]:
        parts.append(_section("Categories", _categories(report["categories"])))
    if report["spans"]:
        parts.append(_section("Spans", _keyed(report["spans"])))
    if report["timing"]:
        parts.append(_section("Onset", _timing(report["timing"])))
    parts.append(_section("Notes", "".join(f"<p>{_text(note)}</p>" for note in report["notes"])))
    title = _text(f"riskline eval: {judged['guard']}")
    style = (files("riskline.show") / "evaluated.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n{head}\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _text(text: object) -> str:
    return html.escape(visible(str(text)), quote=True)


def _section(title: str, body: str) -> str:
    return f"<section><h2>{_text(title)}</h2>\n{body}</section>"


def _reading(report: Report) -> str:
    reading = report["reading"]
    rules = "; ".join(
        f"{role}s by {rule}, "
        + ", ".join(f"{label} from {limit}" for label, limit in (reading["thresholds"] or {}).get(role, {}).items())
        for role, rule in reading["rule"].items()
    )
    return f"reading {reading['name']}: {rules}. strict: {reading['strict']}; loose: {reading['loose']}"


def _left_out(data: Report) -> str:
    labels = ", ".join(f"{count:,} {label}" for label, count in data["labels"].items())
    skipped = sum(data["skipped"].values())
    return f"{data['gold']} gold: {labels}. {data['not_measured']:,} not measured, {skipped:,} skipped"


def _shown(figure: Figure | None) -> str:
    if figure is None or figure["value"] is None:
        reason = figure["reason"] if figure else "not measured"
        return f'<td title="{_text(reason)}">–</td>'
    between = "" if figure["low"] is None else f" <small>[{figure['low']:.3f}, {figure['high']:.3f}]</small>"
    return f"<td>{figure['value']:.3f}{between}</td>"


def _table(head: Sequence[str], rows: Iterable[str], name: str = "") -> str:
    cells = "".join(f"<th>{_text(cell)}</th>" for cell in head)
    return f'<table class="{name}"><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _row(name: object, cells: Iterable[str]) -> str:
    return f"<tr><th>{_text(name)}</th>{''.join(cells)}</tr>"


def _count(value: float) -> str:
    return f"<td>{value:,}</td>"


def _figures(report: Report) -> str:
    binary = report["binary"]
    names = list(binary["strict"]["figures"])
    rows = [_row(_NAMES.get(n, n), (_shown(binary[s]["figures"].get(n)) for s in _SERIES)) for n in names]
    note = report["bootstrap"]
    described = f"in brackets: {note['level']:.0%} intervals, {note['method']}, {note['replicates']:,} times"
    return _table(["", *_SERIES], rows) + f"<p>{_text(described)}</p>"


def _plots(report: Report) -> str:
    binary = report["binary"]
    drawn = []
    for key, x, y in (("roc", "false-positive rate", "recall"), ("pr", "recall", "precision")):
        lines = "".join(_line(binary[s]["curves"][key], s) for s in _SERIES if binary[s]["curves"][key])
        drawn.append(
            _plot(
                key.upper(),
                x,
                y,
                ('<path class="diagonal" d="' + _path([(0, 0), (1, 1)]) + '"/>') * (key == "roc") + lines,
            )
        )
    dots = "".join(
        _dot(one, s, binary[s]["n"]) for s in _SERIES for one in binary[s]["reliability"]["bins"] if one["n"]
    )
    diagonal = '<path class="diagonal" d="' + _path([(0, 0), (1, 1)]) + '"/>'
    drawn.append(_plot("Reliability", "score", "share that is unsafe", diagonal + dots))
    return f'<div class="plots">{"".join(drawn)}</div><p>strict: dashed, hollow; loose: solid, filled</p>'


def _dot(one: Report, series: str, total: int) -> str:
    radius = 2 + 6 * (one["n"] / total) ** 0.5
    title = f"{series}: {one['n']:,} records, score {one['score']:.3f}, share {one['share']:.3f}"
    place = f'cx="{_x(one["score"]):.1f}" cy="{_y(one["share"]):.1f}" r="{radius:.1f}"'
    return f'<circle class="{series}" {place}><title>{title}</title></circle>'


def _x(value: float) -> float:
    return _EDGE + value * (_SIZE - _EDGE - 10)


def _y(value: float) -> float:
    return _SIZE - _EDGE - value * (_SIZE - _EDGE - 10)


def _path(points: Iterable[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{_x(x):.1f} {_y(y):.1f}" for x, y in points)


def _line(points: Sequence[Sequence[float]], series: str) -> str:
    return f'<path class="{series}" d="{_path((point[0], point[1]) for point in points)}"/>'


def _plot(title: str, x: str, y: str, body: str) -> str:
    ticks = "".join(
        f'<text x="{_x(at):.1f}" y="{_SIZE - _EDGE + 16}" text-anchor="middle">{at:g}</text>'
        f'<text x="{_EDGE - 6}" y="{_y(at) + 4:.1f}" text-anchor="end">{at:g}</text>'
        for at in (0, 0.25, 0.5, 0.75, 1)
    )
    frame = f'<path class="axis" d="{_path([(0, 1), (0, 0), (1, 0)])}"/>'
    names = (
        f'<text x="{_x(0.5):.0f}" y="{_SIZE - 8}" text-anchor="middle">{_text(x)}</text>'
        f'<text transform="rotate(-90)" x="{-_y(0.5):.0f}" y="12" text-anchor="middle">{_text(y)}</text>'
    )
    svg = f'<svg viewBox="0 0 {_SIZE} {_SIZE}" role="img" aria-label="{_text(title)}">{frame}{ticks}{names}{body}</svg>'
    return f"<figure>{svg}<figcaption>{_text(title)}</figcaption></figure>"


def _confusion(confusion: Report) -> str:
    rows = []
    for label, counts in zip(confusion["labels"], confusion["counts"], strict=True):
        total = sum(counts) or 1
        rows.append(_row(f"gold {label}", (f'<td style="--share:{0.55 * n / total:.3f}">{n:,}</td>' for n in counts)))
    return _table(["", *(f"judged {label}" for label in confusion["labels"])], rows, "confusion")


def _slice(part: Report) -> str:
    names = ("f1", "precision", "recall", "false_positive_rate", "auroc")
    rows = [
        _row(
            f"{value['value']}, {series}",
            [_count(value["n"]), *(_shown(value[series]["figures"].get(n)) for n in names)],
        )
        for value in part["values"]
        for series in _SERIES
    ]
    left = f"<p>{part['left_out']:,} further values are left out</p>" if part["left_out"] else ""
    return _table(["", "n", *(_NAMES[name] for name in names)], rows) + left


def _categories(categories: Report) -> str:
    names = ("f1", "precision", "recall", "auroc")
    rows = [
        _row(value["category"], [_count(value["n"]), *(_shown(value["figures"].get(name)) for name in names)])
        for value in categories["values"]
    ]
    return _table(["", "n", *(_NAMES[name] for name in names)], rows)


def _keyed(part: Report) -> str:
    """Figures of strict and loose side by side, under a definition."""
    names = list(part["strict"]["figures"])
    rows = [_row(name.replace("_", " "), (_shown(part[s]["figures"].get(name)) for s in _SERIES)) for name in names]
    return f"<p>{_text(part['definition'])}</p>" + _table(["", *_SERIES], rows)


def _timing(timing: Report) -> str:
    body = f"<p>{_text(timing['definition'])}</p>"
    for series in _SERIES:
        along = timing[series]
        rows = [_row(name.replace("_", " "), [_shown(figure)]) for name, figure in along["figures"].items()]
        for point in ("onset", "fired"):
            figures = along[point]["figures"].items()
            rows += [_row(f"{point}: {name.replace('_', ' ')}", [_shown(figure)]) for name, figure in figures]
        body += _table([series, "value"], rows) + _histogram(f"{series}: onset error", along["onset"]["histogram"])
    return body


def _histogram(title: str, bins: Sequence[Report]) -> str:
    most = max((one["n"] for one in bins), default=0) or 1
    rows = []
    for index, one in enumerate(bins):
        y = 8 + 22 * index
        rows.append(
            f'<text x="150" y="{y + 14}" text-anchor="end">{_text(_range(one))} tokens</text>'
            f'<rect class="bar" x="158" y="{y + 3}" width="{300 * one["n"] / most:.1f}" height="14" rx="3"/>'
            f'<text x="{164 + 300 * one["n"] / most:.1f}" y="{y + 14}">{one["n"]:,}</text>'
        )
    height = 16 + 22 * len(bins)
    svg = f'<svg viewBox="0 0 520 {height}" role="img" aria-label="{_text(title)}">{"".join(rows)}</svg>'
    return f"<figure>{svg}<figcaption>{_text(title)}</figcaption></figure>"


def _range(one: Report) -> str:
    low, high = one["low"], one["high"]
    if low is None:
        return f"{high} and less"
    if high is None:
        return f"{low} and more"
    return f"{low}" if low == high else f"{low} to {high}"
