"""score's JSONL: what came in comes back byte for byte, with one more member."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sinks import ANY, acting, judged, obeyed, written

from riskline.errors import UsageError
from riskline.records import Failure, Judged, Origin, Outcome, Verdict
from riskline.sinks import SinkOptions
from riskline.sinks.member import holds, without

CALM = Verdict(
    label=judged("x").verdict.label, risk=0.9, judged="prompt", role="prompt", guard="g", policy="p", tokens=1
)
JUDGED = (
    b'{"schema":1,"label":"unsafe","risk":0.9,"at":null,"probabilities":{"safe":1.0,"controversial":null,"unsafe":0.0},'
    b'"category":null,"categories":{},"judged":"prompt","role":"prompt","refusal":null,"onset":null,"fired":null,'
    b'"peak":null,"tokens":1,"windows":1,"guard":"g","policy":"p","trajectory":null}'
)


THIRD = Origin("p.jsonl", 3)


def record(raw: bytes | None, origin: Origin = THIRD, text: str = "x") -> Judged:
    one = judged(text)
    return Judged(replace(one.record, raw=raw, origin=origin), replace(CALM, turn=0))


def failure(raw: bytes | None) -> Failure:
    return Failure("wrong-type", "no", THIRD, raw)


def scored(outcome: Outcome, options: SinkOptions | None = None) -> bytes:
    return written("jsonl", [outcome], options or SinkOptions(), "score")


@pytest.mark.parametrize(
    ("outcome", "options", "expected"),
    [
        (record(b'{"text":"x","n":1.10}'), SinkOptions(), b'{"text":"x","n":1.10,"verdict":%s}\n'),
        (record(b'{"b":1, "a":2 } \t\r'), SinkOptions(), b'{"b":1, "a":2 ,"verdict":%s}\n'),
        (record(b"{}"), SinkOptions(), b'{"verdict":%s}\n'),
        (record(b" { } "), SinkOptions(), b' { "verdict":%s}\n'),
        (record(b'{"text":"x"}'), SinkOptions(key='a"b'), b'{"text":"x","a\\"b":%s}\n'),
        (record(b'{"text":"x"}'), SinkOptions(only_verdict=True), b'{"path":"p.jsonl","line":3,"verdict":%s}\n'),
        (record(None), SinkOptions(), b'{"path":"p.jsonl","line":3,"text":"x","verdict":%s}\n'),
        (record(None, Origin("a.txt", by="file")), SinkOptions(), b'{"path":"a.txt","text":"x","verdict":%s}\n'),
        (
            record(b"{}", Origin("a.json", 9, "7", "id")),
            SinkOptions(only_verdict=True),
            b'{"path":"a.json","id":"7","verdict":%s}\n',
        ),
        (record(b'{"m":{"verdict":1}}'), SinkOptions(), b'{"m":{"verdict":1},"verdict":%s}\n'),
        (record(b'{"a":"verdict"}'), SinkOptions(), b'{"a":"verdict","verdict":%s}\n'),
        (
            record(b'{"n":123456789012345678901234567890, "verdict" : [1,{"verdict":2}] ,"f":1.10}'),
            SinkOptions(overwrite_key=True),
            b'{"n":123456789012345678901234567890,"f":1.10,"verdict":%s}\n',
        ),
        (record(b'{"verdict":1}'), SinkOptions(overwrite_key=True), b'{"verdict":%s}\n'),
    ],
)
def test_a_record_comes_back_with_its_verdict(outcome: Judged, options: SinkOptions, expected: bytes) -> None:
    assert scored(outcome, options) == expected % JUDGED


@pytest.mark.parametrize(
    ("raw", "options", "expected"),
    [
        (None, SinkOptions(), b'{"path":"p.jsonl","line":3,"failure":{"code":"wrong-type","message":"no"}}\n'),
        (b'{"a":1}', SinkOptions(), b'{"a":1,"failure":{"code":"wrong-type","message":"no"}}\n'),
        (
            b'{"a":1}',
            SinkOptions(only_verdict=True),
            b'{"path":"p.jsonl","line":3,"failure":{"code":"wrong-type","message":"no"}}\n',
        ),
        (b'{"verdict":1}', SinkOptions(), b'{"verdict":1,"failure":{"code":"wrong-type","message":"no"}}\n'),
        (
            b'{"failure":1,"a":2}',
            SinkOptions(overwrite_key=True),
            b'{"a":2,"failure":{"code":"wrong-type","message":"no"}}\n',
        ),
    ],
)
def test_a_record_that_cannot_be_judged_comes_back_with_its_failure(
    raw: bytes | None, options: SinkOptions, expected: bytes
) -> None:
    assert scored(failure(raw), options) == expected


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b'{"verdict":1}', "verdict"),
        (rb'{"v\u0065rdict":1}', "verdict"),
        (rb'{"a\/b":1}', "a/b"),
        (rb'{"a\"b":1}', 'a"b'),
        (rb'{"\ud83d\ude00":1}', "😀"),
    ],
)
def test_a_key_that_is_taken_is_refused_however_it_is_spelled(raw: bytes, key: str) -> None:
    with pytest.raises(UsageError, match=r"the record at p.jsonl:3 already has the key") as raised:
        scored(record(raw), SinkOptions(key=key))

    assert raised.value.hint == "--key NAME writes another key, --overwrite-key replaces it"
    assert list(json.loads(scored(record(raw), SinkOptions(key=key, overwrite_key=True)))) == [key]


def test_a_taken_failure_key_has_a_hint_that_helps() -> None:
    with pytest.raises(UsageError) as raised:
        scored(failure(b'{"failure":1}'))

    assert raised.value.hint == "--only-verdict leaves the record out, --overwrite-key replaces it"


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), ANY),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(ANY, inner, max_size=3)),
    max_leaves=8,
)
KEYS = st.one_of(ANY, st.sampled_from(["verdict", "a/b", '","', "}", "\\"]))


@settings(deadline=None)
@given(value=st.dictionaries(KEYS, VALUES, max_size=5), key=KEYS, data=st.data())
def test_taking_a_member_out_touches_no_other(value: dict[str, object], key: str, data: st.DataObject) -> None:
    indent = data.draw(st.sampled_from([None, 1]))
    raw = json.dumps(value, ensure_ascii=data.draw(st.booleans()), indent=indent).encode()

    rest = without(raw, key)

    assert holds(raw, key) == (key in value)
    assert json.loads(rest) == {name: member for name, member in value.items() if name != key}
    assert list(json.loads(rest)) == [name for name in value if name != key]


@settings(deadline=None)
@given(text=ANY, path=ANY, id=ANY, message=ANY)
def test_what_score_writes_itself_acts_on_nothing_and_says_the_same(
    text: str, path: str, id: str, message: str
) -> None:
    named, whole = Origin(path, 1, id, "id"), Origin(path, by="file")
    outcomes: list[Outcome] = [record(None, whole, text), record(None, named, text), Failure("bad", message, whole)]

    data = written("jsonl", outcomes, SinkOptions(), "score").decode()

    first, second, third = map(json.loads, data.splitlines())
    assert not acting(data)
    assert not obeyed(data)
    assert (first["text"], second["id"], third["failure"]["message"]) == (text, id, message)


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
