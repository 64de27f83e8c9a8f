"""Addresses: a record is found again by line, by id or as the only one of its file."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import pytest

from riskline.errors import InputError
from riskline.records import Record
from riskline.sources import SourceOptions, find_record, read

FILES = {
    "a.jsonl": '{"id":"x","text":"one"}\n\n{"text":"two"}\nbroken\n',
    "a.txt": "one\ntwo\n",
    "a.md": "",
    "a.log": "one\ntwo",
    "a.json": '[\n {"id":"x#1:2","text":\n"one"},\n {"text":"two"}\n]\n\n',
    "one.json": '{"text":\n"one"}',
    "a.yaml": "# c\n- text: |\n    one\n    more\n- id: y\n  text: two\n",
    "a.csv": 'id,text\n1,"one\nmore"\n2,two\n',
    "none.jsonl": "",
    "b:3": "odd\nname\n",
    "c#x": "odd",
    "ids.jsonl": "".join(f'{{"id":{n},"text":"t{n}"}}\n' for n in range(10, 20)),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "z.jsonl.gz").write_bytes(gzip.compress(FILES["a.jsonl"].encode()))
    (tmp_path / "d").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("a.jsonl:1", "one"),
        ("a.jsonl:3", "two"),
        ("a.jsonl#x", "one"),
        ("z.jsonl.gz:3", "two"),
        ("a.txt", "one\ntwo\n"),
        ("a.txt:1", "one\ntwo\n"),
        ("a.txt:2", "one\ntwo\n"),
        ("a.md", ""),
        ("a.md:1", ""),
        ("a.log", "one\ntwo"),
        ("a.log:2", "one\ntwo"),
        ("a.json:2", "one"),
        ("a.json:3", "one"),
        ("a.json:4", "two"),
        ("a.json:6", "two"),
        ("a.json#x#1:2", "one"),
        ("a.json#1", "two"),
        ("one.json", "one"),
        ("one.json:2", "one"),
        ("a.yaml:4", "one\nmore\n"),
        ("a.yaml#0", "one\nmore\n"),
        ("a.yaml#y", "two"),
        ("a.csv:2", "one\nmore"),
        ("a.csv:3", "one\nmore"),
        ("a.csv:4", "two"),
        ("a.csv#2", "two"),
        ("b:3", "odd\nname\n"),
        ("b:3:1", "odd\nname\n"),
        ("c#x", "odd"),
        ("c#x:1", "odd"),
    ],
)
def test_a_record_is_found_by_its_address(target: str, text: str) -> None:
    assert find_record(target, SourceOptions()).turns[-1].text == text


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("target", "message", "hint"),
    [
        ("a.jsonl", "`a.jsonl` has more than one record; expected the address of one", "riskline trace a.jsonl:1"),
        ("a.jsonl:2", "`a.jsonl` has no record at line 2; the next record begins at line 3", None),
        ("a.jsonl:9", "`a.jsonl` has no record at line 9; the last record begins at line 4", None),
        ("a.jsonl:0", "`a.jsonl` has no record at line 0; the next record begins at line 1", None),
        ("a.jsonl:4", "a.jsonl:4: not JSON at column 1", None),
        ("a.jsonl#no", "`a.jsonl` has no record with the id `no`; found `x`", None),
        ("ids.jsonl#1", "`ids.jsonl` has no record with the id `1`; found `10`, `11`, `12`, `13`, `14`, …", None),
        ("a.txt#1", "`a.txt` has no record with the id `1`; its records have no ids", None),
        ("a.txt:3", "`a.txt` has no record at line 3; the last record begins at line 1", None),
        ("a.json:1", "`a.json` has no record at line 1; the next record begins at line 2", None),
        ("none.jsonl", "`none.jsonl` has no records", None),
        ("none.jsonl:1", "`none.jsonl` has no record at line 1; it has no records", None),
        ("a.jsnl:3", "no file or folder is named `a.jsnl`", "did you mean `a.jsonl`?"),
        ("nowhere.txt", "no file or folder is named `nowhere.txt`", None),
        ("nowhere.txt#x:3", "no file or folder is named `nowhere.txt#x:3`", None),
        ("a\0:3", "`a\\0` cannot be read", None),
        ("d", "`d` is a folder; expected a file", None),
        ("x" * 5000, "`xxx", None),
    ],
)
def test_what_is_not_there_is_told_with_what_is(target: str, message: str, hint: str | None) -> None:
    with pytest.raises(InputError) as error:
        find_record(target, SourceOptions())

    assert error.value.message.startswith(message)
    assert error.value.hint == hint


@pytest.mark.parametrize("options", [{}, {"for_command": "score"}, {"input_format": "lines"}])
def test_every_address_leads_back_to_its_record(folder: Path, options: dict[str, Any]) -> None:
    chosen = SourceOptions(**options)
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            continue
        for item in read([str(path)], chosen, io.BytesIO()):
            if isinstance(item, Record):
                address = item.origin.path if item.origin.by == "file" else item.origin.address
                assert find_record(address, chosen) == item
