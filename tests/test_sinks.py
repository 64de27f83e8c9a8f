"""Every format under hostile texts, names, ids and messages: it parses, it forges nothing, redaction leaks nothing."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskline.escape import visible, visible_lines
from riskline.finding import Redaction, excerpt, find
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
    "\u202e", "\u200b", "\0", "\r", "\n", "\u2028", "😀", "\ufeff", "\x85", "`", "'", "secret", "$(rm)", "\\",
]  # fmt: skip
ANY = st.lists(
    st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"]), max_size=6)), min_size=1, max_size=8
).map("".join).filter(len)  # fmt: skip
FORMATS = formats("check")


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
@given(text=ANY, path=ANY, id=ANY, message=ANY)
@pytest.mark.parametrize("name", FORMATS)
def test_nothing_hostile_breaks_a_format_or_acts_in_it(name: str, text: str, path: str, id: str, message: str) -> None:
    outcomes: list[Outcome] = [
        judged(text, path),
        judged(text, path, id=id),
        judged(text, path, label=Label.controversial),
        judged(text, path, label=Label.safe),
        Failure("invalid-json", message, Origin(path, 3)),
        replace(judged(text, path, label=Label.safe), verdict=replace(judged(text, label=Label.safe).verdict, unseen=("image",))),
    ]  # fmt: skip

    data = written(name, outcomes)
    parsed = parse(name, data)

    assert not acting(data.decode())
    if name == "github":
        assert len(parsed) == 5
        assert all(re.match(r"::(error|warning) file=[^,:]*,line=\d+,", line) for line in parsed)
        assert [line.count("::") >= 2 for line in parsed] == [True] * 5
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
@given(words=st.lists(st.text("abcdefghijklmnopqrstuvwxyz", min_size=6, max_size=12), min_size=1, max_size=6))
@pytest.mark.parametrize("name", FORMATS)
def test_redaction_leaks_no_word(name: str, words: list[str]) -> None:
    words = ["zz" + word for word in words]  # no word of ours begins so
    text = " ".join(words)
    outcomes: list[Outcome] = [judged(text), Failure("wrong-type", text, Origin("p.jsonl", 2))]

    data = written(name, outcomes, SinkOptions(redaction=Redaction(b"key"))).decode()

    assert "zz" not in data
    assert "Violent" in data


@given(text=ANY, key=st.sampled_from(["verdict", 'a"b', "é", "x::y"]))
@settings(deadline=None)
def test_scored_lines_are_json_whatever_the_text(text: str, key: str) -> None:
    plain = replace(judged(text), record=replace(judged(text).record, raw=None))
    raw = json.dumps({"text": text}).encode()
    kept = replace(judged(text), record=replace(judged(text).record, raw=raw))

    lines = written("jsonl", [plain, kept], SinkOptions(key=key), "score").splitlines()

    assert [json.loads(line)["text"] for line in lines] == [text, text]
    assert all(json.loads(line)[key]["label"] == "unsafe" for line in lines)
    assert lines[1].startswith(raw[:-1] + b",")


def test_an_empty_object_gets_no_comma() -> None:
    one = judged("x")

    (line,) = written("jsonl", [replace(one, record=replace(one.record, raw=b"{ }"))], command="score").splitlines()

    assert line.startswith(b'{ "verdict":')


def test_a_fingerprint_outlives_a_move() -> None:
    first, moved = find(judged("text", line=3)), find(judged("text", "other.jsonl", line=99))
    other = find(judged("texts", line=3))
    assert first
    assert moved
    assert other

    assert first.fingerprint == moved.fingerprint
    assert first.fingerprint != other.fingerprint


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


def test_what_check_writes_of_a_small_run() -> None:
    outcomes: list[Outcome] = [judged("a bomb now"), Failure("invalid-json", "not JSON", Origin("p.jsonl", 2))]

    assert written("text", outcomes).decode().splitlines() == [
        "p.jsonl:1:1  unsafe 0.934  Violent",
        "    a bomb now",
        "    riskline trace p.jsonl:1",
        "p.jsonl:2  not judged (invalid-json): not JSON",
    ]
    assert written("github", outcomes).decode().splitlines() == [
        "::error file=p.jsonl,line=1,col=1,endLine=1,endColumn=11,title=riskline%3A unsafe::"
        "unsafe (0.934): Violent, prompt | riskline trace p.jsonl:1",
        "::error file=p.jsonl,line=2,title=riskline%3A not judged::invalid-json: not JSON",
    ]
    (finding, failure) = parse("jsonl", written("jsonl", outcomes))
    assert (finding["kind"], finding["line"], finding["span"], finding["excerpt"]) == (
        "finding",
        1,
        [0, 10],
        "a bomb now",
    )
    assert failure == {
        "schema": 1, "kind": "failure", "address": "p.jsonl:2", "code": "invalid-json", "message": "not JSON",
    }  # fmt: skip
    assert parse("json", written("json", outcomes))["summary"]["not_judged"] == 1


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


@given(st.text())
def test_visible_text_does_not_act_and_stays_as_it_is(text: str) -> None:
    shown = visible(text)

    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert visible(shown) == shown
    assert not [c for c in visible_lines(text) if unicodedata.category(c) in ("Cf", "Cs", "Zl", "Zp")]


@pytest.mark.parametrize(
    "text", ["plain", "Ünïcödé", "你好，世界", "مرحبا", "שלום", "नमस्ते", "👍🏽", "e\u0301", "ก็", "𝒳"]
)
def test_ordinary_text_of_any_script_is_shown_as_it_is(text: str) -> None:
    assert visible(text) == text


@given(text=ANY, data=st.data())
def test_an_excerpt_is_one_visible_line_around_its_span(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))

    shown = excerpt(text, (start, end))

    assert "\n" not in shown
    assert not acting(shown)
