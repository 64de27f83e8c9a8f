"""Hostile text made visible: what a terminal, a log or a markup reader could act on is shown, not sent.

Covers: C0 and C1 controls (ANSI escapes among them), line and paragraph separators, zero-width and bidirectional
marks, the byte-order mark, lone surrogates, tags, and the code points that Unicode sets aside for more of these.
Does not cover: look-alike letters; blank ones such as the Hangul filler; variation selectors, which emoji need; markup
of a format (HTML, XML, workflow commands), which its own sink escapes.
"""

from __future__ import annotations

import re
import unicodedata

# Categories whose characters act instead of show: control, format, surrogate, line and paragraph separator.
_ACTING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Unassigned, but ignorable by default: what is yet to come here will not show (Default_Ignorable_Code_Point).
_RESERVED = frozenset({0x2065, *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE0100), *range(0xE01F0, 0xE1000)})
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\x1b", "\0": "\\0"}
# Every acting character is outside this class, so ordinary text costs one regular-expression scan.
_SUSPECT = re.compile(r"[^\x20-\x7e\u00a1-\u00ac\u00ae-\u05ff\u3040-\ud7a3]")

# A GitHub runner obeys `##[command]` anywhere in a line of a log, and `::command::` after leading white space
# (actions/runner, ActionCommand.cs); Azure and TeamCity obey `##vso[` and `##teamcity[`. The runner compares by
# culture, which passes over combining marks and variation selectors: hence the gaps.
_GAP = r"[^\w\x20-\x7e\n]*"
COMMAND = re.compile(rf"(#{_GAP})#(?={_GAP}+[A-Za-z]*+{_GAP}+\[)")  # possessive: no text makes it slow
_LEADING = re.compile(rf"^([^\w\x21-\x7e\n]*):(?={_GAP}:)", re.MULTILINE)


def visible(text: str) -> str:
    r"""Return `text` on one line with every acting character written as an escape such as `\x1b` or `\u202e`."""
    return _SUSPECT.sub(_escape, text)


def visible_lines(text: str) -> str:
    """Return `text` as `visible` does, but keep its line feeds and tabs."""
    return _SUSPECT.sub(lambda match: match[0] if match[0] in "\n\t" else _escape(match), text)


def _escape(match: re.Match[str]) -> str:
    character, code = match[0], ord(match[0])
    if unicodedata.category(character) not in _ACTING and code not in _RESERVED:
        return character
    if character in _NAMED:
        return _NAMED[character]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def inert(text: str, hash_mark: str = r"\x23", colon: str = r"\x3a") -> str:
    """Return lines of which no log reader takes one for a command; a markup gives its own escapes of `#` and `:`."""
    harmless = COMMAND.sub(lambda match: match[1] + hash_mark, text)
    return _LEADING.sub(lambda match: match[1] + colon, harmless)
