"""Findings: a place, an excerpt that acts on nothing, and a fingerprint that outlives moves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_sinks import ANY, acting, judged

from riskline.finding import Redaction, excerpt, find
from riskline.records import Label, Point


def test_a_fingerprint_outlives_a_move() -> None:
    first, moved = find(judged("text", line=3)), find(judged("text", "other.jsonl", line=99))
    other = find(judged("texts", line=3))
    assert first
    assert moved
    assert other

    assert first.fingerprint == moved.fingerprint
    assert first.fingerprint != other.fingerprint


def test_a_redacted_fingerprint_is_keyed() -> None:
    one = judged("text")
    plain, keyed, other = find(one), find(one, Redaction(b"a")), find(one, Redaction(b"b"))
    assert plain
    assert keyed
    assert other

    assert len({plain.fingerprint, keyed.fingerprint, other.fingerprint}) == 3
    assert (plain.excerpt, keyed.excerpt) == ("text", None)


def test_a_safe_verdict_is_no_finding() -> None:
    assert find(judged("text", label=Label.safe)) is None


def test_a_guard_without_a_trajectory_finds_the_whole_text() -> None:
    one = judged("some text")

    finding = find(replace(one, verdict=replace(one.verdict, onset=None, fired=None)))

    assert finding
    assert finding.span == (0, 9)


def test_a_finding_points_at_the_word_not_at_the_space_before_it() -> None:
    one = judged("one\n\n two ")
    at = replace(one.verdict, onset=Point(1, (3, 9), 0.9), fired=Point(1, (3, 9), 0.9))

    finding = find(replace(one, verdict=at))

    assert finding
    assert (finding.span, finding.excerpt) == ((6, 9), "two")


def test_a_message_holds_no_acting_character_of_a_category() -> None:
    one = judged("text")

    finding = find(replace(one, verdict=replace(one.verdict, category="\x1b[31m\u202e")))

    assert finding
    assert not acting(finding.message)


@pytest.mark.parametrize(
    ("text", "span", "expected"),
    [
        ("one\ntwo\nthree", (4, 7), "two"),
        ("one\r\ntwo", (0, 3), "one"),
        ("a" * 100 + "b" * 100, (100, 200), "…" + "a" * 20 + "b" * 40 + "…"),
        ("", (0, 0), ""),
        ("\n\n", (0, 2), ""),
        ("x\u202ey", (0, 3), "x\\u202ey"),
    ],
)
def test_an_excerpt_is_the_line_on_which_the_risk_begins(text: str, span: tuple[int, int], expected: str) -> None:
    assert excerpt(text, span) == expected


@given(text=ANY, data=st.data())
def test_an_excerpt_is_one_visible_line_around_its_span(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))

    shown = excerpt(text, (start, end))

    assert "\n" not in shown
    assert not acting(shown)
