"""Hostile text made visible: nothing acts, nothing is lost, and ordinary text of any script stays as it is."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from riskline.escape import visible, visible_lines

ACTING: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Code points that no font shows, set aside for characters that would act (Default_Ignorable_Code_Point, unassigned).
RESERVED = [0x2065, *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE0100), *range(0xE01F0, 0xE1000)]
ANY = st.text(st.characters())  # lone surrogates as well
HOSTILE = [
    ("\x1b[2J\x1b]8;;http://x\x07", r"\x1b[2J\x1b]8;;http://x\x07"),
    ("one\ntwo\rthree\tfour\0", r"one\ntwo\rthree\tfour\0"),
    ("\x7f\x80\x85\x9b31m", r"\x7f\x80\x85\x9b31m"),
    ("abc\u202etxt.exe\u2069", r"abc\u202etxt.exe\u2069"),
    ("pay\u200bpal\u2060 so\u00adft \u061c", r"pay\u200bpal\u2060 so\xadft \u061c"),
    ("\u2028\u2029", r"\u2028\u2029"),
    ("\ufeffmark", r"\ufeffmark"),
    ("\ud800 alone", r"\ud800 alone"),
    ("\U000e0001\U000e0041\U000e007f", r"\U000e0001\U000e0041\U000e007f"),
]
ORDINARY = [
    "plain ASCII: ~!@#$%^&*()[]{}<>|\\/'\"`",
    "Ünïcödé",
    "e\u0301",
    "Ελληνικά",
    "Русский",
    "你好，世界",
    "こんにちは",
    "안녕하세요",
    "tiếng Việt",
    "مرحبا",
    "שָׁלוֹם",
    "नमस्ते",
    "ก็",
    "አማርኛ",
    "👍🏽 ❤️ 🇩🇪",
    "𝒳 𓀀",
    "no\u00a0break",
]


@given(ANY)
@example("".join(map(chr, range(0x3000))))
@example("".join(map(chr, RESERVED)))
def test_nothing_that_is_shown_acts(text: str) -> None:
    shown = visible(text)

    assert not [character for character in shown if unicodedata.category(character) in ACTING]
    assert not set(shown) & set(map(chr, RESERVED))
    shown.encode()


@given(ANY)
def test_what_is_visible_already_stays(text: str) -> None:
    assert visible(visible(text)) == visible(text)


@given(st.text(st.characters(exclude_categories=ACTING, exclude_characters=[chr(code) for code in RESERVED])))
def test_text_without_acting_characters_stays(text: str) -> None:
    assert visible(text) == text
    assert visible_lines(text) == text


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_of_any_script_stays(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_an_acting_character_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(st.characters(exclude_characters="\\")))
def test_an_escape_says_which_character_it_stands_for(text: str) -> None:
    read = visible(text).encode("ascii", "backslashreplace").replace(b"\\0", b"\\x00").decode("unicode_escape")

    assert read == text


@given(ANY)
def test_only_line_feeds_and_tabs_are_kept_where_lines_are_kept(text: str) -> None:
    kept = visible_lines(text)

    assert visible(kept) == visible(text)
    assert re.split(r"[\n\t]", kept) == [visible(part) for part in re.split(r"[\n\t]", text)]


@given(st.text(), st.text())
def test_parts_are_shown_as_the_whole_is(before: str, after: str) -> None:
    assert visible(before) + visible(after) == visible(before + after)
