"""What a judge for measuring keeps, on scores written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskline.evaluation.observed import Marks, Observer
from riskline.guard import Guard
from riskline.policy import Judge, Overrides, Policy
from riskline.records import Label, Role, Rule, Scores

S, C, U = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8)
"""Safe, controversial and unsafe tokens: probabilities in that order."""


def scores(*tokens: Sequence[float], role: Role = "response", two: bool = False, trajectory: bool = True) -> Scores:
    """Scores of a text of one letter a token."""
    rows = np.array(tokens, float)
    offsets = np.stack([np.arange(len(rows)), np.arange(len(rows)) + 1], axis=1)
    middle = None if two else rows[:, 1]
    return Scores(rows[:, 0], middle, rows[:, 2], np.zeros((len(rows), 0)), (), offsets, role, trajectory)


def text(of: Scores) -> str:
    return "x" * len(of.safe)


@pytest.fixture
def pairs(tiny: Guard) -> Observer:
    return Observer(tiny.manifest, Policy(), "none", reading="qwen3guard", along=True)


def marks(observer: Observer, of: Scores) -> tuple[Marks, Marks]:
    found = observer.decide(of, text(of)).marks
    assert found is not None
    return found


# --- Qwen3Guard's evaluation (eval/eval_stream.py: consecutive_unsafe) -------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "label", "fired"),
    [
        ([S, U, U, S], "unsafe", 2),
        ([U, S, U, S], "safe", None),  # never two in a row
        ([S, U], "safe", None),
        ([U], "safe", None),  # one token is no pair
        ([S, C, C, S], "controversial", 2),
        ([C, C, S, U, U], "unsafe", 4),  # the whole response is searched for an unsafe pair first
        ([S, C, U, S], "safe", None),  # a mixed pair does not count
        ([C, U, C, U], "safe", None),
        ([U, U, U], "unsafe", 1),
    ],
)
def test_a_response_needs_two_neighbours_of_one_label(
    pairs: Observer, tokens: list[Sequence[float]], label: str, fired: int | None
) -> None:
    given_scores = scores(*tokens)
    observed = pairs.decide(given_scores, text(given_scores))

    assert observed.label.name == label
    strict = observed.marks[0] if observed.marks else Marks()
    assert (strict.run[1] if strict.run else None) == fired


@pytest.mark.parametrize(("last", "label"), [(S, Label.safe), (C, Label.controversial), (U, Label.unsafe)])
def test_a_prompt_is_read_at_its_last_position_only(pairs: Observer, last: Sequence[float], label: Label) -> None:
    given_scores = scores(U, U, C, C, S, last, role="prompt")
    observed = pairs.decide(given_scores, text(given_scores))

    assert observed.label is label
    assert observed.ranks == (round(1 - last[0], 4), last[2])
    assert observed.marks is None


def test_a_tie_goes_where_the_models_own_order_puts_it(pairs: Observer) -> None:
    safe_first = scores((0.4, 0.2, 0.4), role="prompt")
    unsafe_first = scores((0.2, 0.4, 0.4), role="prompt")

    assert pairs.decide(safe_first, "x").label is Label.safe
    assert pairs.decide(unsafe_first, "x").label is Label.unsafe


def test_an_earlier_controversial_pair_is_marked_but_does_not_fire_first(pairs: Observer) -> None:
    strict, loose = marks(pairs, scores(C, C, S, U, U))

    assert (strict.run, loose.run) == ((3, 4), (3, 4))
    assert (strict.spans, loose.spans) == (((0, 2), (3, 5)), ((3, 5),))


def test_a_guard_of_two_classes_is_never_controversial(tiny: Guard, pairs: Observer) -> None:
    policy = Observer(tiny.manifest, Policy(), "none", along=True)
    two = scores((0.45, 0, 0.55), (0.4, 0, 0.6), (0.9, 0, 0.1), two=True)

    for observer in (policy, pairs):
        assert observer.decide(two, "xxx").label is Label.unsafe
        strict, loose = marks(observer, two)
        assert strict == loose


def test_one_score_for_a_whole_text_ranks_and_marks_nothing(tiny: Guard) -> None:
    one = scores(U, trajectory=False)
    for reading in ("policy", "qwen3guard"):
        observed = Observer(tiny.manifest, Policy(), "none", reading=reading, along=True).decide(one, "x")

        assert observed.label is Label.unsafe
        assert observed.ranks == (0.9, 0.8)
        assert observed.marks is None


# --- the policy's own verdicts ----------------------------------------------------------------------------------

RULES = [Rule("hold", 2), Rule("hold", 3), Rule("max"), Rule("final")]
TOKENS = st.lists(st.tuples(*[st.integers(1, 20)] * 3), min_size=1, max_size=12)


@given(TOKENS, st.sampled_from(RULES), st.sampled_from([0.3, 0.5]), st.sampled_from([0.4, 0.6]))
def test_the_observer_sees_what_the_judge_says(
    tiny: Guard, tokens: list[tuple[int, int, int]], rule: Rule, unsafe: float, controversial: float
) -> None:
    rows = [tuple(round(part / sum(token), 4) for part in token) for token in tokens]
    policy = Policy(rule=rule, thresholds=Overrides(unsafe, controversial))
    given_scores = scores(*rows)
    verdict = Judge(tiny.manifest, policy).decide(given_scores, text(given_scores))
    observed = Observer(tiny.manifest, policy, "none", along=True).decide(given_scores, text(given_scores))
    strict, loose = marks(Observer(tiny.manifest, policy, "none", along=True), given_scores)

    assert (observed.label, observed.risk, observed.onset, observed.fired) == (
        verdict.label, verdict.risk, verdict.onset, verdict.fired,
    )  # fmt: skip
    assert observed.ranks[0] == verdict.risk
    assert (observed.ranks[1] >= unsafe) == (verdict.label is Label.unsafe)
    assert (loose.run is not None) == (verdict.label is Label.unsafe)
    assert (strict.run is not None) == (verdict.label > Label.safe)
    if verdict.onset and verdict.fired and strict.run:
        run = (verdict.onset.token, verdict.fired.token)
        assert (loose.run or strict.run) == run
        assert strict.run[1] <= run[1]
        marked = {offset for start, end in strict.spans for offset in range(start, end)}
        assert set(range(strict.run[0], strict.run[1] + 1)) <= marked or rule.kind == "final"


def test_what_is_marked_has_no_white_space_at_its_ends(tiny: Guard) -> None:
    given_scores = replace(scores(S, U, U, S), offsets=np.array([[0, 2], [2, 6], [6, 10], [10, 12]]))
    observed = Observer(tiny.manifest, Policy(), "none", along=True).decide(given_scores, "ab  cd ef gh")

    assert observed.marks is not None
    assert observed.marks[0].spans == ((4, 9),)


def test_an_ignored_category_fires_and_marks_nothing(tiny: Guard) -> None:
    given_scores = replace(scores(S, U, U), kinds=np.array([[0.1], [0.9], [0.9]]), categories=("Violent",))
    policy = Policy(ignore=frozenset({"Violent"}))

    assert marks(Observer(tiny.manifest, policy, "none", along=True), given_scores) == (Marks(), Marks())
