"""The corpus as rows: text, context, label, category, spans, and how often each row is drawn."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

LABELS = ("safe", "unsafe", "controversial")  # logit order, as Qwen3Guard
CATEGORIES = (
    "Violent",
    "Sexual Content or Sexual Acts",
    "Suicide & Self-Harm",
    "Politically Sensitive Topics",
    "PII",
    "Copyright Violation",
    "Non-violent Illegal Acts",
    "Unethical Acts",
    "Jailbreak",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled text; `role` is prompt or response, comments being prompts."""

    source: str
    lang: str
    kind: str
    role: str
    prompt: str | None
    text: str
    label: int
    categories: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


def read_rows(folder: Path, *, licence: str | None = "train") -> Iterator[Row]:
    """Yield the labelled rows of every file in `folder` that may be used for `licence`."""
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path) as lines:
            for line in lines:
                value = orjson.loads(line)
                if value["label"] in LABELS and (licence is None or value["licence_use"] == licence):
                    yield _row(path.name.removesuffix(".jsonl.gz"), value)


def _row(source: str, value: dict[str, object]) -> Row:
    kind = str(value["role"])
    names = value.get("categories") or []
    return Row(
        source=source,
        lang=str(value["lang"]),
        kind=kind,
        role="response" if kind == "response" else "prompt",
        prompt=value["prompt"],  # type: ignore[arg-type]
        text=str(value["text"]),
        label=LABELS.index(str(value["label"])),
        categories=tuple(CATEGORIES.index(name) for name in names if name in CATEGORIES),  # type: ignore[attr-defined]
        spans=tuple((int(start), int(end)) for start, end in (value.get("spans") or [])),  # type: ignore[attr-defined]
    )


def weights(rows: list[Row], shares: dict[str, float], safe: float, trust: dict[str, float]) -> list[float]:
    """Return how often each row is drawn, summing to 1.

    `shares` splits by kind, `safe` is the safe share within each; languages count by the square root of their rows,
    and a source's rows by its trust (1 unless named). Within a
    language, sources count by the power 0.75 of their rows, so that no large one drowns the others.
    """
    groups = Counter((row.kind, row.label, row.lang, row.source) for row in rows)
    mass: dict[tuple[str, int, str, str], float] = {}
    for key, count in groups.items():
        by_language = sum(c for (k, label, lang, _), c in groups.items() if (k, label, lang) == key[:3])
        mass[key] = by_language**0.5 * count**0.75 * trust.get(key[3], 1.0) / _powered(groups, key)
    totals: Counter[tuple[str, bool]] = Counter()
    for (kind, label, _, _), value in mass.items():
        totals[kind, label == 0] += value  # type: ignore[assignment]
    for key in mass:
        share = shares[key[0]] * (safe if key[1] == 0 else 1 - safe)
        mass[key] *= share / totals[key[0], key[1] == 0]
    return [mass[key] / groups[key] for row in rows for key in [(row.kind, row.label, row.lang, row.source)]]


def _powered(groups: Counter[tuple[str, int, str, str]], key: tuple[str, int, str, str]) -> float:
    return sum(float(count**0.75) for other, count in groups.items() if other[:3] == key[:3])
