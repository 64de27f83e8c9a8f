from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskline.errors import ConfigurationError
from riskline.guard import Guard
from riskline.manifest import read_manifest
from riskline.policy import BUILT_IN, Judge, Overrides, Policy, load_policy
from riskline.records import Label, Record, Rule, Scores

TINY = read_manifest(Path(__file__).parent / "bundles" / "tiny")
CATEGORIES = TINY.roles["prompt"].categories


@st.composite
def scores(draw: st.DrawFn) -> Scores:
    tokens = draw(st.integers(1, 12))
    logits = np.array(draw(st.lists(st.floats(-6, 6), min_size=3 * tokens, max_size=3 * tokens))).reshape(tokens, 3)
    powers = np.exp(logits)
    risk = np.round(powers / powers.sum(axis=1, keepdims=True), 4)
    offsets = np.stack((np.arange(tokens), np.arange(tokens) + 1), axis=1)
    kinds = np.round((1 - risk[:, :1]) * np.linspace(0.2, 0.05, len(CATEGORIES)), 4)
    return Scores(risk[:, 0], risk[:, 2], risk[:, 1], kinds, CATEGORIES, offsets, "prompt")


thresholds = st.floats(0.01, 1)
policies = st.builds(
    Policy,
    thresholds=st.builds(Overrides, thresholds, thresholds),
    rule=st.sampled_from([None, Rule("max", 1), Rule("final", 1), Rule("hold", 3)]),
)


def label(policy: Policy, given_scores: Scores) -> Label:
    return Judge(TINY, policy).decide(given_scores, "x" * len(given_scores.offsets)).label


@given(scores(), policies, thresholds, thresholds)
def test_lower_thresholds_never_lower_a_label(given_scores: Scores, policy: Policy, one: float, two: float) -> None:
    current = policy.thresholds
    assert current.unsafe is not None
    assert current.controversial is not None
    stricter = replace(policy, thresholds=Overrides(min(one, current.unsafe), min(two, current.controversial)))

    assert label(stricter, given_scores) >= label(policy, given_scores)


@given(scores(), policies)
def test_strict_is_never_below_default_nor_default_below_loose(given_scores: Scores, policy: Policy) -> None:
    loose, default, strict = (label(replace(policy, reading=r), given_scores) for r in ("loose", "three", "strict"))

    assert loose <= default <= strict
    assert strict is not Label.controversial
    assert loose is not Label.controversial


@given(scores(), policies, st.sampled_from(CATEGORIES))
def test_escalating_a_category_never_lowers_a_label(given_scores: Scores, policy: Policy, category: str) -> None:
    assert label(replace(policy, escalate=frozenset({category})), given_scores) >= label(policy, given_scores)


@given(scores(), policies)
def test_label_and_risk_do_not_depend_on_the_trajectory(given_scores: Scores, policy: Policy) -> None:
    text = "x" * len(given_scores.offsets)
    none, tokens, segments = (
        Judge(TINY, policy, kind).decide(given_scores, text) for kind in ("none", "tokens", "segments")
    )

    assert none == replace(tokens, trajectory=None) == replace(segments, trajectory=None)


@given(scores(), policies)
def test_risk_is_what_its_own_token_says(given_scores: Scores, policy: Policy) -> None:
    verdict = Judge(TINY, policy).decide(given_scores, "x" * len(given_scores.offsets))

    assert verdict.risk == pytest.approx(1 - verdict.safe, abs=1e-9)
    assert (verdict.category is None) == (verdict.label is Label.safe)


def test_onset_and_fired_name_the_run(tiny: Guard) -> None:
    (verdict,) = tiny.judge([Record.of("a bomb now")])

    assert not isinstance(verdict, type(None))
    assert verdict.label is Label.unsafe  # type: ignore[union-attr]
    assert verdict.onset.span == (1, 6)  # type: ignore[union-attr]
    assert verdict.fired.span == (6, 7)  # type: ignore[union-attr]


def test_an_ignored_category_is_safe(tiny: Guard) -> None:
    (verdict,) = tiny.judge([Record.of("bomb it")], Policy(ignore=frozenset({"Violent"})))

    assert verdict.label is Label.safe  # type: ignore[union-attr]
    assert verdict.onset is None  # type: ignore[union-attr]
    assert verdict.risk > 0.9  # type: ignore[union-attr]


def test_an_ignored_category_hides_no_other(tiny: Guard) -> None:
    text = "rude rude rude bomb bomb bomb bomb bomb"
    (verdict,) = tiny.judge([Record.of(text)], Policy(ignore=frozenset({"Unethical Acts"})))

    assert verdict.label is Label.unsafe  # type: ignore[union-attr]
    assert verdict.category == "Violent"  # type: ignore[union-attr]


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "house.toml"
    path.write_text(text)
    return str(path)


def test_a_policy_file_sets_what_it_names(tmp_path: Path) -> None:
    policy = load_policy(
        write(
            tmp_path,
            """
            reading = "strict"
            rule = { kind = "hold", n = 3 }
            ignore = ["PII"]
            escalate = ["Violent"]
            [thresholds]
            unsafe = 0.8
            [roles.response]
            unsafe = 0.3
            """,
        )
    )

    assert policy.name == "house"
    assert policy.rule == Rule("hold", 3)
    assert policy.limits(TINY, "prompt").unsafe == 0.8
    assert policy.limits(TINY, "prompt").controversial == TINY.thresholds.controversial
    assert policy.limits(TINY, "response").unsafe == 0.3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("threshold = 0.5", "unknown key `threshold`"),
        ("[thresholds]\nunsafe = 2", "`unsafe` is 2.0; expected a number between 0 and 1"),
        ('rule = { kind = "never" }', "`kind` is 'never'; expected hold or final or max"),
        ('reading = "lax"', "expected three or strict or loose"),
        ("[roles.system]\nunsafe = 0.5", "expected prompt or response"),
        ("unsafe =", "is not TOML"),
        ("ignore = [1]", "expected a list of texts"),
    ],
)
def test_a_wrong_policy_file_names_the_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_policy(write(tmp_path, text))

    assert message in str(caught.value)


def test_a_missing_policy_names_the_built_in_ones() -> None:
    with pytest.raises(ConfigurationError, match="default, strict, loose"):
        load_policy("strickt")


def test_a_category_that_the_guard_lacks_is_refused(tiny: Guard) -> None:
    with pytest.raises(ConfigurationError, match="names the category `Volent`"):
        list(tiny.judge([Record.of("x")], Policy(ignore=frozenset({"Volent"}))))


def test_the_hash_follows_what_is_set() -> None:
    assert len({policy.id for policy in BUILT_IN.values()}) == 3
    assert Policy().id == Policy().id
    assert Policy(thresholds=Overrides(0.4)).id != Policy().id


# --- Qwen3Guard's rule, on labels --------------------------------------------------------------------------------


def by_labels(labels: str, rule: Rule, closing: str = "") -> tuple[Label, int | None]:
    """Judge tokens that are each (s)afe, (u)nsafe or (c)ontroversial without doubt."""
    rows = {"s": (1.0, 0.0, 0.0), "c": (0.0, 1.0, 0.0), "u": (0.0, 0.0, 1.0)}
    found = np.array([rows[label] for label in labels])
    scores = Scores(
        safe=found[:, 0],
        controversial=found[:, 1],
        unsafe=found[:, 2],
        kinds=np.zeros((len(labels), 0)),
        categories=(),
        offsets=np.array([(i, i + 1) for i in range(len(labels))]),
        role="response",
        closing=np.array([rows[label] for label in closing]).reshape(-1, 3) if closing else None,
    )
    verdict = Judge(TINY, Policy(rule=rule)).decide(scores, "x" * len(labels))
    return verdict.label, verdict.fired.token if verdict.fired else None


@pytest.mark.parametrize(
    ("labels", "closing", "code", "report"),
    [
        ("ssss", "", (Label.safe, None), (Label.safe, None)),
        ("suss", "", (Label.safe, None), (Label.safe, None)),
        ("suus", "", (Label.unsafe, 2), (Label.unsafe, 2)),
        ("sccs", "", (Label.controversial, 2), (Label.controversial, 2)),
        ("ccsuu", "", (Label.unsafe, 4), (Label.controversial, 1)),  # unsafe anywhere outranks, by the code
        ("sucs", "", (Label.safe, None), (Label.controversial, 2)),  # a mixed pair, which only the report counts
        ("scus", "", (Label.safe, None), (Label.unsafe, 2)),
        ("sssu", "us", (Label.unsafe, 3), (Label.safe, None)),  # what closes the turn counts by the code alone
        ("u", "", (Label.unsafe, 0), (Label.unsafe, 0)),
    ],
)
def test_pairs_of_labels_decide_as_qwen3guards_authors_do(
    labels: str, closing: str, code: tuple[Label, int | None], report: tuple[Label, int | None]
) -> None:
    assert by_labels(labels, Rule("argmax-pairs", 2, "code"), closing) == code
    assert by_labels(labels, Rule("argmax-pairs", 2, "report"), closing) == report


def test_a_rule_without_thresholds_refuses_them() -> None:
    policy = Policy(rule=Rule("argmax-pairs"), thresholds=Overrides(unsafe=0.5))
    with pytest.raises(ConfigurationError, match="knows none"):
        policy.check(TINY)
