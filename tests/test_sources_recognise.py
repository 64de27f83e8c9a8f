"""Recognition: which fields make a record, whose turns they are, and which turn is judged."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from riskline.records import Failure, Record
from riskline.sources import SourceOptions, read


def only(value: object, **options: Any) -> Record | Failure:
    data = json.dumps(value).encode()
    (item,) = read(["-"], SourceOptions(input_format="jsonl", **options), io.BytesIO(data))
    assert isinstance(item, Record | Failure)
    return item


def brief(item: Record | Failure) -> object:
    """Name each turn by the first letter of its role, with a star where it is judged; of a failure the code."""
    if isinstance(item, Failure):
        return item.code
    marks = ["*" if index in item.judged else "" for index in range(len(item.turns))]
    return " ".join(f"{turn.role[0]}{mark}:{turn.text}" for turn, mark in zip(item.turns, marks, strict=True))


def said(*messages: str) -> list[dict[str, object]]:
    """`user:hi` becomes a message; `assistant` alone has null as its content."""
    pairs = [message.partition(":") for message in messages]
    return [{"role": role, "content": text if colon else None} for role, colon, text in pairs]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"text": "t"}, "p*:t"),
        ({"text": ""}, "p*:"),
        ({"prompt": "p"}, "p*:p"),
        ({"prompt": "p", "response": "r"}, "p:p r*:r"),
        ({"prompt": "p", "response": None}, "p*:p"),
        ({"prompt": "p", "response": ""}, "p*:p"),
        ({"prompt": "p", "response": " "}, "p:p r*: "),
        ({"prompt": "", "response": ""}, "p*:"),
        ({"prompt": said("system:s", "user:p"), "response": said("assistant:r")}, "s:s p:p r*:r"),
        ({"prompt": said("user:p"), "response": "r"}, "p:p r*:r"),
        ({"prompt": said("user:p")}, "p*:p"),
        ({"prompt": "p", "response": []}, "p*:p"),
        ({"prompt": []}, "missing-field"),
        ({"prompt": 1}, "wrong-type"),
        ({"prompt": "p", "response": 1}, "wrong-type"),
        ({"response": "r"}, "missing-field"),
        ({"messages": said("system:s", "user:p", "assistant:r")}, "s:s p:p r*:r"),
        ({"messages": said("developer:s", "user:p")}, "s:s p*:p"),
        ({"messages": said("user:p", "assistant", "tool:out")}, "p:p r: p*:out"),
        ({"messages": said("user:p", "assistant:r", "function:out")}, "p:p r:r p*:out"),
        ({"messages": said("user:p", "assistant")}, "p*:p r:"),
        ({"messages": said("user:p", "assistant:")}, "p*:p r:"),
        ({"messages": said("user:p", "assistant:r", "user:")}, "p:p r:r p*:"),
        ({"messages": said("user:", "assistant:")}, "p*: r:"),
        ({"messages": said("assistant:")}, "r*:"),
        ({"messages": said("assistant")}, "missing-field"),
        ({"messages": said("system:s")}, "missing-field"),
        ({"messages": said("user:p", "system:s")}, "missing-field"),
        ({"messages": said("system:s", "assistant:")}, "s:s r*:"),
        ({"messages": []}, "missing-field"),
        ({"messages": {}}, "wrong-type"),
        ({"messages": "m"}, "wrong-type"),
        ({"messages": ["m"]}, "wrong-type"),
        ({"messages": [{"content": "c"}]}, "missing-field"),
        ({"messages": said("narrator:c")}, "wrong-type"),
        ({"messages": [{"role": 1, "content": "c"}]}, "wrong-type"),
        ({"messages": [{"role": "user", "content": 1}]}, "wrong-type"),
        ({"messages": None, "prompt": "p"}, "p*:p"),
        ({"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "p"}]}, "s:s p*:p"),
        ({"conversations": [{"from": "gpt", "value": "r"}, {"from": "observation", "value": "o"}]}, "r:r p*:o"),
        ({"conversations": said("user:p", "assistant:r")}, "p:p r*:r"),
        ({"custom_id": "x", "method": "POST", "body": {"model": "m", "messages": said("user:p")}}, "p*:p"),
        ({"body": {"messages": said("user:p")}}, "missing-field"),
        ({"custom_id": "x", "body": 1, "text": "t"}, "p*:t"),
        ({"text": "t", "prompt": "p", "messages": said("user:m")}, "p*:m"),
        ({"text": "t", "prompt": "p", "conversations": said("user:c")}, "p*:c"),
        ({"text": "t", "prompt": "p"}, "p*:p"),
    ],
)  # fmt: skip
def test_a_record_is_recognised_without_flags(value: object, expected: str) -> None:
    assert brief(only(value)) == expected


@pytest.mark.parametrize(
    ("options", "value", "expected"),
    [
        ({"text_field": "a"}, {"a": "x", "text": "t"}, "p*:x"),
        ({"text_field": "a.b"}, {"a": {"b": "x"}}, "p*:x"),
        ({"text_field": "a.b"}, {"a.b": "x", "a": {"b": "y"}}, "p*:x"),
        ({"text_field": "a.1.b"}, {"a": [0, {"b": "x"}]}, "p*:x"),
        ({"text_field": "a.2"}, {"a": ["x"]}, "missing-field"),
        ({"text_field": "a.b"}, {"a": "x"}, "missing-field"),
        ({"text_field": "a"}, {"text": "t"}, "missing-field"),
        ({"text_field": "a"}, {"a": ["x"]}, "wrong-type"),
        ({"prompt_field": "q"}, {"q": "x", "text": "t"}, "p*:x"),
        ({"prompt_field": "q"}, {"q": "x", "response": "r"}, "p:x r*:r"),
        ({"prompt_field": "q"}, {"prompt": "x"}, "missing-field"),
        ({"prompt_field": "q", "response_field": "a"}, {"q": "x", "a": "y", "response": "r"}, "p:x r*:y"),
        ({"prompt_field": "q", "response_field": "a"}, {"q": "x", "a": None}, "p*:x"),
        ({"prompt_field": "q", "response_field": "a"}, {"q": "x"}, "p*:x"),
        ({"prompt_field": "q"}, {"q": said("user:x")}, "p*:x"),
        ({"response_field": "a"}, {"prompt": "p", "a": "y"}, "p:p r*:y"),
        ({"response_field": "a"}, {"a": "y"}, "r*:y"),
        ({"response_field": "a"}, {"a": ""}, "r*:"),
        ({"response_field": "a"}, {"b": ""}, "missing-field"),
        ({"messages_field": "data.turns"}, {"data": {"turns": said("user:x")}, "text": "t"}, "p*:x"),
        ({"messages_field": "data.turns"}, {"data": {}}, "missing-field"),
        ({"role": "response"}, {"text": "t"}, "r*:t"),
        ({"role": "response"}, {"prompt": "p"}, "p*:p"),
        ({"all_turns": True}, {"messages": said("system:s", "user:p", "assistant", "tool:o", "assistant:r")},
         "s:s p*:p r: p*:o r*:r"),
        ({"all_turns": True}, {"prompt": "p", "response": "r"}, "p*:p r*:r"),
        ({"all_turns": True}, {"text": "t"}, "p*:t"),
        ({"all_turns": True}, {"messages": said("user:p", "system:s")}, "p*:p s:s"),
        ({"all_turns": True}, {"messages": said("system:s")}, "missing-field"),
    ],
)  # fmt: skip
def test_options_say_which_fields_and_which_turns(options: dict[str, Any], value: object, expected: str) -> None:
    assert brief(only(value, **options)) == expected


@pytest.mark.parametrize(
    ("content", "text", "unseen"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb", ()),
        ([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}], "a", ("image",)),
        ([{"type": "input_audio"}, {"type": "input_text", "text": "a"}, {"type": "input_audio"}], "a", ("audio",)),
        ([{"type": "image_url"}], "", ("image",)),
        ([{"type": "tool_result", "content": "x"}], "", ("tool_result",)),
        ([{"type": "\x1b["}], "", ("\\x1b[",)),
        ([{"type": 5}], "", ("unknown",)),
        ([{}], "", ("unknown",)),
        ([{"text": "a"}, "b"], "a\nb", ()),
        ([{"type": "refusal", "refusal": "no"}], "no", ()),
    ],
)
def test_text_parts_are_joined_and_others_are_named(content: object, text: str, unseen: tuple[str, ...]) -> None:
    for role in ("user", "assistant"):
        record = only({"messages": [{"role": role, "content": content}]})

        assert isinstance(record, Record)
        assert record.turns[record.judged[0]].text == text
        assert record.unseen == unseen


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        ([{"type": "text"}], "missing-field", "`messages.0.content.0` has `type`; expected `text`"),
        ([{"type": "text", "text": 1}], "wrong-type", "`messages.0.content.0.text` is a number; expected a string"),
        ([1], "wrong-type", "`messages.0.content.0` is a number; expected an object with `type`"),
        ([], "missing-field",
         "`messages` has only system messages or none with text to judge; expected a prompt or a response"),
    ],
)  # fmt: skip
def test_broken_parts_are_failures_that_name_their_path(content: object, code: str, message: str) -> None:
    failure = only({"messages": [{"role": "user", "content": content}]})

    assert isinstance(failure, Failure)
    assert (failure.code, failure.message) == (code, message)


def test_messages_name_what_was_found_and_never_quote_a_record() -> None:
    for value, message in [
        ({"a": 1, "b": 2}, "the record has `a`, `b`; expected `messages`, `conversations`, `prompt` or `text`"),
        ({f"k{n}": n for n in range(9)},
         "the record has `k0`, `k1`, `k2`, `k3`, `k4`, `k5`, 3 more; "
         "expected `messages`, `conversations`, `prompt` or `text`"),
        ({"messages": said("narrator\x1b:secret")},
         "`messages.0.role` is `narrator\\x1b`; expected one of `user`, `human`, `tool`, `function`, `observation`, "
         "`assistant`, `gpt`, `model`, `function_call`, `system`, `developer`"),
        ({"messages": [{"content": "secret"}]}, "`messages.0` has `content`; expected `role` and `content`"),
        ({"messages": []}, "`messages` has no messages to judge; expected a prompt or a response"),
        ({"prompt": {"x": "secret"}}, "`prompt` is an object; expected a string or a list of messages"),
    ]:  # fmt: skip
        failure = only(value)

        assert isinstance(failure, Failure)
        assert failure.message == message


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({"id": "a"}, "a"),
        ({"id": 7}, "7"),
        ({"custom_id": "c", "id": "a"}, "c"),
        ({"custom_id": None, "id": "a"}, "a"),
        ({"id": True}, None),
        ({"id": 1.5}, None),
        ({"id": ""}, None),
        ({}, None),
    ],
)
def test_a_record_keeps_its_own_name(value: dict[str, object], name: str | None) -> None:
    item = only(value | {"text": "t"})
    failure = only(value | {"text": 1})

    assert item.origin.id == failure.origin.id == name
    assert item.origin.address == "-:1"


def test_what_a_model_thought_is_kept_beside_what_it_said() -> None:
    message = {"role": "assistant", "content": "Yes.", "reasoning_content": "Is it? <think>"}
    item = only({"messages": [{"role": "user", "content": "p"}, message]})
    assert isinstance(item, Record)
    assert [turn.reasoning for turn in item.turns] == [None, "Is it? <think>"]
    assert brief(only({"messages": [{"role": "user", "content": "p", "reasoning_content": 1}]})) == "wrong-type"
