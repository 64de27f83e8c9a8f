"""The standard figures, by scikit-learn, each with what it is over and its interval.

A figure is a dict (schemas/eval.json): null with a reason where classes are absent, never NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from riskline.errors import UsageError
from riskline.evaluation.bootstrap import Bootstrap, Interval

if TYPE_CHECKING:
    import numpy.typing as npt

    from riskline.records import Floats, Integers

    Bools: TypeAlias = npt.NDArray[np.bool_]

Figure: TypeAlias = dict[str, Any]
Figures: TypeAlias = dict[str, Figure]

BINS = 15
CURVE_POINTS = 200
FALSE_POSITIVE_RATES: Final = (1, 3, 5, 10)
"""In per cent."""
NO_POSITIVE = "no record of the gold is positive"
NO_NEGATIVE = "every record of the gold is positive"
NONE_FLAGGED = "nothing is flagged"
NO_RECORDS = "no record counts here"


def require() -> None:
    """Raise UsageError where scikit-learn is missing."""
    try:
        import sklearn.metrics  # noqa: F401 - the heavy import, done before anything is judged
    except ImportError as error:
        raise UsageError(
            "eval needs scikit-learn, which is not installed", hint='pip install "riskline[eval]"'
        ) from error


def figure(value: float | None, n: int, interval: Interval = None, reason: str | None = None) -> Figure:
    """Return one figure; without a value there is no interval."""
    if reason is not None or value is None:
        return {"value": None, "n": int(n), "low": None, "high": None, "reason": reason or NO_RECORDS}
    low, high = interval or (None, None)
    return {"value": tidy(value), "n": int(n), "low": tidy(low), "high": tidy(high), "reason": None}


def tidy(value: float | None) -> float | None:
    """Six decimals: more than any number of records supports."""
    return None if value is None else round(float(value), 6)


def mean(values: Floats | Bools, boot: Bootstrap, reason: str = NO_RECORDS) -> Figure:
    """Return the mean of values as a figure."""
    if not len(values):
        return figure(None, 0, reason=reason)
    return figure(float(np.mean(values)), len(values), boot.mean(np.asarray(values, float)))


def median(values: Floats, boot: Bootstrap, reason: str = NO_RECORDS) -> Figure:
    """Return the median of values, the lower one of an even number, as a figure."""
    if not len(values):
        return figure(None, 0, reason=reason)
    return figure(float(np.quantile(values, 0.5, method="lower")), len(values), boot.median(values))


def share(hits: Bools, among: Bools, boot: Bootstrap, reason: str = NO_RECORDS) -> Figure:
    """Return the share of `hits` among some of the records as a figure."""
    n, hit = int(among.sum()), int((hits & among).sum())
    return figure(hit / n, n, boot.ratio(hit, n, len(among))) if n else figure(None, 0, reason=reason)


@dataclass(frozen=True, slots=True)
class Labels:
    """Gold, verdicts and ranking scores of one reading, an element a record; `target` is the raters' share or gold."""

    gold: Bools
    flagged: Bools
    score: Floats
    target: Floats
    soft: bool = False

    def __getitem__(self, index: Bools) -> Labels:
        """Return some of the records."""
        return Labels(self.gold[index], self.flagged[index], self.score[index], self.target[index], self.soft)

    @property
    def counts(self) -> dict[str, int]:
        """True and false positives and negatives."""
        gold, flagged = self.gold, self.flagged
        cells = {"tp": gold & flagged, "fp": ~gold & flagged, "fn": gold & ~flagged, "tn": ~gold & ~flagged}
        return {name: int(cell.sum()) for name, cell in cells.items()}


# --- from verdicts ----------------------------------------------------------------------------------------------


def decided(labels: Labels, boot: Bootstrap) -> Figures:
    """Return F1, precision, recall and the false-positive rate of the verdicts."""
    from sklearn.metrics import precision_recall_fscore_support

    counts = labels.counts
    cells = np.array(list(counts.values()))
    positives, negatives, flagged = cells[0] + cells[2], cells[1] + cells[3], cells[0] + cells[1]
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels.gold, labels.flagged, average="binary", pos_label=True, zero_division=0.0
    ) if len(labels.gold) else (0.0, 0.0, 0.0, None)  # fmt: skip
    low_high = boot.intervals(cells, rates)
    absent = None if positives else NO_POSITIVE
    fpr = counts["fp"] / negatives if negatives else None
    return {
        "f1": figure(f1, cells.sum(), low_high[0], absent),
        "precision": figure(precision, flagged, low_high[1], None if flagged else NONE_FLAGGED),
        "recall": figure(recall, positives, low_high[2], absent),
        "false_positive_rate": figure(fpr, negatives, low_high[3], None if negatives else NO_NEGATIVE),
    }


def rates(counts: Integers) -> Floats:
    """F1, precision, recall and false-positive rate of counts of (tp, fp, fn, tn), (draws, 4)."""
    tp, fp, fn, tn = counts.T.astype(float)
    f1 = np.where(tp + fn > 0, 2 * tp / (2 * tp + fp + fn), np.nan)
    return np.stack([f1, tp / (tp + fp), tp / (tp + fn), fp / (fp + tn)], axis=1)


def confusion(gold: Integers, verdict: Integers) -> list[list[int]]:
    """Return the 3 x 3 counts, rows gold and columns verdicts, from safe to unsafe."""
    from sklearn.metrics import confusion_matrix

    if not len(gold):
        return [[0] * 3] * 3
    counts: list[list[int]] = confusion_matrix(gold, verdict, labels=[0, 1, 2]).tolist()
    return counts


# --- from ranking scores ----------------------------------------------------------------------------------------


def ranked(gold: Bools, score: Floats, boot: Bootstrap) -> tuple[Figures, dict[str, float | None]]:
    """Return AUROC, AUPRC, best F1 and recall at fixed false-positive rates, and the thresholds of the last ones."""
    n, positives = len(gold), int(gold.sum())
    names = ["best_f1", "auroc", "auprc", *(f"recall_at_fpr_{rate}" for rate in FALSE_POSITIVE_RATES)]
    if not 0 < positives < n:
        reason = NO_RECORDS if not n else NO_NEGATIVE if positives else NO_POSITIVE
        return {name: figure(None, n, reason=reason) for name in names}, dict.fromkeys([names[0], *names[3:]])
    values, thresholds = _at_thresholds(gold, score)
    _, place = np.unique(-score, return_inverse=True)
    width = int(place.max()) + 1
    cells = np.bincount(place + width * ~gold, minlength=2 * width)
    low_high = boot.intervals(cells, ranks)
    over = {"best_f1": n, "auroc": n, "auprc": n}
    figures = {
        name: figure(values[name], over.get(name, positives), interval)
        for name, interval in zip(names, low_high, strict=True)
    }
    return figures, thresholds


def _at_thresholds(gold: Bools, score: Floats) -> tuple[dict[str, float], dict[str, float | None]]:
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    values = {"auroc": float(roc_auc_score(gold, score)), "auprc": float(average_precision_score(gold, score))}
    precision, recall, cut = precision_recall_curve(gold, score)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(f1[:-1].argmax())
    values["best_f1"] = float(f1[best])
    thresholds: dict[str, float | None] = {"best_f1": tidy(cut[best])}
    false, true, at = roc_curve(gold, score, drop_intermediate=False)
    for rate in FALSE_POSITIVE_RATES:
        # A rate is a share of counts: the smallest slack keeps 3 of 100 at 3 %.
        last = int(np.flatnonzero(false <= rate / 100 + 1e-9)[-1])
        first = int(np.flatnonzero(true == true[last])[0])
        values[f"recall_at_fpr_{rate}"] = float(true[last])
        thresholds[f"recall_at_fpr_{rate}"] = tidy(at[first]) if np.isfinite(at[first]) else None
    return values, thresholds


def ranks(counts: Integers) -> Floats:
    """The figures of `ranked` from counts of positives, then negatives, by falling score, (draws, figures)."""
    half = counts.shape[1] // 2
    positive, negative = counts[:, :half], counts[:, half:]
    true, false = positive.cumsum(axis=1), negative.cumsum(axis=1)
    positives, negatives = true[:, -1:].astype(float), false[:, -1:].astype(float)
    total = (positives * negatives)[:, 0]
    area = (negative * (true - positive / 2)).sum(axis=1) / total
    flagged = np.maximum(true + false, 1)
    average = (positive * (true / flagged)).sum(axis=1) / positives[:, 0]
    best = (2 * true / (flagged + positives)).max(axis=1)
    best[total == 0] = average[total == 0] = np.nan
    columns = [best, area, average]
    for rate in FALSE_POSITIVE_RATES:
        within = false <= rate / 100 * negatives + 1e-9 * negatives
        reached = np.where(within, true, 0).max(axis=1) / positives[:, 0]
        columns.append(np.where(total > 0, reached, np.nan))
    return np.stack(columns, axis=1)


def curves(gold: Bools, score: Floats) -> dict[str, list[list[float | None]]]:
    """Return the ROC and precision-recall curves as points of at most `CURVE_POINTS`."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    found: dict[str, list[list[float | None]]] = {"roc": [], "pr": []}
    if 0 < gold.sum() < len(gold):
        found["roc"] = _thinned(*roc_curve(gold, score))
    if gold.any():
        precision, recall, cut = precision_recall_curve(gold, score)
        found["pr"] = _thinned(recall[::-1], precision[::-1], np.append(cut, np.inf)[::-1])
    return found


def _thinned(x: Floats, y: Floats, at: Floats) -> list[list[float | None]]:
    """Points evenly spaced along the curve's length, its ends among them, so that corners stay."""
    if len(x) > CURVE_POINTS:
        along = np.concatenate(([0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))))
        wanted = np.linspace(0, along[-1], CURVE_POINTS)
        keep = np.unique(np.searchsorted(along, wanted).clip(0, len(x) - 1))
        keep[-1] = len(x) - 1
        x, y, at = x[keep], y[keep], at[keep]
    rows = zip(x.tolist(), y.tolist(), at.tolist(), strict=True)
    return [[tidy(across), tidy(up), tidy(cut) if np.isfinite(cut) else None] for across, up, cut in rows]


# --- calibration ------------------------------------------------------------------------------------------------


def calibrated(labels: Labels, boot: Bootstrap) -> tuple[Figures, dict[str, object]]:
    """Return expected calibration error and Brier score of the ranking scores, and the reliability bins."""
    score, target = labels.score, labels.target
    n, place = len(score), bins(score)
    if not n:
        return {name: figure(None, 0) for name in ("ece", "brier")}, {
            "target": "hard",
            "bins": _reliability(place, labels),
        }
    kinds, counts = np.unique(np.stack([place, score, target], axis=1), axis=0, return_counts=True)
    statistic = partial(calibration, place=kinds[:, 0].astype(int), score=kinds[:, 1], target=kinds[:, 2])
    ece, brier = statistic(counts[None, :])[0]
    low_high = boot.intervals(counts, statistic)
    figures = {"ece": figure(ece, n, low_high[0]), "brier": figure(brier, n, low_high[1])}
    return figures, {"target": "soft" if labels.soft else "hard", "bins": _reliability(place, labels)}


def bins(score: Floats) -> Integers:
    """Return which of the 15 equal bins each score is in; an edge belongs to the bin below it."""
    edges = np.linspace(0, 1, BINS + 1)[1:-1]
    return np.asarray(np.searchsorted(edges, score), np.int64)


def calibration(counts: Integers, *, place: Integers, score: Floats, target: Floats) -> Floats:
    """ECE and Brier score of counts of records that share bin, score and target (ordered by bin), (draws, 2)."""
    total = counts.sum(axis=1)
    starts = np.unique(place, return_index=True)[1]
    gaps = np.add.reduceat(counts * (score - target), starts, axis=1)
    squares = counts @ np.square(score - target)
    return np.stack([np.abs(gaps).sum(axis=1) / total, squares / total], axis=1)


def _reliability(place: Integers, labels: Labels) -> list[dict[str, float | int | None]]:
    counts = np.bincount(place, minlength=BINS)
    scores = np.bincount(place, weights=labels.score, minlength=BINS)
    targets = np.bincount(place, weights=labels.target, minlength=BINS)
    return [
        {
            "low": tidy(index / BINS),
            "high": tidy((index + 1) / BINS),
            "n": int(n),
            "score": tidy(scores[index] / n) if n else None,
            "share": tidy(targets[index] / n) if n else None,
        }
        for index, n in enumerate(counts.tolist())
    ]


# --- categories -------------------------------------------------------------------------------------------------


def attributed(gold: Bools, named: Bools, boot: Bootstrap) -> tuple[list[Figures], Figures]:
    """Return F1, precision and recall of each category, and micro and macro F1, of (records, categories)."""
    from sklearn.metrics import precision_recall_fscore_support

    width = gold.shape[1]
    if not len(gold) or not width:
        absent = {name: figure(None, 0) for name in ("f1", "precision", "recall")}
        return [dict(absent) for _ in range(width)], {name: figure(None, 0) for name in ("micro_f1", "macro_f1")}
    kinds, counts = np.unique(np.concatenate([gold, named], axis=1), axis=0, return_counts=True)
    statistic = partial(category_rates, gold=kinds[:, :width], named=kinds[:, width:])
    low_high = boot.intervals(counts, statistic)
    # Column by column: a single column would be read as one binary label.
    columns = [
        precision_recall_fscore_support(gold[:, at], named[:, at], average="binary", pos_label=True, zero_division=0.0)
        for at in range(width)
    ]
    support, flagged = gold.sum(axis=0), named.sum(axis=0)
    each = []
    for at, (precision, recall, f1, _) in enumerate(columns):
        missing = None if support[at] else "the gold has none of it"
        each.append(
            {
                "f1": figure(f1, len(gold), low_high[at], missing),
                "precision": figure(
                    precision, flagged[at], low_high[width + at], None if flagged[at] else "never named"
                ),
                "recall": figure(recall, support[at], low_high[2 * width + at], missing),
            }
        )
    micro, macro = category_rates(counts[None, :], gold=kinds[:, :width], named=kinds[:, width:])[0, -2:]
    reason = None if support.any() else "the gold has no category"
    both = {
        "micro_f1": figure(micro, len(gold), low_high[-2], reason),
        "macro_f1": figure(macro, len(gold), low_high[-1], reason),
    }
    return each, both


def category_rates(counts: Integers, *, gold: Bools, named: Bools) -> Floats:
    """F1s, precisions, recalls, then micro and macro F1 of counts of records alike in gold and names."""
    with np.errstate(divide="ignore", invalid="ignore"):
        both, there, said = counts @ (gold & named), counts @ gold, counts @ named
        f1 = np.where(there > 0, 2 * both / (there + said), np.nan)
        micro = 2 * both.sum(axis=1) / (there + said).sum(axis=1)
        defined = (there > 0).sum(axis=1)
        macro = np.where(defined > 0, np.nansum(f1, axis=1) / np.maximum(defined, 1), np.nan)
        columns: Sequence[Floats] = [f1, both / said, both / there, micro[:, None], macro[:, None]]
        return np.concatenate(columns, axis=1)
