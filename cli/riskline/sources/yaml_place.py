"""Where the characters of a YAML scalar stand: its source read again the way a YAML scanner reads it.

The rules are those of libyaml's scanner (YAML 1.1), which reads the values. A scalar that comes out differently here
is placed as a whole, so a place is never wrong, only wide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from riskline.sources.places import region_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskline.records import Region, Span

_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_INNER = re.compile("[^\r\n\x85\u2028\u2029]*+")
# Anchor and tag in front of a scalar, and the space and comments after each.
_SPACE = "[ \t\r\n\x85\u2028\u2029]"
_MARKS = re.compile(rf"(?:[&!]\S*+(?:{_SPACE}++(?:#{_INNER.pattern})?)*+)*+")
_ESCAPES = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "\t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b",
    "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029",
}  # fmt: skip
_CODES = {"x": 2, "u": 4, "U": 8}


class Char(NamedTuple):
    """One character of the value, and the stretch of the source that it is written as."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class YamlPlace:
    """A scalar of `source` from `start` to `end`; `marked` where an anchor or a tag stands in front of it."""

    source: str
    start: int
    end: int
    style: str
    marked: bool
    text: str

    def region(self, span: Span) -> Region:
        """Return the region of `span`: a folded line break counts as the space it becomes."""
        at = self.start
        if self.marked and (match := _MARKS.match(self.source, at)):
            at = match.end()
        if self.style in ("|", ">"):
            readings = _block(self.source, at, self.style)
        else:
            readings = iter([_flow(self.source, at, self.end, self.style)])
        found = next(filter(None, (self._bounds(reading, span) for reading in readings)), (self.start, self.end))
        return region_in(self.source, *found)

    def _bounds(self, reading: Iterator[Char], span: Span) -> tuple[int, int] | None:
        """Return where `span` begins and ends in the source; None where the reading is another text."""
        start, end = span
        begin = finish = self.start
        size = 0
        for size, (character, at, after) in enumerate(reading, 1):
            if size > len(self.text):
                # Chomping takes line breaks off the end of a block; nothing else may be left over.
                return (begin, max(begin, finish)) if self.style in ("|", ">") else None
            if character != self.text[size - 1]:
                return None
            if size <= start + 1:
                begin = at if size == start + 1 else after
            if size == end:
                finish = after
        return (begin, max(begin, finish)) if size >= len(self.text) else None


def _flow(source: str, at: int, stop: int, style: str) -> Iterator[Char]:
    """Read a plain or quoted scalar: white space around line breaks goes, one break becomes a space."""
    quote = style if style in ("'", '"') else ""
    at += len(quote)
    stop -= len(quote)
    while at < stop:
        gap, escaped, after = _gap(source, at, stop, quote)
        yield from _folded(gap, escaped=escaped, after=after)
        at = after
        if at < stop and not _escaped_break(source, at, quote):
            char = _char(source, at, quote)
            yield char
            at = char.end


def _escaped_break(source: str, at: int, quote: str) -> re.Match[str] | None:
    return _BREAK.match(source, at + 1) if quote == '"' and source[at] == "\\" else None


def _char(source: str, at: int, quote: str) -> Char:
    if quote == "'" and source.startswith("''", at):
        return Char("'", at, at + 2)
    if quote != '"' or source[at] != "\\":
        return Char(source[at], at, at + 1)
    letter = source[at + 1]
    width = _CODES.get(letter, 0)
    digits = source[at + 2 : at + 2 + width]
    return Char(chr(int(digits, 16)) if width else _ESCAPES.get(letter, letter), at, at + 2 + width)


def _gap(source: str, at: int, stop: int, quote: str) -> tuple[list[Char], bool, int]:
    """Return the blanks and breaks from `at` on, whether an escaped break began them, and where they end.

    Blanks after the first break are indentation and are left out; before it they are there only if none follows.
    """
    blanks: list[Char] = []
    breaks: list[Char] = []
    escaped = False
    while at < stop:
        if not breaks and not escaped and (ending := _escaped_break(source, at, quote)):
            escaped, at = True, ending.end()
        elif ending := _BREAK.match(source, at, stop):
            breaks.append(Char(_normal(ending[0]), at, ending.end()))
            at = ending.end()
        elif source[at] in " \t":
            if not breaks and not escaped:
                blanks.append(Char(source[at], at, at + 1))
            at += 1
        else:
            break
    return (blanks + breaks if escaped else breaks or blanks), escaped, at


def _folded(gap: list[Char], *, escaped: bool, after: int) -> Iterator[Char]:
    if not gap or escaped or gap[0].text != "\n" or len(gap) == 1:
        if len(gap) == 1 and gap[0].text == "\n" and not escaped:
            yield Char(" ", gap[0].start, after)
            return
        yield from gap
        return
    yield from gap[1:]


def _normal(ending: str) -> str:
    return ending if ending in "\u2028\u2029" else "\n"


def _block(source: str, at: int, style: str) -> Iterator[Iterator[Char]]:
    """Read a literal or folded block scalar under every indentation it may have, the most likely first."""
    header = _INNER.match(source, at)
    assert header
    ending = _BREAK.match(source, header.end())
    begin = ending.end() if ending else header.end()
    for indent in range(_deepest(source, begin), -1, -1):
        yield _indented(source, begin, indent, folds=style == ">")


def _deepest(source: str, at: int) -> int:
    """Return the indentation of the first line that is not blank."""
    deepest = 0
    while at < len(source):
        line = _INNER.match(source, at)
        assert line
        text = line[0]
        deepest = len(text) - len(text.lstrip(" "))
        ending = _BREAK.match(source, line.end())
        if deepest < len(text) or not ending:
            break
        at = ending.end()
    return deepest


def _indented(source: str, at: int, indent: int, *, folds: bool) -> Iterator[Char]:
    """Yield every character, the line breaks at the end too, under a fixed indentation."""
    first: Char | None = None  # the break that ended the line before
    blank_before = False
    while True:
        breaks, at, inside = _margin(source, at, indent)
        text = _INNER.match(source, at)
        if not inside or not text or at >= len(source):
            yield from [first, *breaks] if first else breaks
            return
        blank = source[at] in " \t"
        if first and folds and first.text == "\n" and not blank_before and not blank:
            if not breaks:
                yield Char(" ", first.start, at)
        elif first:
            yield first
        yield from breaks
        yield from (Char(source[index], index, index + 1) for index in range(at, text.end()))
        blank_before = blank
        ending = _BREAK.match(source, text.end())
        first = Char(_normal(ending[0]), text.end(), ending.end()) if ending else None
        at = ending.end() if ending else text.end()


def _margin(source: str, at: int, indent: int) -> tuple[list[Char], int, bool]:
    """Pass over indentation and empty lines; say whether what follows is indented as far as the scalar is."""
    breaks: list[Char] = []
    while True:
        column = 0
        while column < indent and source.startswith(" ", at):
            column, at = column + 1, at + 1
        ending = _BREAK.match(source, at)
        if not ending:
            return breaks, at, column == indent
        breaks.append(Char(_normal(ending[0]), at, ending.end()))
        at = ending.end()
