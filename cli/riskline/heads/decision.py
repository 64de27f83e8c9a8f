"""Generative guards, read where they would say their verdict: no free text, only what may stand in an answer.

Every step of an answer is a few allowed continuations. The probability of one is the product of those of its tokens,
each among the tokens that are allowed where it stands; so it is what constrained decoding would give, without sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from riskline.errors import GuardError, RecordError
from riskline.heads.stream import DECIMALS, PROBED, softmax, stretched, worst
from riskline.manifest import Outputs, Step
from riskline.records import HeadRun, Label, Logits, Request, Scores
from riskline.window import Layout, row

if TYPE_CHECKING:
    from riskline.heads import Task
    from riskline.records import Floats, Integers

Words: TypeAlias = "tuple[int, ...]"
Chances: TypeAlias = "dict[str, float]"


@dataclass(frozen=True, slots=True)
class Choice:
    """A step in token ids: what stands before the answers, the answers, and what may follow one."""

    step: Step
    before: Words
    answers: Mapping[str, Words]
    none: Words | None
    separator: Words
    ends: tuple[int, ...]

    def following(self, path: Words, among: Sequence[str]) -> list[int]:
        """Return the ids that may follow `path`; where one answer ends and a longer one goes on, its ends as well."""
        tails = [self.answers[answer][len(path) :] for answer in among if self.answers[answer][: len(path)] == path]
        ids = dict.fromkeys(tail[0] for tail in tails if tail)
        return [*ids, *(self.stops if () in tails and ids else ())]

    @property
    def stops(self) -> Words:
        """The ids that end an answer: of the separator, and of what may follow the last one."""
        return (*self.separator[:1], *self.ends)

    @property
    def needed(self) -> set[int]:
        """Every id whose logit may be asked for."""
        among = list(self.answers)
        paths = {ids[:end] for ids in self.answers.values() for end in range(len(ids))}
        found = {key for path in paths for key in self.following(path, among)}
        return found | (set(self.stops) if self.step.reads == "categories" else set())


@dataclass(frozen=True, slots=True)
class Script:
    """What a generative guard may say of a role, and the columns of the graph's output by token id."""

    choices: tuple[Choice, ...]
    columns: Mapping[int, int]
    output: str

    @property
    def needed(self) -> set[int]:
        """Every id whose logit may be asked for."""
        return set[int]().union(*(choice.needed for choice in self.choices))

    @property
    def longest(self) -> int:
        """The most positions that an answer takes, lists of categories at their fullest."""
        lengths = [
            len(c.before) + (sum if c.step.reads == "categories" else max)(len(i) + 1 for i in c.answers.values())
            for c in self.choices
        ]
        return sum(lengths)


def script(outputs: Outputs, phrase: Callable[[str], Words], rows: Sequence[int]) -> Script:
    """Return the steps of a role in token ids; `phrase` spells the guard's own words, `rows` are its logits' ids.

    Raises:
        GuardError: two answers of a step are the same tokens, or the graph has no logits for one.
    """
    choices = tuple(_choice(step, phrase) for step in outputs.steps)
    made = Script(choices, {key: place for place, key in enumerate(rows)}, outputs.risk)
    if rows and (missing := sorted(made.needed - made.columns.keys())):
        raise GuardError(f"the graph gives no logits for token {missing[0]}, which an answer needs")
    return made


def _choice(step: Step, phrase: Callable[[str], Words]) -> Choice:
    said = {answer: phrase(step.before + answer) for answer in step.answers}
    # What all answers begin with is said before them: a word may run on from the one into the other.
    columns = zip(*said.values(), strict=False)
    shared = next((index for index, column in enumerate(columns) if len(set(column)) > 1), min(map(len, said.values())))
    shared = min(shared, len(phrase(step.before)))
    answers = {answer: ids[shared:] for answer, ids in said.items()}
    if len(set(answers.values())) < len(answers) or () in answers.values():
        raise GuardError(f"the guard's vocabulary cannot tell the answers {', '.join(map(repr, answers))} apart")
    return Choice(
        step,
        before=next(iter(said.values()))[:shared],
        answers=answers,
        none=None if step.none is None else phrase(step.before + step.none),
        separator=phrase(step.separator) if step.separator else (),
        ends=tuple(phrase(end)[0] for end in step.ends),
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a guard said of one text: probabilities of labels and kinds, and its words."""

    labels: Mapping[Label, float]
    kinds: Mapping[str, float]
    refusal: bool | None
    words: str


def decision(task: Task) -> HeadRun:
    """Score a text by the guard's answer to it; the worst window of a long one counts.

    Raises:
        RecordError: the model gave NaN or infinity, or the context leaves no room.
    """
    encoded, made = task.encoded, task.scripts[task.role]
    layout = Layout.of(encoded, task.manifest.window - made.longest, task.manifest.overlap)
    windows = list(layout.windows(len(encoded.judged)))
    found = []
    for start, _, end in windows:
        probes: list[Answer] = []
        if task.probe and task.outputs.trajectory and len(windows) == 1:
            for stop in range(PROBED, end, PROBED):
                probes.append((yield from _answer(made, row(encoded, 0, stop), probe=True)))
        found.append(_scores(task, [*probes, (yield from _answer(made, row(encoded, start, end)))]))
    return worst(found)


def _answer(made: Script, ids: Integers, *, probe: bool = False) -> Generator[Request, Logits, Answer]:
    """Ask step by step, each after the likeliest answer to the one before; a probe ends with the label."""
    labels: dict[Label, float] = {}
    kinds: dict[str, float] = {}
    refusal, words = None, list[str]()
    for choice in made.choices:
        step = choice.step
        if step.reads == "categories":
            if probe:
                break
            if labels and max(labels, key=lambda label: (labels[label], label)) is Label.safe:
                if choice.none is None:
                    continue
                said, text = choice.none, step.none or ""
            else:
                listed, said, text = yield from _list(made, choice, ids)
                kinds |= {step.answers[answer]: chance for answer, chance in listed.items()}
        else:
            chances = yield from _one(made, choice, _joined(ids, choice.before), list(choice.answers))
            text = max(chances, key=lambda answer: chances[answer])
            said = (*choice.before, *choice.answers[text])
            meanings: dict[str, float] = dict.fromkeys(step.answers.values(), 0.0)
            for answer, chance in chances.items():
                meanings[step.answers[answer]] += chance
            if step.reads == "label":
                labels = {Label[name]: chance for name, chance in meanings.items()}
            elif step.category is not None:
                kinds[step.category] = meanings["unsafe"]
            elif step.reads == "refusal":
                refusal = meanings["yes"] > meanings["no"]
        words.append(step.before + text)
        ids = _joined(ids, said)
    if not labels:
        labels = {Label.safe: 1 - max(kinds.values()), Label.unsafe: max(kinds.values())}
    return Answer(labels, kinds, refusal, "".join(words).strip())


def _joined(ids: Integers, more: Words) -> Integers:
    return np.concatenate((ids, np.array(more, np.int64)))


def _one(
    made: Script, choice: Choice, ids: Integers, among: Sequence[str], path: Words = ()
) -> Generator[Request, Logits, Chances]:
    """The probability of each answer that begins with `path`, given that one of them is said after `ids`."""
    inside = [answer for answer in among if choice.answers[answer][: len(path)] == path]
    if len(inside) == 1:
        return {inside[0]: 1.0}
    following = choice.following(path, inside)
    share = np.ones(1)
    if len(following) > 1:
        share = _among(made, (yield Request(_joined(ids, path), (made.output,), last=True)), following)
    chances: Chances = {}
    for key, chance in zip(following, share.tolist(), strict=True):
        if any(choice.answers[answer][: len(path) + 1] == (*path, key) for answer in inside):
            deeper = yield from _one(made, choice, ids, inside, (*path, key))
            chances |= {answer: chance * value for answer, value in deeper.items()}
        else:
            ended = next(answer for answer in inside if choice.answers[answer] == path)
            chances[ended] = chances.get(ended, 0.0) + chance
    return chances


def _list(made: Script, choice: Choice, ids: Integers) -> Generator[Request, Logits, tuple[Chances, Words, str]]:
    """How likely each answer is in the list that is said, the likeliest at every place; and that list."""
    listed = dict.fromkeys(choice.answers, 0.0)
    left, said, text, goes_on = list(choice.answers), choice.before, "", 1.0
    while left:
        chances = yield from _one(made, choice, _joined(ids, said), left)
        for answer, chance in chances.items():
            listed[answer] = min(1.0, listed[answer] + goes_on * chance)
        best = max(chances, key=lambda answer: chances[answer])
        left.remove(best)
        said, text = (*said, *choice.answers[best]), text + best
        if not left or not choice.separator or not choice.ends:
            break
        share = _among(made, (yield Request(_joined(ids, said), (made.output,), last=True)), choice.stops)
        goes_on *= float(share[0])
        if share[0] < 0.5:
            break
        said, text = (*said, *choice.separator), text + (choice.step.separator or "")
    return listed, said, text


def _among(made: Script, logits: Logits, ids: Sequence[int]) -> Floats:
    values = logits[made.output][-1][[made.columns[key] for key in ids]]
    if not np.isfinite(values).all():
        raise RecordError("non-finite", "the model gave NaN or infinity for this text; expected finite scores")
    return softmax(values)


def _scores(task: Task, answers: Sequence[Answer]) -> Scores:
    """Answers to beginnings of a text, and last to the whole, as rows; only the last says which kinds there are."""
    outputs, encoded, last = task.outputs, task.encoded, answers[-1]
    columns = {label: np.round([a.labels.get(label, 0.0) for a in answers], DECIMALS) for label in Label}
    kinds = np.full((len(answers), len(outputs.categories)), np.nan)
    told = any(choice.step.reads in ("categories", "category") for choice in task.scripts[task.role].choices)
    risk = 1 - float(columns[Label.safe][-1])
    if told and last.kinds:
        independent = outputs.category_scores == "multi" and not any(s.reads == "categories" for s in outputs.steps)
        scale = 1.0 if independent else risk
        kinds[-1] = np.round([scale * last.kinds.get(name, 0.0) for name in outputs.categories], DECIMALS)
    elif told:
        kinds[-1] = 0.0  # no list is said of a safe text
    bounds = [*range(PROBED, PROBED * len(answers), PROBED), len(encoded.judged)]
    probed = len(answers) > 1 or (task.probe and outputs.trajectory and len(encoded.judged) <= PROBED)
    return Scores(
        safe=columns[Label.safe],
        controversial=columns[Label.controversial] if Label.controversial in outputs.labels else None,
        unsafe=columns[Label.unsafe],
        kinds=kinds,
        categories=outputs.categories,
        offsets=stretched(encoded, bounds),
        role=task.role,
        trajectory=probed,
        context_truncated=encoded.context_truncated,
        tokens=len(encoded.judged),
        refusal=last.refusal,
        native=last.words,
    )
