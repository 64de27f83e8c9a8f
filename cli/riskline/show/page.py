"""One text's trajectory as a self-contained page: no network, no URL, hostile text shown as text.

Covers: markup, scripts and terminal escapes in the text; it reads without JavaScript, which only adds interaction.
Does not cover: look-alike letters.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise
from string import Template

from riskline.escape import visible, visible_lines
from riskline.show.traced import Traced

_LEFT, _TOP, _WIDTH, _HEIGHT = 52, 40, 948, 210
_TOTAL = _LEFT + _WIDTH
_POINTS = 1000
_SPANS = 20_000
"""Longer texts show their first tokens; the chart and the data cover all of them."""


def page(traced: Traced) -> str:
    """Return the page."""
    verdict = traced.verdict
    template = Template((files("riskline.show") / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=_text(f"riskline: {verdict.label.name} {verdict.risk:.3f}"),
        label=verdict.label.name,
        risk=f"risk {verdict.risk:.3f}",
        category=_text(verdict.category or ""),
        facts=_text(", ".join(_facts(traced))),
        heading=_text(f"{verdict.judged}, {verdict.tokens:,} tokens"),
        heat=_heat(traced),
        chart=_chart(traced) if traced.risk else _no_chart(traced),
        categories=_categories(traced),
        data=_data(traced),
    )


def _text(text: str) -> str:
    return html.escape(visible(text), quote=True)


def _facts(traced: Traced) -> list[str]:
    verdict = traced.verdict
    facts = [f"safe {verdict.safe:.3f}"]
    facts += [] if verdict.controversial is None else [f"controversial {verdict.controversial:.3f}"]
    facts += [
        f"unsafe {verdict.unsafe:.3f}",
        f"rule {traced.rule}",
        f"guard {verdict.guard}",
        f"policy {verdict.policy}",
    ]
    facts += [f"{verdict.windows} windows"] if verdict.windows > 1 else []
    facts += [f"after {traced.earlier}"] if traced.context else []
    facts += [traced.unseen] if traced.unseen else []
    return facts + ([traced.address] if traced.address else [])


def _heat(traced: Traced) -> str:
    if not traced.risk:
        return html.escape(visible_lines(traced.text))
    spans = [
        f'<span data-i="{index}" style="--r:{risk:.3f}">{html.escape(visible_lines(piece))}</span>'
        for index, (piece, risk) in enumerate(zip(traced.pieces[:_SPANS], traced.risk, strict=False))
    ]
    if (left := len(traced.risk) - _SPANS) > 0:
        spans.append(f'<span class="gap"> … {left:,} tokens more …</span>')
    return "".join(spans)


def _no_chart(traced: Traced) -> str:
    why = "The text is blank." if traced.verdict.empty else "This guard has no trained trajectory for this role."
    return f'<section aria-label="Trajectory"><p class="facts">{why}</p></section>'


def _chart(traced: Traced) -> str:
    unsafe, controversial = traced.thresholds
    three = traced.verdict.controversial is not None
    sliders = _slider("unsafe", "unsafe from P(unsafe)", unsafe)
    limits = _limit("unsafe", unsafe)
    keys = '<span class="key" style="background:var(--red)"></span>unsafe '
    if three:
        sliders += _slider("controversial", "controversial from risk", controversial)
        limits += _limit("controversial", controversial)
        keys += '&nbsp; <span class="key" style="background:var(--amber)"></span>controversial'
    return f"""<section aria-label="Trajectory">
<h2>Risk along the text</h2>
<div class="chart" id="chart" tabindex="0" role="img" aria-label="Risk of every prefix; arrow keys move along it">
<svg viewBox="0 0 {_TOTAL} {_TOP + _HEIGHT + 6}">
{_axis()}
<path class="area-risk" d="{_area(traced.risk)}"/><path class="area-unsafe" d="{_area(traced.unsafe)}"/>
{limits}{_marks(traced)}
<line id="cursor" class="cursor" x1="0" x2="0" y1="{_TOP}" y2="{_TOP + _HEIGHT}"/>
</svg></div>
<p class="readout" id="readout">{keys}</p>
<div class="sliders">{sliders}</div>
<p class="now" id="now" aria-live="polite"></p>
</section>"""


def _axis() -> str:
    lines = []
    for value in (0.0, 0.5, 1.0):
        y = _y(value)
        lines.append(f'<line class="axis" x1="{_LEFT}" x2="{_TOTAL}" y1="{y}" y2="{y}"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 5}" text-anchor="end">{value:.1f}</text>')
    return "".join(lines)


def _y(value: float) -> float:
    return round(_TOP + (1 - value) * _HEIGHT, 1)


def _area(series: Sequence[float]) -> str:
    """A filled step line; where tokens are more than points, each point is the highest of its tokens."""
    count = min(len(series), _POINTS)
    edges = [index * len(series) // count for index in range(count + 1)]
    step = _WIDTH / count
    path = [f"M{_LEFT} {_y(0)}"]
    for index, (start, end) in enumerate(pairwise(edges)):
        path.append(f"V{_y(max(series[start:end]))}H{round(_LEFT + (index + 1) * step, 1)}")
    return "".join([*path, f"V{_y(0)}Z"])


def _limit(name: str, value: float) -> str:
    return f'<line id="l-{name}" class="limit {name}" x1="{_LEFT}" x2="{_TOTAL}" y1="{_y(value)}" y2="{_y(value)}"/>'


def _slider(name: str, words: str, value: float) -> str:
    kind = "c" if name == "controversial" else "u"
    return (
        f'<label class="{kind}">{words} <output id="o-{name}">{value:.2f}</output>'
        f'<input id="t-{name}" type="range" min="0" max="1" step="any" value="{value}" disabled></label>'
    )


def _marks(traced: Traced) -> str:
    """Onset and peak; fired is the onset's neighbour and is told in words."""
    out = []
    for row, (name, point) in enumerate((("onset", traced.verdict.onset), ("peak", traced.verdict.peak))):
        if point is None:
            continue
        x = round(_LEFT + (point.token + 0.5) / len(traced.risk) * _WIDTH, 1)
        # A row each, so that neighbours do not cover each other's name.
        y, after = _TOP - 6 - 16 * row, x < _TOTAL - 60
        out.append(f'<line class="mark" x1="{x}" x2="{x}" y1="{y - 11}" y2="{_TOP + _HEIGHT}"/>')
        anchor, shift = ("start", 5) if after else ("end", -5)
        out.append(f'<text x="{round(x + shift, 1)}" y="{y}" text-anchor="{anchor}">{name}</text>')
    return "".join(out)


def _categories(traced: Traced) -> str:
    rows = []
    for name, value in sorted(traced.verdict.categories.items(), key=lambda item: -(item[1] or 0.0)):
        first = ' class="first"' if name == traced.verdict.category else ""
        share = "–" if value is None else f"{value:.3f}"
        bar = f'<i style="width:{100 * (value or 0):.1f}%"></i>'
        rows.append(f"<tr{first}><td>{_text(name)}</td><td>{share}</td><td>{bar}</td></tr>")
    return "".join(rows)


def _data(traced: Traced) -> str:
    """JSON that no text can end: every character that means something to the markup is an escape."""
    kind, _, n = traced.rule.partition(" n=")
    # A rule on labels has no thresholds to move.
    rule = None if kind.startswith("argmax-pairs") else {"kind": kind, "n": int(n or 1)}
    value = {
        "risk": traced.risk,
        "unsafe": traced.unsafe,
        "controversial": traced.verdict.controversial is not None,
        "rule": rule,
        "pieces": [visible(piece) for piece in traced.pieces],
        "plot": {"left": _LEFT, "top": _TOP, "width": _WIDTH, "height": _HEIGHT, "total": _TOTAL},
    }
    dumped = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return dumped.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
