"""Places: whatever the format, a region of the physical file holds exactly the characters of its span."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from riskline.records import Record, Region, Span
from riskline.sources import SourceOptions, read
from riskline.sources.yaml_place import YamlPlace

if TYPE_CHECKING:
    from collections.abc import Sequence

TRICKY = [
    *("a", "b", " ", "  ", "\n", "\r\n", "\t", '"', '""', "'", "''", "\\", "\\n", ",", ":", ": ", " #", "#", "-", "é"),
    *(
        "e\u0301",
        "漢",
        "😀",
        "👩\u200d👩",
        "\u200b",
        "\u202e",
        "\0",
        "\x1b",
        "\x7f",
        "\x85",
        "\u2028",
        "\ufeff",
        "\ud7ff",
    ),
    "\U0010ffff",
]
texts = st.lists(st.sampled_from(TRICKY) | st.characters(exclude_categories=["Cs"]), max_size=25).map("".join)


@st.composite
def texts_with_spans(draw: st.DrawFn, alphabet: st.SearchStrategy[str] = texts) -> tuple[str, Span]:
    text = draw(alphabet)
    start = draw(st.integers(0, len(text)))
    return text, (start, draw(st.integers(start, len(text))))


def records(data: bytes, **options: str) -> list[Record]:
    items = list(read(["-"], SourceOptions(**options), io.BytesIO(data)))  # type: ignore[arg-type]
    return [item for item in items if isinstance(item, Record)]


def cut(source: str, region: Region) -> str:
    """Return what stands in a region, found in the slow and obvious way."""
    lines = source.split("\n")

    def index(line: int, column: int) -> int:
        assert column >= 1
        return sum(len(text) + 1 for text in lines[: line - 1]) + column - 1

    return source[index(region.line, region.column) : index(region.end_line, region.end_column)]


def region_of(source: str, span: Span, *, turn: int = -1, record: int = 0, **options: str) -> Region:
    found = records(source.encode(), **options)[record].turns[turn]
    assert found.place is not None
    return found.place.region(span)


# --- text and lines ---------------------------------------------------------------------------------------------


@given(texts_with_spans())
def test_a_region_of_a_text_is_the_text(case: tuple[str, Span]) -> None:
    text, span = case
    text, span = (text.removeprefix("\ufeff"), span) if not text.startswith("\ufeff") else ("x" + text, span)

    region = region_of(text, span, input_format="text")

    assert cut(text, region) == text[slice(*span)]


@given(st.lists(texts.map(lambda text: text.replace("\n", "")), min_size=1, max_size=4), st.data())
def test_a_region_of_a_line_is_that_line(lines: list[str], data: st.DataObject) -> None:
    source = "".join(f"x{line}y\n" for line in lines)

    found = records(source.encode(), input_format="lines")
    index = data.draw(st.integers(0, len(found) - 1))
    turn = found[index].turns[0]
    assert turn.place is not None
    region = turn.place.region((1, len(turn.text) - 1))

    assert region.line == found[index].origin.line == index + 1
    assert cut(source, region) == lines[index]


@pytest.mark.parametrize(
    ("source", "span", "expected"),
    [
        ("abc", (1, 2), Region(1, 2, 1, 3)),
        ("a\nb", (2, 3), Region(2, 1, 2, 2)),
        ("a\r\nb", (3, 4), Region(2, 1, 2, 2)),
        ("a\rb", (2, 3), Region(1, 3, 1, 4)),
        ("a\nb", (0, 3), Region(1, 1, 2, 2)),
        ("\ufeffab", (0, 1), Region(1, 1, 1, 2)),
        ("😀é", (1, 2), Region(1, 2, 1, 3)),
        ("", (0, 0), Region(1, 1, 1, 1)),
    ],
)
def test_lines_end_at_line_feeds_and_columns_are_code_points(source: str, span: Span, expected: Region) -> None:
    assert region_of(source, span, input_format="text") == expected


# --- JSON -------------------------------------------------------------------------------------------------------


def literal(text: str, choices: Sequence[bool]) -> str:
    """Write a JSON string, some characters escaped though they need not be."""
    out = []
    for index, character in enumerate(text):
        escape = choices[index % len(choices)]
        out.append(json.dumps(character, ensure_ascii=escape)[1:-1])
        if escape and character == "/":
            out[-1] = "\\/"
    return '"' + "".join(out) + '"'


choices = st.lists(st.booleans(), min_size=1, max_size=5)


@given(texts_with_spans(), choices)
def test_a_region_of_a_json_string_parses_to_the_text(case: tuple[str, Span], escapes: list[bool]) -> None:
    text, span = case
    source = f'{{"n": [1, {{"text": "no"}}], "text": {literal(text, escapes)}, "after": "x"}}'

    region = region_of(source, span, input_format="jsonl")

    assert json.loads('"' + cut(source, region) + '"', strict=False) == text[slice(*span)]


@given(texts_with_spans(), choices, st.integers(0, 3))
def test_a_region_of_a_json_document_parses_to_the_text(
    case: tuple[str, Span], escapes: list[bool], indent: int
) -> None:
    text, span = case
    message = f'{{"role": "user",\n "content": {literal(text, escapes)}}}'
    source = f'\n [{{"text": "a"}},\n\r\n{" " * indent}{{"messages": [{message}]}}]\n'

    region = region_of(source, span, record=1, input_format="json")

    assert region.line == 5
    assert json.loads('"' + cut(source, region) + '"', strict=False) == text[slice(*span)]


@given(st.lists(texts.filter(bool), min_size=1, max_size=4), choices, st.data())
def test_a_region_of_joined_parts_goes_from_part_to_part(
    parts: list[str], escapes: list[bool], data: st.DataObject
) -> None:
    source = '{"messages": [{"role": "user", "content": ['
    begins: list[int] = []
    ends: list[int] = []
    for part in parts:
        source += ', {"type": "text", "text": ' if begins else '{"type": "text", "text": '
        begins.append(len(source) + 1)
        source += literal(part, escapes)
        ends.append(len(source) - 1)
        source += "}"
    source += "]}]}"
    first = data.draw(st.integers(0, len(parts) - 1))
    last = data.draw(st.integers(first, len(parts) - 1))
    start = sum(len(part) + 1 for part in parts[:first])
    end = sum(len(part) + 1 for part in parts[: last + 1]) - 1

    region = region_of(source, (start, end), input_format="jsonl")

    assert region == Region(1, begins[first] + 1, 1, ends[last] + 1)


@given(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | texts,
                    lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=12),
       texts)  # fmt: skip
def test_any_json_around_a_text_is_passed_over(value: object, text: str) -> None:
    line = json.dumps({"before": value, "meta": {"text": "no"}, "text": text, "after": value})

    region = region_of(line, (0, len(text)), input_format="jsonl")

    assert json.loads('"' + cut(line, region) + '"') == text


@pytest.mark.parametrize(
    ("source", "span", "columns"),
    [
        (r'{"text":"a\ud83d\ude00b"}', (1, 2), (11, 23)),
        (r'{"text":"a\ud83d\ude00b"}', (2, 3), (23, 24)),
        ('{"text":"\\n😀"}', (0, 2), (10, 13)),
        ('{"text":"first","text":"last"}', (0, 4), (25, 29)),
        ('{"\\u0074ext":"x"}', (0, 1), (15, 16)),
        ('{"text":""}', (0, 0), (10, 10)),
        ('  {"text" : "x"}', (0, 1), (14, 15)),
        ('\ufeff{"text":"x"}', (0, 1), (10, 11)),
    ],
)
def test_columns_of_json_strings(source: str, span: Span, columns: tuple[int, int]) -> None:
    assert region_of(source, span, input_format="jsonl") == Region(1, columns[0], 1, columns[1])


def test_a_text_beside_deep_nesting_is_found_without_recursion() -> None:
    source = f'{{"deep": {"[" * 1000}{"]" * 1000}, "text": "x"}}'

    assert cut(source, region_of(source, (0, 1), input_format="jsonl")) == "x"


# --- YAML -------------------------------------------------------------------------------------------------------

yaml_texts = texts.map(lambda text: "".join(c for c in text if c.isprintable() or c in "\n\t"))
STYLES = {"plain": "", "single": "'", "double": '"', "literal": "|", "folded": ">"}


def decode(piece: str, style: str) -> str:
    """Decode one character's source."""
    if style == "'":
        return piece.replace("''", "'")
    return str(yaml.safe_load(f'"{piece}"')) if style == '"' else piece


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@given(text=yaml_texts, width=st.sampled_from([4, 20, 1000]), indent=st.integers(2, 6), crlf=st.booleans())
def test_every_character_of_a_yaml_scalar_has_its_region(
    *, loader: str, style: str, text: str, width: int, indent: int, crlf: bool
) -> None:
    dumped = yaml.dump([{"id": 1, "text": text, "z": "after"}], default_style=style or None, width=width, indent=indent,
                       allow_unicode=True, line_break="\r\n" if crlf else "\n")  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        if loader == "SafeLoader":
            patch.delattr(yaml, "CSafeLoader")
        found = records(dumped.encode(), input_format="yaml")
    if not found:  # dumped as something that is no string when it is read
        return
    turn = found[0].turns[0]
    place = turn.place
    assert place is not None
    regions = [place.region((index, index + 1)) for index in range(len(turn.text))]

    used = getattr(place, "style", "")
    for character, region in zip(turn.text, regions, strict=True):
        piece = cut(dumped, region)
        if character in " \n":
            assert piece.strip(' \t\r\n"\\n') == ""
        else:
            assert decode(piece, used) == character
    assert regions == sorted(regions, key=lambda region: (region.line, region.column))


@pytest.mark.parametrize(
    ("source", "text", "span", "piece"),
    [
        ("text: plain text\n", "plain text", (6, 10), "text"),
        ("text: two\n  lines\n", "two lines", (4, 9), "lines"),
        ("text: two\n  lines\n", "two lines", (2, 5), "o\n  l"),
        ("text: two\n\n\n  lines\n", "two\n\nlines", (5, 6), "l"),
        ("text: 'it''s'\n", "it's", (2, 3), "''"),
        ("text: 'it''s'\n", "it's", (3, 4), "s"),
        ('text: "a\\u00e9\\n\\U0001F600"\n', "aé\n😀", (1, 2), "\\u00e9"),
        ('text: "a\\u00e9\\n\\U0001F600"\n', "aé\n😀", (3, 4), "\\U0001F600"),
        ('text: "a \\\n   b"\n', "a b", (2, 3), "b"),
        ('text: "a\n  \\\n   b"\n', "a b", (2, 3), "b"),
        ('text: "a\\\n\n   b"\n', "a\nb", (2, 3), "b"),
        ('text: "a\\x41\\tb\\/"\n', "aA\tb/", (1, 2), "\\x41"),
        ("text: |\n  one\n   two\n", "one\n two\n", (4, 8), " two"),
        ("text: |\n  one\n   two\n", "one\n two\n", (3, 4), "\n"),
        ("text: |1-\n  one\n two\n", " one\ntwo", (1, 4), "one"),
        ("text: | # note\n\n  one\n\n  two\n\n", "\none\n\ntwo\n", (6, 9), "two"),
        ("text: |+\n  a\n\n\n", "a\n\n\n", (0, 1), "a"),
        ("text: >\n  one\n  two\n\n  three\n", "one two\nthree\n", (4, 7), "two"),
        ("text: >\n  one\n  two\n\n  three\n", "one two\nthree\n", (8, 13), "three"),
        ("text: >-\n  one\n\n    more\n  two", "one\n\n  more\ntwo", (7, 11), "more"),
        ("text: &a !!str # note\n  'x'\n", "x", (0, 1), "x"),
        ("text: !!str |\n  x\n", "x\n", (0, 1), "x"),
        ("base: &a hello\ntext: *a\n", "hello", (1, 3), "el"),
        ("base: &b {text: hello}\n<<: *b\n", "hello", (0, 5), "hello"),
        ("<<: [{text: no}, {text: no}]\ntext: own\n", "own", (0, 3), "own"),
        ("text: one\u2028  two\n\n", "one\u2028two", (4, 7), "two"),
        ('text: "one\u2028  two"\n', "one\u2028two", (4, 7), "two"),
        ('text: ""\n', "", (0, 0), ""),
        ("text: abc\n", "abc", (3, 3), ""),
        ("text: |", "", (0, 0), ""),
        ("text: |+\n\n  \n", "\n\n", (0, 2), "\n  \n"),
        ("text: |2\n    \n  a\n", "  \na\n", (3, 4), "a"),
        ("text: >\n  a\n  \tb\n  c", "a\n\tb\nc", (2, 4), "\tb"),
        ("text: !!str\nz: 1\n", "", (0, 0), ""),
    ],
)
def test_yaml_scalars_are_read_as_they_stand(source: str, text: str, span: Span, piece: str) -> None:
    found = records(source.encode(), input_format="yaml")

    turn = found[0].turns[0]
    assert turn.text == text
    assert turn.place is not None
    assert cut(source, turn.place.region(span)) == piece


def test_a_scalar_that_reads_otherwise_is_placed_as_a_whole() -> None:
    for style, source, text in [("", "text: abc\n", "xbc"), ("", "text: abc\n", "ab"), ("", "text: abc\n", "abcd")]:
        assert YamlPlace(source, 6, 9, style, marked=False, text=text).region((0, 1)) == Region(1, 7, 1, 10)


# --- CSV --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "delimiter"), [("csv", ","), ("tsv", "\t")])
@given(
    rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=4),
    crlf=st.booleans(),
    every=st.booleans(),
    data=st.data(),
)
def test_a_region_of_a_cell_is_the_cell(
    *, name: str, delimiter: str, rows: list[tuple[str, str]], crlf: bool, every: bool, data: st.DataObject
) -> None:
    rows = [(one.replace("\r", ""), two.replace("\r", "")) for one, two in rows]
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL if every else csv.QUOTE_MINIMAL,
                        lineterminator="\r\n" if crlf else "\n")  # fmt: skip
    writer.writerows([("other", "text"), *rows])
    source = buffer.getvalue()

    found = records(source.encode(), input_format=name)

    assert [record.turns[0].text for record in found] == [two for _, two in rows]
    turn = found[data.draw(st.integers(0, len(rows) - 1))].turns[0]
    start = data.draw(st.integers(0, len(turn.text)))
    end = data.draw(st.integers(start, len(turn.text)))
    assert turn.place is not None
    piece = cut(source, turn.place.region((start, end)))
    quoted = getattr(turn.place, "quoted", False)
    assert (piece.replace('""', '"') if quoted else piece) == turn.text[start:end]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ((0, 1), Region(2, 4, 2, 5)),
        ((1, 2), Region(2, 5, 2, 7)),
        ((3, 4), Region(3, 1, 3, 2)),
        ((0, 4), Region(2, 4, 3, 2)),
    ],
)
def test_quotes_and_line_feeds_inside_a_cell_count_as_they_stand(span: Span, expected: Region) -> None:
    assert region_of('id,text\n1,"a""\nb"\n', span, input_format="csv") == expected
