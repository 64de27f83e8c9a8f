from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskline.records import Rule
from riskline.trajectory import fires, level, segment_peaks, segments

SERIES = st.lists(st.integers(0, 10_000).map(lambda n: n / 10_000), min_size=1, max_size=40).map(np.array)
RULES = st.one_of(st.integers(1, 6).map(lambda n: Rule("hold", n)), st.just(Rule("max", 1)), st.just(Rule("final", 1)))


@pytest.mark.parametrize(
    ("series", "rule", "expected"),
    [
        ([0.1, 0.9, 0.2, 0.8, 0.7], Rule("hold", 2), (3, 4)),
        ([0.1, 0.9, 0.2, 0.8, 0.7], Rule("max", 1), (1, 1)),
        ([0.1, 0.9, 0.2, 0.8, 0.7], Rule("final", 1), (3, 4)),
        ([0.9, 0.9, 0.1], Rule("final", 1), None),
        ([0.9], Rule("hold", 2), (0, 0)),
        ([0.9, 0.1, 0.9], Rule("hold", 2), None),
        ([0.5, 0.5], Rule("hold", 2), (0, 1)),
    ],
)
def test_a_rule_fires_where_it_says(series: list[float], rule: Rule, expected: tuple[int, int] | None) -> None:
    assert fires(np.array(series), 0.5, rule) == expected


@given(SERIES, RULES)
def test_the_level_is_the_highest_threshold_that_still_fires(series: np.ndarray, rule: Rule) -> None:
    height = series[level(series, rule)]

    assert fires(series, height, rule)
    assert not fires(series, height + 1e-9, rule)


@given(SERIES, RULES, st.floats(0, 1), st.floats(0, 1))
def test_a_lower_threshold_never_unfires(series: np.ndarray, rule: Rule, one: float, two: float) -> None:
    low, high = sorted((one, two))

    if fires(series, high, rule):
        assert fires(series, low, rule)


@given(SERIES, st.integers(1, 5), st.floats(0, 1))
def test_hold_fires_first_where_a_live_stream_could_say_so(series: np.ndarray, n: int, threshold: float) -> None:
    rule = Rule("hold", n)
    run = fires(series, threshold, rule)

    if run and len(series) >= n:
        onset, fired = run
        assert fired - onset == n - 1
        assert (series[onset : fired + 1] >= threshold).all()
        assert len(series[:fired]) < n or not fires(series[:fired], threshold, rule)


@given(st.text())
def test_segments_are_the_text_in_order(text: str) -> None:
    assert "".join(text[start:end] for start, end in segments(text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two", ["One. ", "Two"]),
        ("你好。再见！好", ["你好。", "再见！", "好"]),
        ("v1.5 is out\nnow", ["v1.5 is out\n", "now"]),
        ("नमस्ते। फिर", ["नमस्ते। ", "फिर"]),
        ("", []),
    ],
)
def test_segments_end_at_sentences_and_lines(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in segments(text)] == expected


def test_a_segment_carries_its_highest_token() -> None:
    text = "ab. cd"
    offsets = np.array([[0, 1], [1, 3], [3, 5], [5, 6]])

    peaks = segment_peaks(segments(text), offsets, np.array([0.1, 0.4, 0.9, 0.3]))

    assert peaks == [((0, 4), 1), ((4, 6), 2)]
