"""Reading: formats, bad input, stdin, named files; order, line numbers and flat memory."""

from __future__ import annotations

import gzip
import io
import os
import threading
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from riskline.errors import InputError, RisklineError, UsageError
from riskline.records import Chosen, Failure, Record, Skip
from riskline.sources import FORMATS, Item, SourceOptions, read

KNOWN = "expected `messages`, `conversations`, `prompt` or `text`"
DEEP = b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}"


def from_stdin(data: bytes, **options: Any) -> list[Item]:
    return list(read(["-"], SourceOptions(**options), io.BytesIO(data)))


def outcomes(data: bytes, **options: Any) -> list[Record | Failure]:
    return [item for item in from_stdin(data, **options) if isinstance(item, Record | Failure)]


def brief(items: Sequence[Item]) -> list[tuple[object, ...]]:
    """Name what matters of each item: code or text, and where."""
    out: list[tuple[object, ...]] = []
    for item in items:
        if isinstance(item, Record):
            out.append((item.turns[item.judged[0]].text, item.origin.line))
        elif isinstance(item, Failure):
            out.append((item.code, item.origin.line))
        else:
            out.append((type(item).__name__, item.path, item.format if isinstance(item, Chosen) else item.reason))
    return out


# --- bad input: a failure in its place --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (b"x", "invalid-json", "not JSON at column 1: "),
        (b'{"text":"a"', "invalid-json", "not JSON at column 12: "),
        (b'{"text": NaN}', "invalid-json", "not JSON at column 10: "),
        (b'{"text": -Infinity}', "invalid-json", "not JSON at column 11: "),
        (b'{"text": 1e999}', "invalid-json", "not JSON at column 10: "),
        (b"[1]", "not-an-object", "found a list; expected an object"),
        (b'"text"', "not-an-object", "found a string; expected an object"),
        (b"null", "not-an-object", "found null; expected an object"),
        (b"{}", "missing-field", f"the record has no fields; {KNOWN}"),
        (b'{"a\\u001b":1}', "missing-field",
         f"the record has `a\\x1b`; {KNOWN}"),
        (b'{"text": null}', "missing-field", f"the record has `text` (null); {KNOWN}"),
        (b'{"text": 1}', "wrong-type", "`text` is a number; expected a string"),
        (b'{"text": true}', "wrong-type", "`text` is a boolean; expected a string"),
        (b'{"text":"\xff"}', "invalid-utf8", "byte 0xff at column 10; expected UTF-8"),
        ('{"text":"é'.encode() + b'\xed\xa0\x80"}', "invalid-utf8", "byte 0xed at column 11; expected UTF-8"),
        (b'{"text":"\\ud800"}', "lone-surrogate",
         "an escape at column 10 is half of a surrogate pair; expected whole characters"),
        (b'{"a":1,"text":"\\udc00 x"}', "lone-surrogate",
         "an escape at column 16 is half of a surrogate pair; expected whole characters"),
        (DEEP, "nested-too-deep", "values are nested too deep at column 1030; expected 1,024 levels at most"),
        (b'{"text":"' + b"a" * 5000 + b'"}', "too-large",
         "the record is over 4096 bytes, the limit of `--max-record-bytes`"),
    ],
)  # fmt: skip
def test_a_bad_line_is_a_failure_in_its_place(line: bytes, code: str, message: str) -> None:
    data = b'{"text":"before"}\n' + line + b'\n{"text":"after"}\n'

    found = outcomes(data, max_record_bytes=4096, input_format="jsonl")

    assert brief(found) == [("before", 1), (code, 2), ("after", 3)]
    failure = found[1]
    assert isinstance(failure, Failure)
    # What the parser says behind its colon is its own.
    assert failure.message == message or (code == "invalid-json" and failure.message.startswith(message))
    whole_object = code in {"missing-field", "wrong-type"}
    assert failure.raw == (line if whole_object else None)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a\n\xff\n\nb", [("a", 1), ("invalid-utf8", 2), ("", 3), ("b", 4)]),
        (b"a\r\nb\r\r\n", [("a", 1), ("b\r", 2)]),
        (b"a\rb\x0bc\xe2\x80\xa8\n", [("a\rb\x0bc\u2028", 1)]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", [("a", 1), ("\ufeffb", 2)]),
        (b"", []),
        (b"\n", [("", 1)]),
        (b"  \n", [("  ", 1)]),
        (b"123456789\nb", [("too-large", 1), ("b", 2)]),
        (b"12345678\r\nb", [("12345678", 1), ("b", 2)]),
        (b"\xef\xbb\xbf12345678\n123456789", [("12345678", 1), ("too-large", 2)]),
    ],
)
def test_lines_are_records_also_when_they_are_empty(data: bytes, expected: list[tuple[str, int]]) -> None:
    assert brief(outcomes(data, input_format="lines", max_record_bytes=8)) == expected


@pytest.mark.parametrize("name", ["text", "markdown"])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", [("", 1)]),
        (b" \n\t", [(" \n\t", 1)]),
        (b"a\0\x1b[31m\n", [("a\0\x1b[31m\n", 1)]),
        (b"\xef\xbb\xbf12345678", [("12345678", 1)]),
        (b"123456789", [("too-large", 1)]),
        (b"a\n\xc3", [("invalid-utf8", 1)]),
    ],
)
def test_a_text_is_one_record_whatever_it_holds(name: str, data: bytes, expected: list[tuple[str, int]]) -> None:
    assert brief(outcomes(data, input_format=name, max_record_bytes=8)) == expected


def test_a_broken_text_names_the_byte_and_what_utf_16_is() -> None:
    (broken,) = outcomes("é\né".encode() + b"\xff", input_format="text")
    (wide,) = outcomes("hello".encode("utf-16"), input_format="text")

    assert isinstance(broken, Failure)
    assert broken.message == "byte 0xff at line 2, column 2; expected UTF-8"
    assert isinstance(wide, Failure)
    assert wide.message.startswith("the text begins like UTF-16")


def test_blank_lines_of_jsonl_are_no_records_but_count() -> None:
    assert brief(outcomes(b'\n{"text":"a"}\n \t\r\n\n{"text":"b"}', input_format="jsonl")) == [("a", 2), ("b", 5)]


def test_raw_is_the_line_without_its_end_and_without_a_byte_order_mark() -> None:
    found = outcomes(b'\xef\xbb\xbf {"text":"a", "n":1.50}\r\n{"text":"b"} \n', input_format="jsonl")

    assert [item.raw for item in found] == [b' {"text":"a", "n":1.50}', b'{"text":"b"} ']


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{\n "text": "a"\n}\n', [("a", 1)]),
        (b'[{"text":"a"},\n{"text":"b"}\n]', [("a", 1), ("b", 2)]),
        (b"[]", []),
        (b" [ ] ", []),
        (b'[{"text":"a"}, 1, {"b":1},\n{"text":"\\ud800"}]',
         [("a", 1), ("not-an-object", 1), ("missing-field", 1), ("lone-surrogate", 2)]),
        (b'[{"text":"a"},\n {"text":"b"]}', [("a", 1), ("invalid-json", 2), ("invalid-json", 2)]),
        (b'[{"text":"a"}\n {"text":"b"}]', [("a", 1), ("invalid-json", 2)]),
        (b'[{"text":"a"},\n', [("a", 1), ("invalid-json", 2)]),
        (b'[{"text":"a"},]', [("a", 1), ("invalid-json", 1)]),
        (b'[{"text":"a"}] x', [("a", 1), ("invalid-json", 1)]),
        (b'{"text":"a"}\n{"text":"b"}', [("invalid-json", 1)]),
        (b'{"text":"a', [("invalid-json", 1)]),
        (b"5", [("not-an-object", 1)]),
        (b"  ", [("not-an-object", 1)]),
        (b"\xff", [("invalid-utf8", 1)]),
        (b'\n\n{"text":nope}', [("invalid-json", 3)]),
        (b'[{"text":"a"},{"text":"' + b"b" * 99 + b'"}]', [("a", 1), ("too-large", 1)]),
        (b'["\\"]"]', [("not-an-object", 1)]),
        (DEEP, [("too-large", 1)]),
    ],
)  # fmt: skip
def test_a_json_document_is_one_record_or_an_array_of_them(data: bytes, expected: list[tuple[str, int]]) -> None:
    assert brief(outcomes(data, input_format="json", max_record_bytes=99)) == expected


def test_messages_about_documents_count_from_the_start_of_the_file() -> None:
    found = outcomes(b'[1,\n {"a":1, x},\n {\n"text": "\\ud800"}]\n]', input_format="json")

    assert [item.message for item in found[1:] if isinstance(item, Failure)] == [
        "not JSON at line 2, column 10: " + found[1].message.partition(": ")[2],  # type: ignore[union-attr]
        "an escape at line 4, column 10 is half of a surrogate pair; expected whole characters",
        "found more after the first value at line 5, column 1; expected one value "
        "(for JSON lines: `--input-format jsonl`)",
    ]


def test_records_of_documents_have_addresses_and_come_back_on_one_line(tmp_path: Path) -> None:
    for name, data in {
        "a.json": '[{"id": "x", "text":\n  "a b"}, {"text":"b"}, 5]',
        "a.yaml": "- id: x\n  text: a b\n- text: b\n- 5\n",
    }.items():
        (tmp_path / name).write_text(data)

        found = list(read([str(tmp_path / name)], SourceOptions(), io.BytesIO()))

        assert [item.origin.address.rpartition("#")[2] for item in found] == ["x", "1", "2"]  # type: ignore[union-attr]
        raws = [item.raw for item in found if isinstance(item, Record)]
        first = b'{"id": "x", "text":"a b"}' if name == "a.json" else b'{"id":"x","text":"a b"}'
        assert raws == [first, b'{"text":"b"}']


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("text: a\n", [("a", 1)]),
        ("# c\n---\n\ntext: a\n", [("a", 4)]),
        ("- text: a\n- text: b\n", [("a", 1), ("b", 2)]),
        ("text: a\n---\ntext: b\n---\n# nothing\n", [("a", 1), ("b", 3)]),
        ("b: &b {text: b}\nlist: [*b]\ntext: a\n", [("a", 1)]),
        ("- {x: &b {text: b}, text: a}\n- *b\n- text: c", [("a", 1), ("b", 1), ("c", 3)]),
        ("text: 1\n", [("wrong-type", 1)]),
        ("text: !!int one\n", [("one", 1)]),
        ("text: '1'\nbig: 123456789012345678901234567890\n? [a, b]\n: c\n", [("1", 1)]),
        ("yes: 1\ntext: a\n", [("a", 1)]),
        ("- a\n- [b]\n", [("not-an-object", 1), ("not-an-object", 2)]),
        ("", [("not-an-object", 1)]),
        ("text: [", [("invalid-yaml", 1)]),
        ("text: *no\n", [("invalid-yaml", 1)]),
        ("text: &a [*a]\n", [("invalid-yaml", 1)]),
        ("text: \x1b\n", [("invalid-yaml", 1)]),
        ("text: !!python/object/apply:os.system [ls]\n", [("wrong-type", 1)]),
        ("[" * 5000, [("nested-too-deep", 1)]),
        ("- " * 5000, [("nested-too-deep", 1)]),
        ("a: " + "x" * 200, [("too-large", 1)]),
    ],
)
def test_a_yaml_file_is_a_mapping_a_list_or_documents(data: str, expected: list[tuple[str, int]]) -> None:
    assert brief(outcomes(data.encode(), input_format="yaml", max_record_bytes=199)) == expected


def test_yaml_aliases_can_fill_neither_memory_nor_time() -> None:
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))
    nested = "".join(f"a{n}: &a{n} {'[' * 150}*a{n - 1}{']' * 150}\n" for n in range(1, 40))
    merged = "a: &a {" + ", ".join(f"k{n}: 1" for n in range(2000)) + "}\nb:\n" + "  <<: *a\n" * 1000

    wide = outcomes(f"a0: &a0 {'x' * 99}\n{levels}text: a\n".encode(), input_format="yaml")
    deep = outcomes(f"a0: &a0 x\n{nested}text: a\n".encode(), input_format="yaml")
    many = outcomes(merged.encode(), input_format="yaml")

    assert brief([*wide, *deep, *many]) == [("too-large", 1), ("nested-too-deep", 1), ("invalid-yaml", 1)]


@pytest.mark.parametrize("data", [b'{"text":"a"} ' * 5 * 1024 * 1024, b"- a\n" * 17 * 1024 * 1024])
def test_a_document_over_its_limit_is_one_failure(data: bytes) -> None:
    (failure,) = outcomes(data, input_format="json" if data.startswith(b"{") else "yaml")

    assert isinstance(failure, Failure)
    assert (failure.code, failure.raw) == ("too-large", None)
    assert "JSONL" in failure.message


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("text\na\nb\n", [("a", 2), ("b", 3)]),
        ("\ufefftext,n\r\na,1\r\n\r\nb,2", [("a", 2), ("b", 4)]),
        ('text,n\n"a, ""b""\n\nc",1\nd,2\n', [('a, "b"\n\nc', 2), ("d", 5)]),
        ('prompt,response\np,\n"",r\n,"r"\n', [("p", 2), ("r", 3), ("r", 4)]),
        ('text\n""\na"b\n', [("", 2), ('a"b', 3)]),
        ("text,n\na\nb,1,2\nc,3\n", [("invalid-csv", 2), ("invalid-csv", 3), ("c", 4)]),
        ('text,n\n"a"b,1\nc,2\n', [("invalid-csv", 2), ("c", 3)]),
        ('text,n\nz,1\n"a,1\nc,2\n', [("z", 2), ("invalid-csv", 3)]),
        ("title,n\na,1\n", [("missing-field", 2)]),
        ("text,text\na,b\n", [("b", 2)]),
        ("text\n", []),
        ("", []),
        ('"text\n', [("invalid-csv", 1)]),
        ("\r\ntext\n\r\n\r\na\n", [("a", 5)]),
        ("text\n" + "a" * 50 + "\nb\n", [("too-large", 2), ("b", 3)]),
        ('text\n"' + "a\n" * 30 + '"\nb\n', [("too-large", 2), ("b", 33)]),
        ('text\n"' + "a\n" * 30, [("too-large", 2)]),
    ],
)
def test_a_table_has_a_record_a_row(data: str, expected: list[tuple[str, int]]) -> None:
    assert brief(outcomes(data.encode(), input_format="csv", max_record_bytes=40)) == expected
    assert brief(outcomes(data.replace(",", "\t").encode(), input_format="tsv", max_record_bytes=40)) == [
        (text.replace(",", "\t"), line) for text, line in expected
    ]


@pytest.mark.parametrize("data", [b"text\n" + b"," * 4 * 1024 * 1024, b'text\n"' + b"\n" * 256 * 1024])
def test_a_table_of_tiny_cells_or_lines_cannot_fill_memory(data: bytes) -> None:
    tracemalloc.start()

    (failure,) = outcomes(data, input_format="csv")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert isinstance(failure, Failure)
    assert failure.code == "invalid-csv"
    assert peak < 10 * len(data)


def test_a_yaml_document_of_too_many_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("riskline.sources.yaml_nodes.MAX_VALUES", 100)

    assert brief(outcomes(b"- a\n" * 300, input_format="yaml")) == [("too-large", 1)]


def test_a_row_that_is_not_utf_8_leaves_the_others() -> None:
    assert brief(outcomes(b"text\na\n\xff\nb\n", input_format="csv")) == [("a", 2), ("invalid-utf8", 3), ("b", 4)]


def test_rows_come_back_as_objects() -> None:
    (record,) = outcomes(b'id,text\n7,"a\n""b"""\n', input_format="csv")

    assert record.raw == b'{"id":"7","text":"a\\n\\"b\\""}'
    assert record.origin.id == "7"


def test_strict_input_stops_at_the_first_failure_with_its_address() -> None:
    items = read(["-"], SourceOptions(strict_input=True, input_format="jsonl"), io.BytesIO(b'{"text":"a"}\nx\n'))

    assert brief([next(items)]) == [("a", 1)]
    with pytest.raises(InputError, match=r"^-:2: not JSON at column 1"):
        next(items)


# --- size and speed of large inputs -----------------------------------------------------------------------------


class Endless(io.RawIOBase):
    """A line that goes on for `size` bytes, then `tail`; nothing of it is ever whole in memory."""

    def __init__(self, head: bytes, size: int, tail: bytes) -> None:
        self._pieces = self._all(head, size, tail)

    @staticmethod
    def _all(head: bytes, size: int, tail: bytes) -> Iterator[bytes]:
        yield head
        for _ in range(size // 4096):
            yield b"a" * 4096
        yield tail

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = next(self._pieces, b"")
        buffer[: len(piece)] = piece
        return len(piece)


@pytest.mark.parametrize("name", ["lines", "jsonl", "csv"])
def test_a_line_over_the_limit_is_never_held(name: str) -> None:
    head, tail = (b'{"text":"first"}\n', b'\n{"text":"last"}\n') if name == "jsonl" else (b"first\n", b"\nlast\n")
    head = b"text\n" + head if name == "csv" else head
    stream = io.BufferedReader(Endless(head, 200 * 1024 * 1024, tail))
    tracemalloc.start()

    found = list(read(["-"], SourceOptions(input_format=name, max_record_bytes=1024 * 1024), stream))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert [text for text, _ in brief(found)] == ["first", "too-large", "last"]
    assert peak < 8 * 1024 * 1024


def test_a_line_of_ten_megabytes_is_a_record() -> None:
    text = "a" * (10 * 1024 * 1024)
    found = outcomes(b'{"text":"x"}\n{"text":"' + text.encode() + b'"}\n')

    assert found[1].raw is not None
    assert brief(found) == [("x", 1), (text, 2)]


def test_ten_thousand_lines_keep_order_and_numbers() -> None:
    data = b"".join(b'{"text":"%d"}\n' % number for number in range(1, 10_001))

    assert brief(outcomes(data)) == [(str(number), number) for number in range(1, 10_001)]


@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl.gz", "a.json.gz", "a.log.gz"])
def test_a_decompression_bomb_is_a_failure_in_little_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with gzip.open(path, "wb") as file:
        for _ in range(100):
            file.write(b" " * 1024 * 1024)
        file.write(b"x")
    tracemalloc.start()

    found = list(read([str(path)], SourceOptions(max_record_bytes=1024 * 1024), io.BytesIO()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert [item.code for item in found if isinstance(item, Failure)] == ["too-large"]
    assert peak < (200 if "json." in name else 8) * 1024 * 1024


def test_gzip_is_read_through_and_broken_gzip_is_a_failure(tmp_path: Path) -> None:
    packed = gzip.compress(b'{"text":"a"}\n' + b'{"text":"b"}\n' * 1000)
    (tmp_path / "good.jsonl.gz").write_bytes(packed)
    (tmp_path / "short.jsonl.gz").write_bytes(packed[:-12])
    (tmp_path / "no.jsonl.gz").write_bytes(b"plain")
    (tmp_path / "bits.txt.gz").write_bytes(packed[:12] + b"\xff" * 9 + packed[21:])

    good = list(read([str(tmp_path / "good.jsonl.gz")], SourceOptions(), io.BytesIO()))
    codes = [
        [item.code for item in read([str(tmp_path / name)], SourceOptions(), io.BytesIO()) if isinstance(item, Failure)]
        for name in ("short.jsonl.gz", "no.jsonl.gz", "bits.txt.gz")
    ]

    assert len(good) == 1001
    assert codes == [["invalid-gzip"]] * 3


# --- stdin ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "chosen", "expected"),
    [
        (b'{"text":"a"}\n{"text":"b"}\n', "jsonl", [("a", 1), ("b", 2)]),
        (b'\n \n{"text":"a"}\nx', "jsonl", [("a", 3), ("invalid-json", 4)]),
        (b'\xef\xbb\xbf{"text":"a"}', "jsonl", [("a", 1)]),
        (b'{"text":"\\ud800"}\n{"text":"b"}\n', "jsonl", [("lone-surrogate", 1), ("b", 2)]),
        (b'{"text":\n"a"}\n', "json", [("a", 1)]),
        (b'{\n"text":"a"}\n', "json", [("a", 1)]),
        (b'[{"text":"a"},\n{"text":"b"}]\n', "json", [("a", 1), ("b", 2)]),
        (b'\xef\xbb\xbf\n[{"text":"a"}]\n', "json", [("a", 2)]),
        (b"{name} is here\n[b]\n", "lines", [("{name} is here", 1), ("[b]", 2)]),
        (b"{\nx\n", "lines", [("{", 1), ("x", 2)]),
        (b"5\n6\n", "lines", [("5", 1), ("6", 2)]),
        (b'"quoted"\n', "lines", [('"quoted"', 1)]),
        (b"a\n\nb", "lines", [("a", 1), ("", 2), ("b", 3)]),
        (b"\n\na", "lines", [("", 1), ("", 2), ("a", 3)]),
        (b"\xff\n", "lines", [("invalid-utf8", 1)]),
        (b'{"text":"\xff"', "error", []),
        (b"", "lines", []),
        (b"[INST] hi\n", "error", []),
        (b'{"text":"a"\n{"text":"b"}', "error", []),
        (b'{ "text":"a"} {"text":"b"}', "error", []),
    ],
)
def test_stdin_is_told_from_its_beginning(data: bytes, chosen: str, expected: list[tuple[str, int]]) -> None:
    if chosen == "error":
        with pytest.raises(InputError) as error:
            read(["-"], SourceOptions(), io.BytesIO(data))
        assert error.value.hint is not None
        assert "--input-format" in error.value.hint
        return

    assert brief(from_stdin(data, for_command="score")) == [("Chosen", "-", chosen), *expected]


def test_stdin_is_one_text_for_check() -> None:
    assert brief(from_stdin(b"a\nb\n")) == [("Chosen", "-", "text"), ("a\nb\n", 1)]


def test_a_named_format_is_not_announced() -> None:
    assert brief(from_stdin(b"[a\n", input_format="lines")) == [("[a", 1)]


def test_stdin_like_json_beyond_its_limit_is_refused() -> None:
    stream = io.BufferedReader(Endless(b"[", 65 * 1024 * 1024, b"]"))

    with pytest.raises(InputError, match="is longer than 64 MiB or not one JSON value"):
        read(["-"], SourceOptions(), stream)


@pytest.mark.parametrize(("first", "second"), [(b'{"text":"a"}\n', b'{"text":"b"}\n'), (b"a\n", b"b\n")])
@pytest.mark.parametrize("name", ["auto", "known"])
def test_the_first_record_comes_before_the_second_is_written(first: bytes, second: bytes, name: str) -> None:
    reading, writing = os.pipe()
    name = name if name == "auto" else ("jsonl" if first.startswith(b"{") else "lines")
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as writer:
        writer.write(first)
        items = read(["-"], SourceOptions(for_command="score", input_format=name), stream)
        found = [item for item in (next(items) for _ in range(2 if name == "auto" else 1)) if isinstance(item, Record)]

        writer.write(second)
        found += [item for item in [next(items)] if isinstance(item, Record)]

    assert brief(found) == [("a", 1), ("b", 2)]


# --- named files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "check", "score"),
    [
        ("a.txt", "a\nb", ["a\nb"], ["a\nb"]),
        ("a.MD", "a\nb", ["a\nb"], ["a\nb"]),
        ("a.prompt", "a\nb", ["a\nb"], ["a\nb"]),
        ("a.ndjson", '{"text":"a"}\n{"text":"b"}', ["a", "b"], ["a", "b"]),
        ("a.tsv", "text\tn\na\t1\n", ["a"], ["a"]),
        ("a.yml", "text: a\n", ["a"], ["a"]),
        ("a.log", "a\nb", ["text", "a\nb"], ["lines", "a", "b"]),
        ("a", "a\nb", ["text", "a\nb"], ["lines", "a", "b"]),
        (".prompt", "a", ["text", "a"], ["lines", "a"]),
    ],
)
def test_the_extension_tells_the_format(
    tmp_path: Path, name: str, data: str, check: list[str], score: list[str]
) -> None:
    (tmp_path / name).write_text(data)
    path = str(tmp_path / name)

    for command, expected in (("check", check), ("score", score)):
        items = list(read([path], SourceOptions(for_command=command), io.BytesIO()))  # type: ignore[arg-type]

        found = [item.format if isinstance(item, Chosen) else brief([item])[0][0] for item in items]
        assert found == expected
        assert all(item.path == path for item in items if isinstance(item, Chosen))
        assert all(item.origin.path == path for item in items if isinstance(item, Record))


def test_a_named_format_wins_over_the_extension(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("a\nb")

    items = list(read([str(tmp_path / "a.json")], SourceOptions(input_format="lines"), io.BytesIO()))

    assert brief(items) == [("a", 1), ("b", 2)]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"input_format": "jsno"}, UsageError, "no input format is named `jsno`; expected one of `auto`, `text`"),
        ({"text_field": "a", "messages_field": "b"}, UsageError, "`--messages-field` and `--text-field` contradict"),
        ({"text_field": "a", "response_field": "b"}, UsageError, "`--text-field` and `--response-field` contradict"),
        ({"max_record_bytes": 0}, UsageError, "`--max-record-bytes` is 0; expected 1 or more"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_the_call(
    options: dict[str, Any], error: type[RisklineError], message: str
) -> None:
    with pytest.raises(error) as raised:
        read([], SourceOptions(**options), io.BytesIO())

    assert raised.value.message.startswith(message)


@pytest.mark.parametrize(
    ("named", "hint"),
    [
        *(
            (text, "a text itself goes in by stdin, or to `riskline trace TEXT`")
            for text in ("how to bake bread", "Is 3/4 more than v1.2 of it?", "two\nlines", "word " * 100)
        ),
        ("my labels.jsonl", None),
        ("bread", None),
    ],
)
def test_words_in_place_of_a_file_are_told_where_a_text_goes(named: str, hint: str | None) -> None:
    with pytest.raises(InputError) as raised:
        read([named], SourceOptions(), io.BytesIO())

    assert raised.value.hint == hint


def test_inputs_that_cannot_be_read_are_refused_at_the_call(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"text":"a"}\n')
    (tmp_path / "a.jsonl.zst").write_bytes(b"")
    cases = [
        ("dta.jsonl", InputError, "no file or folder is named `", f"did you mean `{tmp_path / 'data.jsonl'}`?"),
        ("nothing-like-it", InputError, "no file or folder is named `", None),
        ("data.jsonl/x", InputError, "no file or folder is named `", None),
        ("no/such/folder", InputError, "no file or folder is named `", None),
        ("a\0b", InputError, "`", None),
        ("x" * 300, InputError, "`", None),
        ("a.jsonl.zst", UsageError, f"`{tmp_path / 'a.jsonl.zst'}` is compressed with Zstandard", "zstd -dc "),
    ]
    for name, error, message, hint in cases:
        with pytest.raises(error) as raised:
            read([str(tmp_path / "data.jsonl"), str(tmp_path / name)], SourceOptions(), io.BytesIO())

        assert raised.value.message.startswith(message)
        assert (raised.value.hint or "").startswith(hint or "")

    with pytest.raises(UsageError, match="`-` is named twice"):
        read(["-", "-"], SourceOptions(), io.BytesIO())


def test_a_file_named_again_is_judged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("a")
    Path("d").mkdir()
    Path("d/b.txt").write_text("b")

    items = list(read(["a.txt", "d/b.txt", "./a.txt", "d", "d"], SourceOptions(), io.BytesIO()))

    assert brief(items) == [
        ("a", 1),
        ("b", 1),
        ("Skip", "./a.txt", "named twice"),
        ("Skip", "d/b.txt", "named twice"),
        ("Skip", "d/b.txt", "named twice"),
    ]


def test_a_named_pipe_is_read_as_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "pipe.jsonl"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b'{"text":"a"}\n{"text":"b"}\n',))
    items = read([str(path)], SourceOptions(), io.BytesIO())
    writer.start()

    assert brief(list(items)) == [("a", 1), ("b", 2)]
    writer.join()


def test_what_vanishes_after_the_call_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    items = read([str(tmp_path / "a.txt"), str(tmp_path / "b.txt")], SourceOptions(), io.BytesIO())
    (tmp_path / "a.txt").unlink()

    assert brief(list(items)) == [("vanished", 1), ("b", 1)]


def test_stdin_that_breaks_while_it_is_read_is_a_failure() -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, _: Any) -> int:
            raise OSError(5, "Input/output error")

    items = read(["-"], SourceOptions(input_format="lines"), io.BufferedReader(Broken()))

    assert brief(list(items)) == [("unreadable", 1)]


# --- any bytes at all -------------------------------------------------------------------------------------------

SNIPPETS = [
    *(
        b'{"text":"',
        b'"}',
        b"\n",
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b":",
        b'"',
        b"'",
        b"\\",
        b"\\ud83d",
        b"\\u0041",
        b"text",
    ),
    *(b"prompt", b"messages", b'{"role":"user","content":"x"}', b"- ", b"|", b">", b"&a ", b"*a", b"<<: ", b"!!int "),
    *(
        b"\t",
        b"\r",
        b"\xef\xbb\xbf",
        b"\xff",
        b"\0",
        b"\x85",
        b"\xe2\x80\xa8",
        b"1e999",
        b"NaN",
        b"null",
        b"---\n",
        b"? ",
        b"# ",
    ),
]


@pytest.mark.parametrize("name", FORMATS)
@given(
    data=st.binary(max_size=80) | st.lists(st.sampled_from(SNIPPETS) | st.binary(max_size=3), max_size=25).map(b"".join)
)
@example(b'{"text":"\\ud800"}')
@example(b'{"text":"a"}' * 2)
def test_any_bytes_become_records_failures_or_a_told_error(name: str, data: bytes) -> None:
    try:
        found = outcomes(data, input_format=name, max_record_bytes=60)
    except RisklineError:
        assert name == "auto"
        return
    for item in found:
        assert item.origin.line >= 1
        if isinstance(item, Failure):
            assert item.message.isprintable()
            continue
        for turn in item.turns:
            turn.text.encode()
            if turn.place:
                region = turn.place.region((0, len(turn.text)))
                assert (1, 1) <= (region.line, region.column) <= (region.end_line, region.end_column)


def test_skips_are_only_for_walks() -> None:
    assert not [item for item in from_stdin(b"{}", input_format="json") if isinstance(item, Skip)]
