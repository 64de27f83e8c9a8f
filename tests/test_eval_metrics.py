"""The figures themselves: against scikit-learn, against the definition written out, and by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from riskline.evaluation import metrics
from riskline.evaluation.bootstrap import Bootstrap
from riskline.evaluation.metrics import Labels
from riskline.evaluation.observed import Marks
from riskline.evaluation.spans import Hit, Timed, points, span_f1, timed

NO = Bootstrap(0)
Rows = tuple[Any, Any]


def drawn(n: int, seed: int = 0, decimals: int = 2) -> Rows:
    """Gold and scores with many ties."""
    rng = np.random.default_rng(seed)
    gold = rng.random(n) < 0.3
    return gold, np.round(np.clip(rng.normal(0.35 + 0.3 * gold, 0.2), 0, 1), decimals)


def values(figures: metrics.Figures) -> dict[str, float | None]:
    return {name: figure["value"] for name, figure in figures.items()}


# --- ranking scores ---------------------------------------------------------------------------------------------


def brute(gold: Any, score: Any) -> dict[str, float]:
    """Best F1 and recalls by trying every threshold."""
    found = dict.fromkeys(["best_f1", *(f"recall_at_fpr_{rate}" for rate in metrics.FALSE_POSITIVE_RATES)], 0.0)
    for cut in np.unique(score):
        flagged = score >= cut
        found["best_f1"] = max(found["best_f1"], f1_score(gold, flagged))
        fpr, recall = (flagged & ~gold).sum() / (~gold).sum(), (flagged & gold).sum() / gold.sum()
        for rate in metrics.FALSE_POSITIVE_RATES:
            if fpr <= rate / 100 + 1e-12:
                found[f"recall_at_fpr_{rate}"] = max(found[f"recall_at_fpr_{rate}"], recall)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_ranking_figures_are_scikit_learns_and_the_definitions(seed: int) -> None:
    gold, score = drawn(300, seed)
    figures, thresholds = metrics.ranked(gold, score, NO)

    expected = brute(gold, score)
    expected |= {"auroc": roc_auc_score(gold, score), "auprc": average_precision_score(gold, score)}
    assert values(figures) == pytest.approx(expected, abs=2e-6)
    assert f1_score(gold, score >= thresholds["best_f1"]) == pytest.approx(expected["best_f1"])
    for rate in metrics.FALSE_POSITIVE_RATES:
        cut = thresholds[f"recall_at_fpr_{rate}"]
        flagged = score >= (math.inf if cut is None else cut)
        assert recall_score(gold, flagged) == pytest.approx(expected[f"recall_at_fpr_{rate}"])
        assert (flagged & ~gold).sum() <= rate / 100 * (~gold).sum() + 1e-9


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40))
def test_what_is_resampled_is_what_is_reported(rows: list[tuple[bool, int]]) -> None:
    gold, score = np.array([row[0] for row in rows]), np.array([row[1] / 6 for row in rows])
    if not 0 < gold.sum() < len(gold):
        return
    figures, _ = metrics.ranked(gold, score, NO)
    _, place = np.unique(-score, return_inverse=True)
    width = int(place.max()) + 1
    cells = np.bincount(place + width * ~gold, minlength=2 * width)

    assert metrics.ranks(cells[None, :])[0] == pytest.approx(list(values(figures).values()), abs=2e-6)


def test_perfect_and_reversed_scores() -> None:
    gold = np.array([True, True, False, False])
    best, _ = metrics.ranked(gold, np.array([0.9, 0.8, 0.2, 0.1]), NO)
    worst, cuts = metrics.ranked(gold, np.array([0.1, 0.2, 0.8, 0.9]), NO)

    assert set(values(best).values()) == {1}
    assert worst["auroc"]["value"] == 0
    assert worst["recall_at_fpr_1"]["value"] == 0
    assert cuts["recall_at_fpr_1"] is None


def test_curves_are_thin_and_keep_their_ends_and_their_area() -> None:
    gold, score = drawn(20_000, decimals=4)
    curves: Any = metrics.curves(gold, score)

    roc: Any = [point[:2] for point in curves["roc"]]
    assert len(roc) <= metrics.CURVE_POINTS >= len(curves["pr"])
    assert (roc[0], roc[-1]) == ([0, 0], [1, 1])
    assert curves["roc"][0][2] is None
    assert curves["pr"][0] == [0, 1, None]
    assert curves["pr"][-1][0] == 1
    area = np.trapezoid([y for _, y in roc], [x for x, _ in roc])
    assert area == pytest.approx(roc_auc_score(gold, score), abs=1e-3)
    assert [point[0] for point in curves["pr"]] == sorted(point[0] for point in curves["pr"])


# --- verdicts ---------------------------------------------------------------------------------------------------


def test_verdict_figures_are_scikit_learns() -> None:
    gold, score = drawn(500)
    flagged = score >= 0.5
    figures = metrics.decided(Labels(gold, flagged, score, gold.astype(float)), NO)

    expected = (f1_score(gold, flagged), precision_score(gold, flagged), recall_score(gold, flagged))
    assert [figures[name]["value"] for name in ("f1", "precision", "recall")] == pytest.approx(expected, abs=1e-6)
    assert figures["false_positive_rate"]["value"] == pytest.approx((flagged & ~gold).sum() / (~gold).sum(), abs=1e-6)
    assert [figure["n"] for figure in figures.values()] == [500, flagged.sum(), gold.sum(), (~gold).sum()]


def test_confusion_by_hand() -> None:
    assert metrics.confusion(np.array([0, 0, 1, 2, 2]), np.array([0, 2, 1, 2, 0])) == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert metrics.confusion(np.array([], int), np.array([], int)) == [[0, 0, 0]] * 3


# --- calibration ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("soft", [False, True])
def test_calibration_is_its_definition(*, soft: bool) -> None:
    gold, score = drawn(400, decimals=4)
    target = np.random.default_rng(1).random(400) if soft else gold.astype(float)
    figures, reliability = metrics.calibrated(Labels(gold, gold, score, target, soft), NO)

    ece = 0.0
    for index in range(15):
        low, high = index / 15, (index + 1) / 15
        inside = (score > low) & (score <= high) if index else score <= high
        if inside.any():
            ece += inside.mean() * abs(score[inside].mean() - target[inside].mean())
    assert figures["ece"]["value"] == pytest.approx(ece, abs=1e-6)
    assert figures["brier"]["value"] == pytest.approx(np.mean((score - target) ** 2), abs=1e-6)
    if not soft:
        assert figures["brier"]["value"] == pytest.approx(brier_score_loss(gold, score), abs=1e-6)
    assert reliability["target"] == ("soft" if soft else "hard")
    assert sum(bin_["n"] for bin_ in reliability["bins"]) == 400  # type: ignore[attr-defined]


def test_ece_by_hand() -> None:
    # One bin: scores .52 and .53 (mean .525) with one positive of two; another: .99 with a negative.
    gold, score = np.array([True, False, False]), np.array([0.53, 0.52, 0.99])
    labels = Labels(gold, gold, score, gold.astype(float))

    assert metrics.calibrated(labels, NO)[0]["ece"]["value"] == pytest.approx((2 * 0.025 + 0.99) / 3, abs=1e-6)


# --- categories -------------------------------------------------------------------------------------------------


def test_category_figures_are_scikit_learns() -> None:
    rng = np.random.default_rng(3)
    gold, named = rng.random((200, 4)) < 0.3, rng.random((200, 4)) < 0.3
    gold[:, 3] = False
    each, both = metrics.attributed(gold, named, NO)

    assert both["micro_f1"]["value"] == pytest.approx(f1_score(gold, named, average="micro", zero_division=0), abs=1e-6)
    by_class = f1_score(gold, named, average=None, zero_division=0)
    assert both["macro_f1"]["value"] == pytest.approx(by_class[:3].mean(), abs=1e-6)
    assert [figures["f1"]["value"] for figures in each] == [*[pytest.approx(f1, abs=1e-6) for f1 in by_class[:3]], None]
    assert each[3]["recall"]["value"] is None


# --- intervals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [200, 5000])
def test_intervals_of_a_mean_are_about_two_standard_errors_wide(n: int) -> None:
    """Both ways to draw: 200 records of as many values, 5,000 records of two."""
    rng = np.random.default_rng(0)
    sample = rng.random(n) if n == 200 else (rng.random(n) < 0.2).astype(float)
    interval = Bootstrap(4000, 1).mean(sample)

    error = sample.std() / math.sqrt(n)
    assert interval == pytest.approx((sample.mean() - 1.96 * error, sample.mean() + 1.96 * error), abs=0.15 * error)


def test_an_interval_of_auroc_is_that_of_resampled_records() -> None:
    gold, score = drawn(400)
    figures, _ = metrics.ranked(gold, score, Bootstrap(2000, 5))
    rng = np.random.default_rng(9)
    picks = (rng.integers(0, 400, 400) for _ in range(2000))
    naive = np.quantile([roc_auc_score(gold[pick], score[pick]) for pick in picks], [0.025, 0.975])

    assert [figures["auroc"]["low"], figures["auroc"]["high"]] == pytest.approx(list(naive), abs=0.006)


def test_intervals_hold_the_value_and_repeat_with_their_seed() -> None:
    gold, score = drawn(300)
    labels = Labels(gold, score > 0.5, score, gold.astype(float))
    runs = [
        metrics.ranked(gold, score, Bootstrap(300, seed))[0] | metrics.decided(labels, Bootstrap(300, seed))
        for seed in (1, 1, 2)
    ]

    assert runs[0] == runs[1] != runs[2]
    assert all(figure["low"] <= figure["value"] <= figure["high"] for figure in runs[0].values())


def test_a_figure_that_most_resamples_lack_has_no_interval() -> None:
    gold = np.array([True, *[False] * 9999])
    boot = Bootstrap(200, 0)
    low_high = boot.intervals(np.array([0, 0, 1]), lambda counts: np.full((len(counts), 1), np.nan))

    assert low_high == [None]
    assert metrics.share(gold, gold, boot)["low"] == 1


def test_median_is_the_lower_middle() -> None:
    assert metrics.median(np.array([1.0, 2.0, 3.0, 10.0]), NO)["value"] == 2
    low_high = Bootstrap(500, 0).median(np.arange(101.0))
    assert low_high is not None
    assert 35 < low_high[0] < 50 < low_high[1] < 65


# --- spans ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marked", "gold", "f1"),
    [
        # F1 of a text is 2|A & G| / (|A| + |G|) over character offsets (Pavlopoulos et al. 2021, section 4).
        ([(0, 4)], [(0, 4)], 1),
        ([(2, 6)], [(0, 4)], 2 * 2 / (4 + 4)),
        ([(0, 10)], [(0, 2), (5, 8)], 2 * 5 / (10 + 5)),
        ([(0, 2), (1, 3)], [(0, 3)], 1),  # overlapping spans are one set of offsets
        ([(5, 6)], [(0, 4)], 0),
        ([], [], 1),  # nothing to find, nothing found
        ([(0, 1)], [], 0),
        ([], [(0, 1)], 0),
    ],
)
def test_span_f1_is_that_of_semeval_2021_task_5(
    marked: list[tuple[int, int]], gold: list[tuple[int, int]], f1: float
) -> None:
    assert span_f1(marked, gold) == pytest.approx(f1)


IN, OUT = True, False
OFFSETS = np.array([[0, 2], [2, 7], [7, 8], [8, 12], [12, 16]])
TEXT = "so bomb! and now"


@pytest.mark.parametrize(
    ("run", "start", "spans", "onset", "fired"),
    [
        ((1, 2), 3, [(3, 7)], Hit(0, 0, IN, 0), Hit(1, 4, OUT, 1)),
        ((0, 1), 3, [(3, 7)], Hit(-1, -3, OUT, -1), Hit(0, 0, IN, 0)),
        ((3, 4), 3, [(3, 7)], Hit(2, 6, OUT, 2), Hit(3, 10, OUT, 3)),
        ((3, 4), 3, [(3, 12)], Hit(2, 6, IN, 0), Hit(3, 10, OUT, 1)),
        ((1, 2), 5, [], Hit(0, -2, OUT, None), Hit(1, 2, OUT, None)),
        ((4, 4), 15, [], Hit(0, -2, OUT, None), Hit(0, -2, OUT, None)),
        (None, 3, [(3, 7)], None, None),
    ],
)
def test_a_point_is_signed_against_the_first_token_that_reaches_the_start(
    run: tuple[int, int] | None, start: int, spans: list[tuple[int, int]], onset: Hit | None, fired: Hit | None
) -> None:
    assert timed(Marks(run), OFFSETS, TEXT, start, spans) == Timed(onset, fired)


def test_early_hit_and_missed_are_apart_and_add_up() -> None:
    hits = [
        Hit(-30, -90, OUT, -31),
        Hit(-1, -4, OUT, -2),
        Hit(0, 0, IN, 0),
        Hit(6, 20, OUT, 5),
        Hit(15, 60, OUT, 14),
        None,
    ]
    found = points(hits, NO)
    figures: Any = {name: figure["value"] for name, figure in found["figures"].items()}  # type: ignore[attr-defined]

    assert [figures[name] for name in ("early_alarm_rate", "hit_rate", "miss_rate")] == pytest.approx(
        [2 / 6, 3 / 6, 1 / 6], abs=1e-6
    )
    assert [figures[f"within_{k}"] for k in (0, 5, 10, 20)] == pytest.approx([1 / 6, 1 / 6, 2 / 6, 3 / 6], abs=1e-6)
    assert (figures["error_tokens_mean"], figures["error_tokens_median"]) == (-2, 0)
    assert (figures["not_early_of_detections"], figures["in_place_of_detections"]) == (0.6, 0.4)
    counts = {(bin_["low"], bin_["high"]): bin_["n"] for bin_ in found["histogram"] if bin_["n"]}  # type: ignore[attr-defined]
    assert counts == {(-50, -21): 1, (-5, -1): 1, (0, 0): 1, (6, 10): 1, (11, 20): 1}
    latency = {bin_["name"]: bin_["n"] for bin_ in found["latency"]}  # type: ignore[attr-defined]
    assert latency == {"ahead": 2, "hit": 1, "1-32": 2, "33-64": 0, "65-128": 0, "129-256": 0, ">256": 0, "missed": 1}


@pytest.mark.parametrize(
    ("late", "name"), [(0, "hit"), (1, "1-32"), (32, "1-32"), (33, "33-64"), (256, "129-256"), (257, ">256")]
)
def test_latency_bins_are_those_of_qwen3guards_evaluation(late: int, name: str) -> None:
    found: Any = points([Hit(late, late, OUT, late)], NO)["latency"]

    assert [bin_["name"] for bin_ in found if bin_["n"]] == [name]


def test_no_texts_give_reasons_and_no_numbers() -> None:
    found: Any = points([], NO)

    assert all(figure["value"] is None and figure["reason"] for figure in found["figures"].values())
    assert found["latency"] == []
