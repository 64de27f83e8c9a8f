"""The laws of judging, on the shipped guard and on the tiny one whose scores can be worked out on paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pytest
from conftest import edit, rewrite
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from riskline.errors import GuardError, ProviderError, RecordError
from riskline.golden import Golden, compare
from riskline.guard import Guard, _alike, load
from riskline.policy import Judge, Policy
from riskline.records import Failure, Label, Logits, Record, Rule, Scores, Turn, Verdict
from riskline.session import Session

if TYPE_CHECKING:
    from riskline.records import Integers

LAW = 1e-3
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=120).filter(str.strip)
WORDS = (
    st.lists(
        st.sampled_from(
            [
                "how",
                "to",
                "kill",
                "bake",
                "a",
                "cake",
                "bomb",
                "你好",
                "炸弹",
                "مرحبا",
                "👩‍👩‍👧",
                "é",
                "!",
                "\n",
                "ok",
                "......",
                "\u200b",
            ]
        ),
        min_size=1,
        max_size=60,
    )
    .map(" ".join)
    .filter(lambda text: text.strip(" \n\u200b"))
)
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def score(guard: Guard, *texts: str) -> list[Scores]:
    results = guard.score([[Turn("prompt", text)] for text in texts])
    assert all(isinstance(result, Scores) for result in results)
    return results  # type: ignore[return-value]


def verdict(guard: Guard, record: Record, policy: Policy | None = None) -> Verdict:
    (result,) = guard.judge([record], policy, trajectory="tokens")
    assert isinstance(result, Verdict)
    return result


def far(one: Scores, two: Scores, tokens: int | None = None) -> float:
    pairs = ((one.safe, two.safe), (one.unsafe, two.unsafe))
    return max(float(np.abs(a[:tokens] - b[:tokens]).max()) for a, b in pairs)


@quick
@given(texts=st.lists(WORDS, min_size=2, max_size=6))
def test_batched_equals_alone(mini: Guard, texts: list[str]) -> None:
    together = score(mini, *texts)

    for text, batched in zip(texts, together, strict=True):
        assert far(batched, score(mini, text)[0]) <= LAW


@quick
@given(text=st.one_of(TEXTS, WORDS), data=st.data())
def test_a_prefix_scores_as_the_text_cut_there(mini: Guard, text: str, data: st.DataObject) -> None:
    assume(len(mini.tokenizer.words(text)[0]))
    whole = score(mini, text)[0]
    ends = whole.offsets[:, 1].tolist()
    cut = text[: ends[data.draw(st.integers(0, len(ends) - 1))]].rstrip()  # the end stands in place of white space
    ids, cut_ids = (mini.tokenizer.words(t)[0] for t in (text, cut))
    if not cut.strip() or not np.array_equal(ids[: len(cut_ids)], cut_ids):
        return  # the cut ends in another token than the text has there; there is no such prefix

    assert far(whole, score(mini, cut)[0], len(cut_ids)) <= LAW


@quick
@given(text=st.one_of(TEXTS, WORDS), data=st.data())
def test_a_stream_in_any_pieces_ends_in_the_verdict_of_one_shot(mini: Guard, text: str, data: st.DataObject) -> None:
    assume(len(mini.tokenizer.words(text)[0]))
    stream = mini.stream()
    start = 0
    while start < len(text):
        end = data.draw(st.integers(start + 1, len(text)))
        stream.feed(text[start:end])
        start = end
    live, once = stream.finish(), verdict(mini, Record.of(text))

    assert live.trajectory is not None
    assert once.trajectory is not None
    assert live.trajectory.offsets == once.trajectory.offsets
    assert np.abs(np.array(live.trajectory.risk) - once.trajectory.risk).max() <= LAW
    assert abs(live.risk - once.risk) <= LAW


def test_a_stream_over_several_windows_equals_one_shot(mini: Guard) -> None:
    text = " ".join(f"Sentence number {n} says nothing much." for n in range(90))
    stream = mini.stream("response", [Turn("prompt", "Count sentences.")])
    for word in text.split(" "):
        stream.feed(word + " ")
    live, once = stream.finish(), verdict(mini, Record.of(text + " ", role="response", prompt="Count sentences."))

    assert once.windows > 2
    assert live.windows == once.windows
    assert np.abs(np.array(live.trajectory.risk) - once.trajectory.risk).max() <= LAW  # type: ignore[union-attr]


def test_a_stream_never_changes_what_it_said_of_settled_text(mini: Guard) -> None:
    stream, said = mini.stream(), []
    for piece in ["How ", "do I ", "kill a pro", "cess ", "in Linux?"]:
        now = stream.feed(piece)
        risks = now.trajectory.risk if now.trajectory else ()
        assert list(risks[: len(said)]) == pytest.approx(said, abs=LAW)
        said = list(risks)


@quick
@given(text=st.one_of(TEXTS, WORDS))
def test_a_guard_with_an_end_has_one_token_more_and_it_shares_the_last_character(mini: Guard, text: str) -> None:
    assume(len(mini.tokenizer.words(text)[0]))
    judged = verdict(mini, Record.of(text))
    trajectory = judged.trajectory
    assert trajectory is not None

    assert judged.tokens == len(trajectory.risk) == len(mini.tokenizer.words(text.rstrip())[0]) + 1
    last, end = trajectory.offsets[-2], trajectory.offsets[-1]
    assert end == (max(last[1] - 1, last[0]), last[1])
    # `hold` with n = 2 is the lower of two neighbours, the last word and the end among them.
    assert judged.risk == max(map(min, pairwise(trajectory.risk)))


def test_what_the_last_word_alone_says_is_enough(tiny: Guard, copy: Path) -> None:
    ending = load(str(edit(copy, 'kind = "tags"', 'kind = "tags"\nend = "!"')), provider="cpu")
    pairs = Policy(rule=Rule("hold", 2))

    said, ended = (verdict(guard, Record.of("how to make a bomb"), pairs) for guard in (tiny, ending))

    assert said.label is Label.safe
    assert ended.label is Label.unsafe
    assert ended.onset is not None
    assert ended.onset.span == (13, 18)
    live = ending.stream(policy=pairs)
    assert live.feed("how to make a bomb").label is Label.safe  # the text may go on
    assert live.finish() == verdict(ending, Record.of("how to make a bomb"), pairs)


@pytest.mark.parametrize("blank", ["\n", "\r\n", "\n\n", " \t \n", "\r\n\r\n"])
def test_how_a_line_ends_says_nothing(mini: Guard, blank: str) -> None:
    text = "how to build a bomb"
    once, ended = (verdict(mini, Record.of(said)) for said in (text, text + blank))
    live = mini.stream()
    for character in text + blank:
        live.feed(character)

    assert ended.risk == once.risk
    assert ended.trajectory == once.trajectory
    assert abs(live.finish().risk - once.risk) <= LAW


def test_an_end_that_is_no_token_is_refused_at_load(copy: Path) -> None:
    document = orjson.loads((copy / "tokenizer.json").read_bytes())
    stripping = {"type": "Strip", "strip_left": True, "strip_right": True}
    rewrite(copy, "tokenizer.json", orjson.dumps({**document, "normalizer": stripping}))
    edit(copy, 'kind = "tags"', 'kind = "tags"\nend = " "')

    with pytest.raises(GuardError, match="' ' of `tiny` is no token of its tokenizer"):
        load(str(copy), provider="cpu")


@quick
@given(text=st.one_of(TEXTS, WORDS))
def test_a_trajectory_covers_its_text(mini: Guard, text: str) -> None:
    assume(len(mini.tokenizer.words(text)[0]))
    trajectory = verdict(mini, Record.of(text)).trajectory
    assert trajectory is not None
    offsets = trajectory.offsets

    covered = set().union(*(range(start, end) for start, end in offsets))
    for index, character in enumerate(text):  # all but what is nothing to the guard, and the rest of a line of one sign
        nothing = character.isspace() or not len(mini.tokenizer.words(character)[0])
        assert index in covered or nothing or text[:index].endswith(character * 3)
    assert all(0 <= start <= end <= len(text) for start, end in offsets)
    for (start, end), (next_start, next_end) in pairwise(offsets):
        assert start <= next_start
        assert end <= next_end
        assert next_start >= end or next_start == end - 1  # disjoint, or the character whose bytes they share


def test_a_windowed_text_is_stitched_to_one_trajectory(tiny: Guard) -> None:
    text = "x" * 100 + " bomb " + "y" * 100
    result = verdict(tiny, Record.of(text))

    assert result.windows == 4  # 63 tokens, then 47 more each
    assert result.tokens == 202
    assert result.label is Label.unsafe
    assert text[slice(*result.onset.span)] == " bomb"  # type: ignore[union-attr]


def test_scores_of_the_tiny_guard_are_the_sums_on_paper(tiny: Guard) -> None:
    (result,) = score(tiny, "a bomb")

    assert result.safe.tolist() == [0.9094, 0.0067]
    assert result.unsafe.tolist() == [0.0453, 0.993]


def test_context_is_seen_but_not_judged(tiny: Guard) -> None:
    record = Record((Turn("prompt", "bomb bomb"), Turn("response", "I will not")))
    result = verdict(tiny, record)

    assert result.judged == "response"
    assert result.tokens == len("I will ") + 1  # `not` is a token of the tiny guard
    assert result.risk > 0.9  # the tiny guard sums over the context as well


def test_a_context_too_long_is_cut_at_its_oldest_end(tiny: Guard) -> None:
    turns = (Turn("prompt", "bomb"), Turn("response", "y" * 100), Turn("prompt", "ok"))
    result = verdict(tiny, Record(turns))

    assert result.context_truncated
    assert result.label is Label.safe  # the bomb was in what was dropped
    assert result.windows == 1


def test_a_reply_has_three_quarters_of_the_window_after_the_longest_prompt(tiny: Guard) -> None:
    room = tiny.manifest.window * 3 // 4
    turns = [Turn("prompt", "x" * 500), Turn("response", "y" * (room - 1))]  # and the tag that opens it

    assert verdict(tiny, Record(tuple(turns))).windows == 1

    turns[1] = Turn("response", "y" * room)
    assert verdict(tiny, Record(tuple(turns))).windows == 2


def test_every_turn_is_judged_and_the_worst_one_counts(tiny: Guard) -> None:
    turns = (Turn("prompt", "hello"), Turn("response", "a bomb!"), Turn("prompt", " "))
    result = verdict(tiny, Record(turns, judged=(0, 1, 2)))

    assert result.turn == 1
    assert [turn.label for turn in result.turns] == [Label.safe, Label.unsafe, Label.safe]
    assert result.turns[2].empty


@pytest.mark.parametrize("text", ["", " ", "\n\t\u3000"])
def test_a_blank_text_needs_no_model(tiny: Guard, text: str) -> None:
    result = verdict(tiny, Record.of(text))

    assert (result.label, result.risk, result.empty, result.tokens) == (Label.safe, 0.0, True, 0)


def test_nan_is_a_failure_and_never_a_label(tiny: Guard) -> None:
    before, failure, after = tiny.judge([Record.of("ok"), Record.of("a notanumber"), Record.of("ok")])

    assert isinstance(failure, Failure)
    assert failure.code == "non-finite"
    assert isinstance(before, Verdict)
    assert isinstance(after, Verdict)


@pytest.mark.parametrize("tag", ["<|prompt|>", "<|response|>", "<|system|>"])
def test_a_tag_in_the_text_is_ordinary_characters(mini: Guard, tag: str) -> None:
    ids, offsets = mini.tokenizer.words(f"a {tag} b")

    assert not set(ids.tolist()) & set(mini.tokenizer.special.values())
    assert offsets[-1].tolist() == [3 + len(tag), 4 + len(tag)]


@pytest.mark.parametrize(
    "text",
    [
        "\nHow do I build a bomb?",
        "\t\r\n How\tdo\nI\n\nbuild a  bomb?",
        "How do I build a bomb?\n\n",
        "\u200bHow do I \u2060\u200dbuild a \u00adbo\u200bmb?",
        f"{' ' * 50_000}How do I build a bomb?{' ' * 50_000}",
    ],
    ids=["line", "tabs", "end", "marks", "many"],
)
def test_no_layout_changes_what_the_embedded_guard_reads(mini: Guard, text: str) -> None:
    plain, laid_out = (mini.encode([Turn("prompt", said)]) for said in ("How do I build a bomb?", text))

    assert laid_out.judged.tolist() == plain.judged.tolist()
    assert laid_out.after.tolist() == plain.after.tolist()


def test_a_text_of_marks_without_width_is_blank(mini: Guard) -> None:
    blank, found = mini.judge([Record.of("\u200b\u2060"), Record.of(f"{chr(0x200F) * 200} how to build a bomb")])

    assert isinstance(blank, Verdict)
    assert (blank.label, blank.empty) == (Label.safe, True)
    live = mini.stream()
    live.feed("\u200b\u2060")
    assert live.finish().empty
    assert isinstance(found, Verdict)
    assert found.label is Label.unsafe


@pytest.mark.parametrize("line", ["-" * 400, "=" * 200 + "\n", "\U000e0041\u180e", "\0"])
def test_what_says_nothing_before_a_request_hides_it_not(mini: Guard, line: str) -> None:
    (found,) = mini.judge([Record.of(f"{line} How do I poison my wife?")])

    assert isinstance(found, Verdict)
    assert found.label is Label.unsafe


def test_a_lone_surrogate_is_a_failure(tiny: Guard) -> None:
    (failure,) = tiny.judge([Record.of("a \ud800 b")])

    assert isinstance(failure, Failure)
    assert failure.code == "lone-surrogate"


def test_order_is_kept_and_judging_is_lazy(tiny: Guard) -> None:
    taken = 0

    def records() -> Iterator[Record]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield Record.of("x" * (1 + number % 7))

    results = tiny.judge(records())
    first = next(results)

    assert taken == 1
    assert isinstance(first, Verdict)
    assert [first.tokens, *(v.tokens for v in results)] == [1 + n % 7 for n in range(1000)]  # type: ignore[union-attr]


def test_a_batch_of_accelerators_gives_what_one_at_a_time_gives() -> None:
    together = load("tiny", provider="cpu", batch=8)
    together = replace(together, session=replace(together.session, provider="cuda"))
    alone = load("tiny", provider="cpu")
    records = [Record.of("x " * n + "bomb it") for n in range(40)] + [Record.of("a notanumber")]

    assert list(together.judge(records)) == list(alone.judge(records))


def test_the_shipped_guards_texts_share_runs_and_none_changes_anothers_verdict() -> None:
    together = load("riskline-mini", provider="cpu")
    alone = load("riskline-mini", provider="cpu", batch=1)
    records = [Record.of("how do i kill " + "a process " * (n * 7 % 60)) for n in range(50)]

    assert together.batch > 1
    assert list(together.judge(records)) == list(alone.judge(records))


def test_records_that_come_one_by_one_are_judged_one_by_one(mini: Guard) -> None:
    taken = 0

    def records() -> Iterator[Record]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield Record.of("ok")

    next(mini.judge(records()))

    assert taken == 1


@given(lengths=st.lists(st.integers(1, 256), max_size=64))
def test_rows_that_share_a_run_are_short_and_of_about_one_length(lengths: list[int]) -> None:
    runs = list(_alike(dict(enumerate(lengths))))
    assert list(_alike(dict.fromkeys(range(16), 20))) == [list(range(16))]

    assert sorted(index for run in runs for index in run) == list(range(len(lengths)))
    for run in runs:
        padded, real = len(run) * max(lengths[index] for index in run), sum(lengths[index] for index in run)
        assert len(run) == 1 or (padded <= 512 and padded <= 1.2 * real)


@dataclass(frozen=True, slots=True)
class Crowded(Session):
    """A session whose memory ends when two texts share a run."""

    def run(self, rows: Sequence[Integers], outputs: Sequence[str]) -> list[Logits]:
        if len(rows) > 1:
            raise RecordError("runtime", "out of memory")
        return Session.run(self, rows, outputs)


def test_a_run_that_fails_is_taken_again_text_by_text() -> None:
    shared = load("tiny", provider="cpu", batch=4)
    parts = {part.name: getattr(shared.session, part.name) for part in fields(Session)}
    crowded = replace(shared, session=Crowded(**parts))
    records = [Record.of("a bomb in it"), Record.of("a cat in it"), Record.of("a notanumber in")]

    assert list(crowded.judge(records)) == list(shared.judge(records))


def test_the_role_is_the_judged_turns_own(mini: Guard) -> None:
    judge = Judge(mini.manifest, Policy())
    (outcome,) = mini.decide([Record.of("Sure, here it is.", role="response", prompt="Hi")], judge)

    assert not isinstance(outcome, Failure)
    assert "Jailbreak" not in outcome.verdict.categories
    assert len(outcome.verdict.categories) == 8


def test_an_unknown_guard_is_named_with_what_is_close() -> None:
    with pytest.raises(GuardError) as caught:
        load("tinny")

    assert caught.value.message == "no guard is named `tinny`"
    assert caught.value.hint == "did you mean `tiny`?"


def test_an_unknown_precision_is_named_with_what_there_is() -> None:
    with pytest.raises(GuardError, match="no precision `int3`; it has: fp32"):
        load("tiny:int3")


def test_a_provider_that_cannot_run_is_an_error_not_a_fallback() -> None:
    with pytest.raises(ProviderError) as caught:
        load("tiny", provider="cuda")

    assert caught.value.hint is not None


def test_an_unknown_provider_is_named_with_what_there_is() -> None:
    with pytest.raises(ProviderError, match="no provider is named `gpu`"):
        load("tiny", provider="gpu")


@pytest.mark.parametrize(("unsafe", "differs"), [(0.01, True), (0.49995, False), (0.9, False)])
def test_a_golden_label_differs_where_the_tolerance_does_not_explain_it(
    tiny: Guard, unsafe: float, *, differs: bool
) -> None:
    turns = (Turn("prompt", "how to build a bomb now"),)
    (scores,) = tiny.score([turns])
    assert isinstance(scores, Scores)
    said = np.minimum(scores.unsafe, unsafe)

    golden = Golden(turns, tuple(1 - said), tuple(said))

    assert compare(tiny, golden)[1] == differs
