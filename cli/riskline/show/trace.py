"""One text's trajectory on a terminal: the text as heat, a risk line with threshold and marks, the categories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from rich.console import Console
from rich.text import Text

from riskline.escape import visible
from riskline.records import Label, Point
from riskline.show.traced import Traced

_LABEL_STYLES = {Label.safe: "bold green", Label.controversial: "bold yellow", Label.unsafe: "bold red"}
_BLOCKS = " ▁▂▃▄▅▆▇█"
_ROWS = 6
_GUTTER = 7
_SHOWN = 600
"""Texts of more tokens are shown around their beginning, onset and peak; the chart covers all of them."""


def print_trace(traced: Traced, console: Console) -> None:
    """Print the verdict, the text, the risk line and the categories, at the console's width."""
    for line in (*_head(traced), Text(), _heat(traced), Text()):
        console.print(line, overflow="fold")
    if traced.risk:
        for line in _chart(traced, console.width):
            console.print(line, no_wrap=True, overflow="crop")
        for line in _marks_explained(traced):
            console.print(line, overflow="fold")
    else:
        why = "the text is blank" if traced.verdict.empty else "this guard has no trained trajectory for this role"
        console.print(Text(f"no trajectory: {why}", style="dim"))
    console.print()
    for line in _categories(traced, console.width):
        console.print(line, no_wrap=True, overflow="crop")


def _head(traced: Traced) -> Iterator[Text]:
    verdict = traced.verdict
    head = Text.assemble((verdict.label.name, _LABEL_STYLES[verdict.label]), f"  risk {verdict.risk:.3f}")
    if verdict.category:
        head.append(f"  {visible(verdict.category)}", "bold")
    yield head
    controversial = "" if verdict.controversial is None else f", controversial {verdict.controversial:.3f}"
    where = f" at token {verdict.at}" if verdict.at is not None else ""
    yield Text(f"safe {verdict.safe:.3f}{controversial}, unsafe {verdict.unsafe:.3f}{where}", style="dim")
    windows = f", {verdict.windows} windows" if verdict.windows > 1 else ""
    facts = f"{verdict.judged}, {verdict.tokens:,} tokens{windows}, rule {traced.rule}, guard {verdict.guard}"
    yield Text(facts, style="dim")
    if traced.context:
        cut = ", cut at its oldest end" if verdict.context_truncated else ""
        yield Text(f"judged after {traced.earlier}{cut}", style="dim")
    if traced.unseen:
        yield Text(traced.unseen, style="bold yellow")
    if traced.address:
        yield Text(traced.address, style="dim")


# --- the text ---------------------------------------------------------------------------------------------------


def _heat(traced: Traced) -> Text:
    """The text, each token on a background of its risk, the run that fired between ⟦ and ⟧."""
    if not traced.risk:
        return Text(visible(traced.text))
    pieces, run = traced.pieces, traced.run
    out = Text()
    last = 0
    for index in _shown(traced):
        if index > last:
            out.append(f" … {index - last:,} tokens … ", "dim italic")
        piece = pieces[index]
        if run and index == run[0]:
            bare = piece.lstrip()
            _append_piece(out, piece[: len(piece) - len(bare)], 0.0)
            out.append("⟦", "bold")
            piece = bare
        ends = run is not None and index == run[1] - 1
        body = piece.rstrip() if ends else piece
        _append_piece(out, body, traced.risk[index])
        if ends:
            out.append("⟧", "bold")
            _append_piece(out, piece[len(body) :], 0.0)
        last = index + 1
    if last < len(pieces):
        out.append(f" … {len(pieces) - last:,} tokens …", "dim italic")
    return out


def _append_piece(out: Text, piece: str, risk: float) -> None:
    """Line feeds stay line feeds behind a mark; everything else that acts is shown as an escape."""
    lines = piece.split("\n")
    for number, line in enumerate(lines):
        if number:
            out.append("↵\n", "dim")
        if line:
            out.append(visible(line), _heat_style(risk))


def _heat_style(risk: float) -> str:
    """A calm ramp from none through amber to red, told apart by lightness as well as by hue."""
    if risk < 0.15:
        return ""
    amount = (risk - 0.15) / 0.85
    red, green, blue = (round(a + (b - a) * amount) for a, b in ((255, 198), (236, 40), (179, 40)))
    return f"{'white' if amount > 0.6 else 'black'} on #{red:02x}{green:02x}{blue:02x}"


def _shown(traced: Traced) -> list[int]:
    count = len(traced.risk)
    if count <= _SHOWN:
        return list(range(count))
    centres = [point.token for point in (traced.verdict.onset, traced.verdict.peak) if point]
    around = {index for centre in centres for index in range(centre - 80, centre + 120)}
    return sorted(index for index in {*range(100), *around} if 0 <= index < count)


# --- the risk line ----------------------------------------------------------------------------------------------


def _chart(traced: Traced, width: int) -> Iterator[Text]:
    """Risk over the tokens, the highest of a column's tokens where they are more than the columns."""
    room = max(10, width - _GUTTER - 1)
    count = len(traced.risk)
    wide = max(1, min(3, room // count))
    columns = _pooled(traced.risk, room) if count > room else [v for v in traced.risk for _ in range(wide)]
    threshold = traced.fired_series[1]
    line_row = min(_ROWS - 1, int(threshold * _ROWS))
    for row in reversed(range(_ROWS)):
        label = f"{threshold:.3f}" if row == line_row else {_ROWS - 1: "1.000", 0: "0.000"}.get(row, "")
        line = Text.assemble((f"{label:>5} {'┄' if row == line_row else '│'}", "dim"))
        for value in columns:
            block = _BLOCKS[max(0, min(8, round(value * _ROWS * 8) - row * 8))]
            if block == " " and row == line_row:
                line.append("┄", "dim")
            else:
                line.append(block, _line_style(value))
        yield line
    yield _marks(traced, len(columns), count)


def _line_style(risk: float) -> str:
    if risk < 0.15:
        return "green"
    amount = (risk - 0.15) / 0.85
    red, green, blue = (round(a + (b - a) * amount) for a, b in ((230, 200), (170, 45), (60, 45)))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _pooled(series: Sequence[float], room: int) -> list[float]:
    edges = [index * len(series) // room for index in range(room + 1)]
    return [max(series[start:end]) for start, end in pairwise(edges)]


def _named(traced: Traced) -> list[tuple[str, str, Point]]:
    verdict = traced.verdict
    points = (("▲", "onset", verdict.onset), ("◆", "fired", verdict.fired), ("●", "peak", verdict.peak))
    return [(mark, name, point) for mark, name, point in points if point]


def _marks(traced: Traced, columns: int, count: int) -> Text:
    cells = [" "] * columns
    for mark, _, point in reversed(_named(traced)):
        cells[min(columns - 1, point.token * columns // count)] = mark
    return Text(" " * _GUTTER + "".join(cells), style="bold")


def _marks_explained(traced: Traced) -> Iterator[Text]:
    series, threshold = traced.fired_series
    name = "P(unsafe)" if series is traced.unsafe and traced.verdict.label is Label.unsafe else "risk"
    yield Text(f"┄ {name} fires at {threshold:.4g}; columns are tokens, bars are risk", style="dim")
    for mark, what, point in _named(traced):
        start, end = point.span
        before = traced.text[max(0, start - 24) : start]
        quote = Text.assemble((f"{mark} ", "bold"), f"{what:<5} token {point.token}, risk {point.risk:.3f}  ")
        quote.append("…" if start > 24 else "", "dim")
        quote.append(visible(before), "dim")
        quote.append(visible(traced.text[start:end]), "bold underline")
        yield quote


# --- the categories ---------------------------------------------------------------------------------------------


def _categories(traced: Traced, width: int) -> Iterator[Text]:
    """P(risky and of this kind), largest first."""
    named = sorted(traced.verdict.categories.items(), key=lambda item: -(item[1] or 0.0))
    if not named:
        return
    longest = max(len(visible(name)) for name, _ in named)
    room = max(4, min(40, width - longest - 9))
    for name, value in named:
        style = "bold" if name == traced.verdict.category else ""
        share = "–" if value is None else f"{value:.3f}"
        bar = "█" * round((value or 0.0) * room)
        yield Text.assemble((f"{visible(name):<{longest}} {share:>6}  ", style), (bar, _line_style(value or 0.0)))
