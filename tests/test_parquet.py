"""Parquet as a source: real files, their rows as records, and what is wrong with them."""

from __future__ import annotations

import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pytest
from conftest import Cli
from pyarrow import parquet

from riskline.errors import UsageError
from riskline.records import Failure, Record, Region
from riskline.sources import SourceOptions, read


def write(path: Path, rows: list[dict[str, Any]], **options: Any) -> str:
    parquet.write_table(arrow.Table.from_pylist(rows), path, **options)
    return str(path)


def items(path: str, **options: Any) -> list[Any]:
    return list(read([path], SourceOptions(**options), io.BytesIO()))


def test_rows_are_records_in_order_with_their_numbers(tmp_path: Path) -> None:
    rows = [{"id": f"r{index}", "text": f"text {index}\nand more"} for index in range(500)]
    path = write(tmp_path / "data.parquet", rows, row_group_size=100)

    found = items(path)

    assert [record.turns[-1].text for record in found] == [row["text"] for row in rows]
    assert [(record.origin.line, record.origin.id) for record in found[:2]] == [(1, "r0"), (2, "r1")]
    place = found[6].turns[-1].place
    assert place is not None
    assert place.region((5, 10)) == Region(7, 6, 7, 11)


def test_conversations_dates_and_nulls_become_what_json_has(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    rows = [{"messages": chat, "day": date(2026, 1, 2), "note": None}]

    (record,) = items(write(tmp_path / "chat.parquet", rows))

    assert isinstance(record, Record)
    assert [(turn.role, turn.text) for turn in record.turns] == [("prompt", "hello"), ("response", "hi")]
    assert json.loads(record.raw or b"")["day"] == "2026-01-02"


def test_a_null_or_a_number_is_a_failure_in_its_place(tmp_path: Path) -> None:
    nulls = items(write(tmp_path / "n.parquet", [{"text": "a"}, {"text": None}, {"text": "c"}]))
    numbers = items(write(tmp_path / "m.parquet", [{"text": 5}]))

    assert [type(item) for item in nulls] == [Record, Failure, Record]
    assert nulls[1].origin.line == 2
    assert numbers[0].code == "wrong-type"


def test_a_row_over_the_limit_is_a_failure(tmp_path: Path) -> None:
    path = write(tmp_path / "big.parquet", [{"text": "a" * 5_000}, {"text": "b"}])

    found = items(path, max_record_bytes=1_000)

    assert [getattr(item, "code", None) for item in found] == ["too-large", None]


@pytest.mark.parametrize("cut", [0, 4, 60, -20])
def test_broken_files_are_failures(tmp_path: Path, cut: int) -> None:
    path = Path(write(tmp_path / "data.parquet", [{"text": "a"}]))
    path.write_bytes(path.read_bytes()[:cut])

    found = items(str(path))

    assert [(item.code, item.origin.by) for item in found] == [("invalid-parquet", "file")]


def test_piped_parquet_is_read(tmp_path: Path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    data = Path(write(tmp_path / "data.parquet", [{"text": "a"}, {"text": "b"}])).read_bytes()

    found = list(read(["-"], SourceOptions(input_format="parquet"), Pipe(data)))

    assert [record.turns[-1].text for record in found] == ["a", "b"]  # type: ignore[union-attr]


def test_score_and_trace_take_it(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", [{"text": "good day"}, {"text": "kill them"}])

    scored = cli("score", path, "--guard", "tiny")
    traced = cli("trace", f"{path}:2", "--guard", "tiny")

    assert scored.code == 0
    assert [json.loads(line)["text"] for line in scored.out.splitlines()] == ["good day", "kill them"]
    assert traced.code == 0
    assert b"kill them" in traced.out


def test_a_folder_walk_takes_it(tmp_path: Path) -> None:
    write(tmp_path / "data.parquet", [{"text": "a"}])
    write(tmp_path / "other.parquet", [{"number": 1}])

    found = items(str(tmp_path))

    assert [type(item).__name__ for item in found] == ["Record", "Skip"]


def test_without_pyarrow_a_named_file_is_refused_and_a_walked_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "data.parquet", [{"text": "a"}])
    for room in ("formats", "parquet_file"):
        monkeypatch.setattr(f"riskline.sources.{room}.installed", lambda: False)

    for asked in ({"input_format": "parquet"}, {}):
        with pytest.raises(UsageError) as raised:
            items(path, **asked)
        assert raised.value.hint == "pip install 'riskline[parquet]'"
    assert [item.code for item in items(str(tmp_path))] == ["missing-library"]
