"""The report: one dict as schemas/eval.json describes it, every figure with its n and interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from riskline.evaluation import metrics
from riskline.evaluation.bootstrap import METHOD, Bootstrap
from riskline.evaluation.gold import GoldOptions
from riskline.evaluation.metrics import Figures, Labels, figure
from riskline.evaluation.observed import Observer
from riskline.evaluation.rows import NAMED, Kinds, Rows
from riskline.evaluation.spans import NO_START, WITHIN, points
from riskline.records import Label

if TYPE_CHECKING:
    from riskline.evaluation.metrics import Bools

Report: TypeAlias = dict[str, Any]

SCHEMA = 1
LARGEST = 200
"""How many values of a slice are shown."""
FEW = 100
_LOWEST: Final = {"strict": Label.controversial, "loose": Label.unsafe}
_POSITIVE: Final = {
    "strict": "controversial or unsafe, in gold and verdict",
    "loose": "unsafe only, in gold and verdict",
}
_MARKED: Final = (
    "SemEval-2021 Task 5: F1 of character offsets a text, averaged over texts; 1 where neither gold nor guard marks "
    "any. Marked are the tokens of every run on which the rule fires, inner white space included."
)
_WHEN: Final = (
    "By tokens, against the first one that reaches the start of the unsafe: early before it, a hit at or after it, "
    "missed where nothing fires. within_k: a hit at most k tokens later, among all. stop_rate: gold-safe texts on "
    "which a live stream would stop. flicker: changes of the reading's label along flagged texts after the first flag."
)


@dataclass(frozen=True, slots=True)
class Setting:
    """What was asked, and who answered."""

    paths: Sequence[str]
    gold: GoldOptions
    observer: Observer
    bootstrap: Bootstrap
    judged_by: Mapping[str, str]


def report_of(rows: Rows, setting: Setting) -> Report:
    """Return the report of everything measured."""
    boot = setting.bootstrap
    readings = {name: _labels(rows, at, name) for at, name in enumerate(_LOWEST)}
    return {
        "schema": SCHEMA,
        "data": _data(rows, setting),
        "judged_by": dict(setting.judged_by),
        "reading": _reading(setting.observer),
        "bootstrap": {"replicates": boot.replicates, "seed": boot.seed, "level": boot.level, "method": METHOD},
        "binary": {name: _binary(labels, name, boot) for name, labels in readings.items()},
        "confusion": {
            "labels": [label.name for label in Label],
            "counts": metrics.confusion(rows.golds(), rows.labels()),
            "n": len(rows.gold),
        },
        "slices": _slices(rows, readings, setting),
        "categories": _categories(rows, readings, setting) if setting.gold.categories_field else None,
        "spans": _spans(rows, boot) if setting.gold.spans_field else None,
        "timing": _timing(rows, boot) if setting.gold.spans_field or setting.gold.onset_field else None,
        "notes": _notes(rows, setting),
    }


def _labels(rows: Rows, at: int, name: str) -> Labels:
    gold = rows.golds() >= _LOWEST[name]
    shares = rows.targets()[:, at]
    soft = bool(len(shares)) and not np.isnan(shares).all()
    target = np.where(np.isnan(shares), gold, shares)
    return Labels(gold, rows.labels() >= _LOWEST[name], rows.ranking()[:, at], target, soft)


def _data(rows: Rows, setting: Setting) -> Report:
    gold, summary = setting.gold, rows.summary
    fields: dict[str, str | None] = {
        "label": gold.label_at,
        "raters": gold.raters_field,
        "categories": gold.categories_field,
        "spans": gold.spans_field,
        "onset": gold.onset_field,
    }
    return {
        "paths": list(setting.paths),
        "read": len(rows.gold) + rows.failures.total(),
        "measured": len(rows.gold),
        "not_measured": rows.failures.total(),
        "failures": dict(rows.failures),
        "failed": rows.failed,
        "skipped": dict(summary.skips),
        "empty": summary.empty,
        "windowed": summary.windowed,
        "context_truncated": summary.context_truncated,
        "gold": "tri-class" if Label.controversial in rows.gold else "binary",
        "labels": _counted(rows.golds()),
        "roles": dict(Counter(rows.roles)),
        "soft": int((~np.isnan(rows.targets()[:, 0])).sum()),
        "fields": fields | dict(gold.slices),
        "label_map": {value: label.name for value, label in gold.label_map.items()},
    }


def _counted(gold: Any) -> dict[str, int]:  # noqa: ANN401 - an array of labels
    return {label.name: int((gold == label).sum()) for label in Label}


def _reading(observer: Observer) -> Report:
    manifest = observer.manifest
    by_policy = observer.reading == "policy"
    limits = {role: observer.policy.limits(manifest, role) for role in manifest.roles}
    score = "the highest threshold at which the rule still fires"
    if not by_policy:
        score = "a prompt's score at its last position, of a response the highest that two consecutive tokens reach"
    return {
        "name": observer.reading,
        "rule": {role: observer.rule(role) for role in manifest.roles},
        "thresholds": {
            role: {"unsafe": limit.unsafe, "controversial": limit.controversial} for role, limit in limits.items()
        }
        if by_policy
        else None,
        "strict": "controversial is counted as unsafe",
        "loose": "controversial is counted as safe",
        "ranking": f"{score}: on 1 - P(safe) for strict, on P(unsafe) for loose",
    }


def _binary(labels: Labels, name: str, boot: Bootstrap) -> Report:
    ranked, thresholds = metrics.ranked(labels.gold, labels.score, boot)
    calibrated, reliability = metrics.calibrated(labels, boot)
    return {
        "positive": _POSITIVE[name],
        "n": len(labels.gold),
        "positives": int(labels.gold.sum()),
        "negatives": int((~labels.gold).sum()),
        "counts": labels.counts,
        "figures": metrics.decided(labels, boot) | ranked | calibrated,
        "thresholds": thresholds,
        "curves": metrics.curves(labels.gold, labels.score),
        "reliability": reliability,
    }


# --- slices -----------------------------------------------------------------------------------------------------


def _slices(rows: Rows, readings: Mapping[str, Labels], setting: Setting) -> list[Report]:
    columns: list[tuple[str, Sequence[str | None]]] = [("role", rows.roles)]
    columns += [(name, [values[at] for values in rows.slices]) for at, (name, _) in enumerate(setting.gold.slices)]
    return [_slice(name, values, rows, readings, setting.bootstrap) for name, values in columns]


def _slice(
    name: str, values: Sequence[str | None], rows: Rows, readings: Mapping[str, Labels], boot: Bootstrap
) -> Report:
    counted = Counter(value for value in values if value is not None)
    largest = sorted(counted, key=lambda value: (-counted[value], value))[:LARGEST]
    codes = {value: code for code, value in enumerate(largest)}
    column = np.array([codes.get(value, -1) if value is not None else -1 for value in values], np.int64)
    shown = []
    for value, code in codes.items():
        index = column == code
        short = {reading: _short(labels[index], boot) for reading, labels in readings.items()}
        shown.append({"value": value, "n": counted[value], "labels": _counted(rows.golds()[index]), **short})
    without = len(values) - counted.total()
    return {"field": name, "without": without, "left_out": len(counted) - len(largest), "values": shown}


def _short(labels: Labels, boot: Bootstrap) -> Report:
    ranked, _ = metrics.ranked(labels.gold, labels.score, boot)
    return {"figures": metrics.decided(labels, boot) | {name: ranked[name] for name in ("auroc", "auprc")}}


# --- categories -------------------------------------------------------------------------------------------------


def _categories(rows: Rows, readings: Mapping[str, Labels], setting: Setting) -> Report:
    boot = setting.bootstrap
    roles = setting.observer.manifest.roles.values()
    known = list(dict.fromkeys(category for outputs in roles for category in outputs.categories))
    counted = Counter(category for kinds in rows.kinds for category in kinds.gold)
    names = [*known, *sorted(set(counted) - set(known))]
    gold = _table(rows.kinds, known, lambda kinds: kinds.gold)
    named = _table(rows.kinds, known, lambda kinds: kinds.named)
    each, both = metrics.attributed(gold, named, boot)
    values: list[Report] = []
    for at, name in enumerate(names):
        has = np.array([name in kinds.gold for kinds in rows.kinds], bool)
        flagged = _flagged(rows.kinds, readings, has, boot)
        figures = each[at] | _ranked_kind(rows.kinds, name, has, boot) if at < len(known) else _unknown(len(has))
        values.append({"category": name, "n": counted[name], "known": at < len(known), "figures": flagged | figures})
    predicted = f"the category of a flagged verdict, and any other with a score of at least {NAMED}"
    values.sort(key=lambda value: -value["n"])
    return {"n": len(rows.kinds), "predicted": predicted, "figures": both, "values": values}


def _table(kinds: Sequence[Kinds], names: Sequence[str], of: Callable[[Kinds], frozenset[str]]) -> Bools:
    return np.array([[name in of(one) for name in names] for one in kinds], bool).reshape(len(kinds), len(names))


def _flagged(kinds: Sequence[Kinds], readings: Mapping[str, Labels], has: Bools, boot: Bootstrap) -> Figures:
    """The share of records of a category that are flagged at all, whatever they are called."""
    index = [one.row for one in kinds]
    return {
        f"flagged_{name}": metrics.share(labels.flagged[index], has, boot, "the gold has none of it")
        for name, labels in readings.items()
    }


def _ranked_kind(kinds: Sequence[Kinds], name: str, has: Bools, boot: Bootstrap) -> Figures:
    scored = np.array([name in one.scores for one in kinds], bool)
    score = np.array([one.scores.get(name, 0.0) for one in kinds], float)
    ranked, _ = metrics.ranked(has[scored], score[scored], boot)
    return {figure_name: ranked[figure_name] for figure_name in ("auroc", "auprc")}


def _unknown(n: int) -> Figures:
    return {
        name: figure(None, n, reason="the guard has no such category")
        for name in ("f1", "precision", "recall", "auroc", "auprc")
    }


# --- along the text ---------------------------------------------------------------------------------------------


def _spans(rows: Rows, boot: Bootstrap) -> Report:
    table = np.array(rows.spans, float).reshape(-1, 3)
    marked = table[:, 0] > 0

    def of(column: int) -> Report:
        values = table[:, column]
        return {
            "figures": {
                "f1": metrics.mean(values, boot, "no text has its spans marked and a trajectory"),
                "f1_with_spans": metrics.mean(values[marked], boot, "no text has a span"),
                "f1_without_spans": metrics.mean(values[~marked], boot, "every text has a span"),
            }
        }

    return {
        "definition": _MARKED,
        "n": len(table),
        "with_spans": int(marked.sum()),
        "without_trajectory": rows.unmarked,
        "strict": of(1),
        "loose": of(2),
    }


def _timing(rows: Rows, boot: Bootstrap) -> Report:
    stops = np.array(rows.stops, bool).reshape(-1, 2)

    def of(at: int) -> Report:
        changes = np.array(rows.changes[at], float)
        return {
            "onset": points([pair[at].onset for pair in rows.timed], boot),
            "fired": points([pair[at].fired for pair in rows.timed], boot),
            "figures": {
                "stop_rate": metrics.mean(stops[:, at], boot, "no gold-safe text has a trajectory"),
                "flicker_mean": metrics.mean(changes, boot, metrics.NONE_FLAGGED),
                "flicker_any": metrics.mean(changes > 0, boot, metrics.NONE_FLAGGED),
            },
        }

    return {
        "definition": _WHEN,
        "n": len(rows.timed),
        "safe": len(stops),
        "without_trajectory": rows.untimed,
        "within": list(WITHIN),
        "strict": of(0),
        "loose": of(1),
    }


# --- what a reader has to know ----------------------------------------------------------------------------------


def overlooked_note(n: int) -> str:
    """Say that what the label is about may not be what was judged."""
    what = f"{n:,} records have a `text` that was not judged, as `prompt` and `messages` come before it"
    return f"{what}; --text-field text judges it, --prompt-field prompt --response-field text as the reply"


def _notes(rows: Rows, setting: Setting) -> list[str]:
    notes = [overlooked_note(rows.overlooked)] if rows.overlooked else []
    notes += [
        "a record's verdict and scores are those of its last turn, unless every turn is judged; then the worst one's",
        "calibration is that of the ranking scores, which are the rule's over a text and not one token's",
    ]
    if Label.controversial not in rows.gold:
        notes.append("the gold is binary: strict and loose differ in the verdicts and scores only")
    if setting.gold.label_at is None:
        notes.append("the label is the raters' majority, the worse one of a tie")
    least = min(Counter(label >= Label.controversial for label in rows.gold).values(), default=0)
    if least < FEW:
        notes.append(f"the smaller class has {least} records: intervals by resampling are too narrow below some {FEW}")
    if rows.failures:
        notes.append("records that could not be measured are in no figure; data.failures counts them")
    if setting.gold.spans_field or setting.gold.onset_field:
        notes.append(NO_START if not rows.timed else "texts without a known start are in no figure about when")
    return notes
