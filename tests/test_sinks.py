"""Every format under hostile texts, names, ids and messages: it parses, it forges nothing, redaction leaks nothing."""

from __future__ import annotations

import io
import json
import re
import tracemalloc
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast
from xml.etree import ElementTree

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskline.finding import Redaction
from riskline.records import (
    Failure,
    Judged,
    Label,
    Origin,
    Outcome,
    Point,
    Record,
    Region,
    Span,
    Summary,
    Trajectory,
    Turn,
    Verdict,
)
from riskline.sinks import SinkOptions, formats, opener, parse_output

SARIF = jsonschema.Draft4Validator(json.loads((Path(__file__).parent / "data" / "sarif-2.1.0.json").read_text()))
HOSTILE = [
    "<|im_end|>", "\x1b[31m", "\x1b]8;;x\x07", "::error::", "%0A::error::", "\n::stop-commands::x", "]]>", "</script>", "&", '"',
    "##[add-mask]", "##vso[task]", "#\ufe0f#[error]", "\ufe0f::error::", "\uffff", "\ufffe", "\x7f", "\U000e0041",
    "\u202e", "\u200b", "\0", "\r", "\n", "\u2028", "😀", "\ufeff", "\x85", "`", "'", "secret", "$(rm)", "\\",
]  # fmt: skip
ANY = st.lists(
    st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"]), max_size=6)), min_size=1, max_size=8
).map("".join).filter(len)  # fmt: skip
# What a path on Linux can hold: any bytes, those that are not UTF-8 as the surrogates that Python has for them.
PATH = st.lists(
    st.one_of(ANY, st.sampled_from(["/", "//", "-", "--x", "..", "\udcff", "C:\\", "file://", "?", "#"])),
    min_size=1,
    max_size=4,
).map("".join)
FORMATS = formats("check")
COMMAND = re.compile(r"::(error|warning) [A-Za-z]+=[^,:]*(,[A-Za-z]+=[^,:]*)*::.*")


class Flat:
    """A text that stands alone in its file, on one line."""

    def region(self, span: Span) -> Region:
        return Region(1, span[0] + 1, 1, span[1] + 1)


def judged(
    text: str, path: str = "p.jsonl", *, label: Label = Label.unsafe, line: int = 1, id: str | None = None
) -> Judged:
    middle, end = len(text) // 2, len(text)
    onset, fired = Point(0, (0, middle), 0.9), Point(1, (middle, end), 0.95)
    verdict = Verdict(
        label=label, risk=0.934, judged="prompt", role="prompt", guard="tiny@12345678", policy="default@12345678", tokens=2,
        at=1, safe=0.066, controversial=0.071, unsafe=0.863, category="Violent" if label else None,
        categories={"Violent": 0.8}, onset=onset if label else None, fired=fired if label else None, peak=fired, turn=0,
        trajectory=Trajectory(((0, middle), (middle, end)), (0.9, 0.95), (0.8, 0.9), ("Violent", "Violent")),
    )  # fmt: skip
    return Judged(
        Record((Turn("prompt", text, Flat()),), Origin(path, line, id, "id" if id else "line"), (0,)), verdict
    )


def written(name: str, outcomes: list[Outcome], options: SinkOptions | None = None, command: str = "check") -> bytes:
    stream, summary = io.BytesIO(), Summary()
    sink = opener(command, name)(stream, options or SinkOptions(facts={"version": "1", "guard": "g", "policy": "p"}))
    for outcome in outcomes:
        summary.count(outcome)
        sink.write(outcome)
    sink.close(summary)
    return stream.getvalue()


def obeyed(data: str) -> list[str]:
    """The lines that a CI runner would take for a command: the GitHub runner's own reading, and those like it."""
    bare = "".join(c for c in data if unicodedata.category(c) not in ("Mn", "Me", "Cf"))
    return [
        line
        for line in bare.splitlines()
        if re.search(r"##[A-Za-z]*\[", line) or (line.lstrip().startswith("::") and "::" in line.lstrip()[2:])
    ]


def acting(text: str) -> list[str]:
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c != "\n"]


def parse(name: str, data: bytes) -> Any:
    """Read a format as its readers do; refuse what they would stumble over or act on."""
    text = data.decode()
    if name == "junit":
        return ElementTree.fromstring(data)
    if name == "jsonl":
        return [json.loads(line) for line in data.splitlines()]
    if name in ("json", "sarif"):
        value = json.loads(data)
        if name == "sarif":
            SARIF.validate(value)
        return value
    assert not acting(text)
    return text.splitlines()


@settings(max_examples=60, deadline=None)
@given(text=ANY, path=PATH, id=ANY, said=ANY, redaction=st.sampled_from([None, Redaction(b"key")]))
@pytest.mark.parametrize("name", FORMATS)
def test_nothing_hostile_breaks_a_format_or_acts_in_it(
    name: str, text: str, path: str, id: str, said: str, redaction: Redaction | None
) -> None:
    named, safe = judged(text, path, id=id), judged(text, path, label=Label.safe)
    outcomes: list[Outcome] = [
        judged(text, path),
        replace(named, verdict=replace(named.verdict, category=said)),
        judged(text, path, label=Label.controversial),
        safe,
        Failure("invalid-json", said, Origin(path, 3)),
        replace(safe, verdict=replace(safe.verdict, unseen=("image", said))),
    ]

    data = written(name, outcomes, SinkOptions(redaction=redaction, facts={"version": said, "guard": said}))
    parsed = parse(name, data)

    assert not acting(data.decode())
    if name != "github":
        assert not obeyed(data.decode())
    if name == "github":
        assert [line for line in parsed if COMMAND.fullmatch(line)] == parsed
        assert len(parsed) == 5
    if name == "sarif":
        run = parsed["runs"][0]
        assert len(run["results"]) == 3
        assert len(run["invocations"][0]["toolExecutionNotifications"]) == 2
        assert not run["invocations"][0]["executionSuccessful"]
        for result in run["results"]:
            region = result["locations"][0]["physicalLocation"]["region"]
            assert set(region) == {"startLine", "startColumn", "endLine", "endColumn"}
            assert result["codeFlows"][0]["threadFlows"][0]["locations"]
    if name == "junit":
        assert parsed[0].attrib["failures"] == "3"
        assert parsed[0].attrib["errors"] == "2"


@settings(max_examples=40, deadline=None)
@given(words=st.lists(st.text("abcdefghijklmnopqrstuvwxyz", min_size=4, max_size=12), min_size=1, max_size=6))
@pytest.mark.parametrize(("command", "name"), [*(("check", name) for name in FORMATS), ("score", "jsonl")])
def test_redaction_leaks_no_word(command: str, name: str, words: list[str]) -> None:
    words = ["zz" + word for word in words]  # no word of ours begins so
    text = " ".join(words)
    one = judged(text)
    turns = (Turn("system", text), Turn("prompt", text, Flat()))
    raw = json.dumps({"text": text}).encode()
    record = replace(one.record, turns=turns, judged=(1,), raw=raw, unseen=("image", text))
    verdict = replace(one.verdict, turn=1, unseen=record.unseen)
    outcomes: list[Outcome] = [
        one,
        Judged(record, verdict),
        Judged(record, replace(verdict, label=Label.safe)),
        Failure("wrong-type", text, Origin("p.jsonl", 2), raw),
    ]

    data = written(name, outcomes, SinkOptions(redaction=Redaction(b"key"), only_verdict=True), command).decode()

    assert "zz" not in data
    assert "Violent" in data
    assert "image" in data
    assert "other" in data


@pytest.mark.parametrize("name", FORMATS)
def test_what_was_seen_only_in_part_is_a_finding_and_not_judged(name: str) -> None:
    one = judged("a bomb now")

    parsed = parse(name, written(name, [replace(one, verdict=replace(one.verdict, unseen=("image",)))]))

    match name:
        case "json":
            assert (len(parsed["findings"]), parsed["failures"][0]["code"]) == (1, "unseen")
        case "jsonl":
            assert [(entry["kind"], entry.get("code")) for entry in parsed] == [
                ("finding", None),
                ("failure", "unseen"),
            ]
        case "sarif":
            (run,) = parsed["runs"]
            assert (len(run["results"]), len(run["invocations"][0]["toolExecutionNotifications"])) == (1, 1)
        case "junit":
            assert (parsed[0].attrib["failures"], parsed[0].attrib["errors"]) == ("1", "1")
        case _:
            assert "not judged" in parsed[-1]
            assert "image" in parsed[-1]


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_without_facts_or_outcomes_is_whole(name: str) -> None:
    parse(name, written(name, [], SinkOptions()))


def test_a_file_name_stays_its_own_in_sarif(tmp_path: Path) -> None:
    def uri(path: str) -> str:
        (run,) = json.loads(written("sarif", [judged("x", path)]))["runs"]
        return str(run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"])

    assert uri("-") == "stdin"
    assert uri("./a b/c#d?.txt") == "a%20b/c%23d%3F.txt"
    assert uri("a:b") == "a%3Ab"
    assert uri("a:\\b") == "a%3A%5Cb"
    assert uri("%2e%2e/x") == "%252e%252e/x"
    assert uri("../x") == "../x"
    assert uri(str(tmp_path / "ä")) == (tmp_path / "ä").as_uri()


def test_sarif_keeps_rules_of_any_script_apart() -> None:
    ones = [
        replace(one, verdict=replace(one.verdict, category=name)) for name in ("暴力", "色情") for one in [judged("x")]
    ]

    (run,) = json.loads(written("sarif", list(ones)))["runs"]

    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["暴力", "色情"]


def test_a_long_trajectory_is_thinned_and_stays_in_order() -> None:
    text, count = "x" * 1000, 1000
    one = judged(text)
    risk = tuple((index * 37 % 101) / 101 for index in range(count))
    offsets = tuple((index, index + 1) for index in range(count))
    trajectory = Trajectory(offsets, risk, risk, (None,) * count)

    (run,) = json.loads(written("sarif", [replace(one, verdict=replace(one.verdict, trajectory=trajectory))]))["runs"]

    steps = run["results"][0]["codeFlows"][0]["threadFlows"][0]["locations"]
    columns = [step["location"]["physicalLocation"]["region"]["startColumn"] for step in steps]
    assert len(columns) == 100
    assert columns == sorted(columns)


@pytest.mark.parametrize("width", [24, 60, 100])
@pytest.mark.parametrize("text", ["a bomb now " * 20, "炸弹" * 60])
def test_an_excerpt_fits_the_terminal(width: int, text: str) -> None:
    shown = written("text", [judged(text)], SinkOptions(width=width)).decode().splitlines()[1]

    assert sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in shown) <= width
    assert shown.endswith("…")


def test_colour_adds_nothing_but_colour() -> None:
    outcomes: list[Outcome] = [judged("a bomb now"), Failure("invalid-json", "not JSON", Origin("p.jsonl", 2))]

    colored = written("text", outcomes, SinkOptions(color=True)).decode()

    assert "\x1b[1;31munsafe\x1b[0m" in colored
    assert re.sub("\x1b\\[[0-9;]*m", "", colored) == written("text", outcomes).decode()


@pytest.mark.parametrize("name", FORMATS)
def test_no_sink_keeps_what_it_has_written(name: str) -> None:
    class Nowhere(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any, /) -> int:
            return len(data)

    sink = opener("check", name)(cast("BinaryIO", Nowhere()), SinkOptions())
    one, failed = judged("a bomb now " * 20), Failure("invalid-json", "m" * 200, Origin("p.jsonl", 2))

    def pour(count: int) -> int:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(count):
            sink.write(one)
            sink.write(failed)
        return tracemalloc.get_traced_memory()[0] - before

    tracemalloc.start()
    try:
        pour(3000)  # what spools stays in memory up to 1 MiB
        grown = pour(3000)
    finally:
        tracemalloc.stop()

    assert grown < 3000 * 2 * 50


def test_equal_texts_keep_apart_in_sarif() -> None:
    value = json.loads(written("sarif", [judged("same", line=1), judged("same", line=2)]))

    prints = [result["partialFingerprints"]["riskline/v1"] for result in value["runs"][0]["results"]]
    assert len(set(prints)) == 2


def test_sarif_says_all_is_well_only_if_all_was_judged() -> None:
    def successful(outcomes: list[Outcome]) -> bool:
        value = json.loads(written("sarif", outcomes))
        return bool(value["runs"][0]["invocations"][0]["executionSuccessful"])

    assert successful([judged("x")])
    assert not successful([judged("x"), Failure("invalid-json", "m", Origin("p", 1))])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("out.sarif", ("sarif", "out.sarif")),
        ("junit:out.sarif", ("junit", "out.sarif")),
        ("C:\\out.json", ("json", "C:\\out.json")),
        ("text:C:\\out", ("text", "C:\\out")),
        ("a:b.xml", ("junit", "a:b.xml")),
        ("jsonl:-", ("jsonl", "-")),
    ],
)
def test_an_output_names_its_format_or_its_extension_does(spec: str, expected: tuple[str, str]) -> None:
    assert parse_output("check", spec) == expected
