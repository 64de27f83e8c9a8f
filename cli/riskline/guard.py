"""A guard: its manifest, template, tokenizer, session and head, put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from riskline.asked import Asked
from riskline.catalog import DEFAULT_GUARD, Bundle, check_files, find
from riskline.errors import UNREAD, GuardError, RecordError
from riskline.heads import HEADS, Task
from riskline.heads.decision import Script, script
from riskline.heads.stream import names_of
from riskline.manifest import Manifest
from riskline.policy import Judge, Policy
from riskline.records import (
    Encoded,
    Failure,
    HeadRun,
    Judged,
    Label,
    Logits,
    Outcome,
    Record,
    Request,
    Role,
    Scores,
    TrajectoryKind,
    Turn,
    Verdict,
)
from riskline.session import Beginnings, Kept, Session, open_session
from riskline.stream import Stream
from riskline.template import render
from riskline.tokenizer import Tokenizer

_ACCELERATED_BATCH = 32
_SHARED_TOKENS = 512
"""Tokens of a run that texts share on the CPU, padding included: more bring nothing."""
_PADDED = 1.2
"""How much longer padding may make such a run."""
_WIDE = ("fp32", "fp16", "bf16")
"""Precisions whose products every provider has."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A loaded guard. It holds no state of records between them and may be used from several threads at once.

    `batch` is how many texts may share a run: on the CPU what the manifest says, of like length, so that little is
    padded.
    """

    bundle: Bundle
    tokenizer: Tokenizer
    session: Session
    batch: int = 1
    scripts: Mapping[Role, Script] = field(default_factory=dict)
    beginnings: Beginnings = field(default_factory=Beginnings)

    @property
    def on_cpu(self) -> bool:
        """Whether the CPU runs the graph, where texts share a run only if that changes no score."""
        return self.session.provider == "cpu"

    @property
    def manifest(self) -> Manifest:
        """What the guard's files and numbers mean."""
        return self.bundle.manifest

    def judge(
        self, records: Iterable[Record], policy: Policy | None = None, *, trajectory: TrajectoryKind = "none"
    ) -> Iterator[Verdict | Failure]:
        """Yield a verdict or a failure for every record, in order.

        Of a list or the like as many records as may share a run, `batch`, are judged at a time, and so on an
        accelerator; of any other iterable each is judged as it comes.

        Raises:
            ConfigurationError: the policy names a category that the guard does not have.
        """
        judge = Judge(self.manifest, policy or Policy(), trajectory)
        judge.policy.check(self.manifest)
        source, size = iter(records), self.batch if isinstance(records, Sequence) or not self.on_cpu else 1
        while chunk := list(islice(source, size)):
            for outcome in self.decide(chunk, judge):
                yield outcome if isinstance(outcome, Failure) else outcome.verdict

    def decide(self, records: Sequence[Record], judge: Judge) -> list[Outcome]:
        """Return the outcome of each record of one batch."""
        tasks = [(record, index) for record in records if record.turns for index in record.judged]
        decided = iter(self._decide([record.turns[: index % len(record.turns) + 1] for record, index in tasks], judge))
        outcomes: list[Outcome] = []
        for record in records:
            if not record.turns:
                outcomes.append(Failure("no-text", "the record has no turns", record.origin, record.raw))
                continue
            verdicts = [
                verdict if isinstance(verdict, RecordError) else replace(verdict, turn=index)
                for index, verdict in zip(record.judged, decided, strict=False)
            ]
            outcomes.append(_outcome(record, verdicts))
        return outcomes

    def score(self, conversations: Sequence[Sequence[Turn]], *, probe: bool = False) -> list[Scores | RecordError]:
        """Return the scores of the last turn of each conversation, before any policy.

        All share one run, on the CPU those of like length; where memory ends, each has its own.

        With `probe`, a guard that is read at a text's end is read along the text as well, which takes far longer.
        """
        results: dict[int, Scores | RecordError] = {}
        kept: dict[int, Kept] = {}
        waiting = {
            index: run
            for index, turns in enumerate(conversations)
            if (run := self._start(turns, index, results, kept, probe=probe))
        }
        requests = {index: step for index, run in waiting.items() if (step := _advance(run, None, index, results))}
        while requests:
            for index, logits in zip(requests, self._run(requests, kept), strict=True):
                if step := _advance(waiting[index], logits, index, results):
                    requests[index] = step
            requests = {index: step for index, step in requests.items() if index not in results}
        return [results[index] for index in range(len(conversations))]

    def stream(self, role: Role = "prompt", context: Sequence[Turn] = (), policy: Policy | None = None) -> Stream:
        """Return a live stream: feed it the text piece by piece and it scores each token once, as it is settled.

        Raises:
            ConfigurationError: the policy names a category that the guard does not have.
            RecordError: the guard does not judge this role, or the context leaves no room.
        """
        judge = Judge(self.manifest, policy or Policy(), "tokens")
        judge.policy.check(self.manifest)
        if role not in self.manifest.roles:
            raise RecordError("role", f"{self.manifest.name} does not judge a {role} turn")
        return Stream(judge, self.tokenizer, self.session, role, lambda text: self.encode((*context, Turn(role, text))))

    def encode(self, turns: Sequence[Turn]) -> Encoded:
        """Return the last turn, which is judged, and its context as token ids."""
        if turns[-1].role not in self.manifest.roles:
            raise RecordError("role", f"{self.manifest.name} does not judge a {turns[-1].role} turn")
        # The share is fixed, so that what a prefix is judged by never changes, and small: a reply that spills into a
        # second window is read there without its beginning, which may be what says that it refuses.
        if self.manifest.template.kind == "tags":
            return self.tokenizer.encode(render(self.manifest, turns), context=self.manifest.window // 4)
        return self._whole(turns)

    def _whole(self, turns: Sequence[Turn]) -> Encoded:
        """The row of a chat template; of a context that leaves too little the oldest turns go, then their start."""
        *context, judged = turns
        [pieces] = render(self.manifest, turns)
        if not context:
            return self.tokenizer.encode_whole(pieces)
        ours = sum(len(self.tokenizer.phrase(piece.text)) for piece in pieces if piece.ours)
        limit = max((self.manifest.window - ours) // 2, 1)
        sizes = [len(self.tokenizer.words(turn.text)[0]) for turn in context]
        first = 0
        while sum(sizes[first:]) > limit:
            first += 1
        kept = list(context[first:])
        if first and not kept:
            _, spans = self.tokenizer.words(context[-1].text)
            kept = [replace(context[-1], text=context[-1].text[int(spans[-limit, 0]) :])]
        [pieces] = render(self.manifest, [*kept, judged])
        return replace(self.tokenizer.encode_whole(pieces), context_truncated=first > 0)

    def _decide(self, conversations: list[tuple[Turn, ...]], judge: Judge) -> list[Verdict | RecordError]:
        worded = [turns for turns in conversations if not _blank(turns[-1])]
        # One record of many turns is no reason for a larger run than any other.
        chunks = (worded[start : start + self.batch] for start in range(0, len(worded), self.batch))
        scored = iter([scores for chunk in chunks for scores in self._scored(chunk, judge)])
        verdicts: list[Verdict | RecordError] = []
        for turns in conversations:
            found = None if _blank(turns[-1]) else next(scored)
            if found is None or (isinstance(found, RecordError) and found.code == UNREAD):
                verdicts.append(self._empty(turns[-1], judge))
            else:
                verdicts.append(_verdict(judge, found, turns[-1].text))
        return verdicts

    def _scored(self, conversations: list[tuple[Turn, ...]], judge: Judge) -> list[Scores | RecordError]:
        """Scores, those of guards that are read at a text's end along the text where the judge wants that."""
        if judge.trajectory == "none" or not judge.sparing:
            return self.score(conversations, probe=judge.trajectory != "none")
        found = self.score(conversations)
        for index, scores in enumerate(found):
            if not isinstance(scores, Scores) or not self.manifest.ended(scores.role):
                continue
            if judge.decide(scores, conversations[index][-1].text).label > Label.safe:
                found[index] = self.score([conversations[index]], probe=True)[0]
        return found

    def _empty(self, turn: Turn, judge: Judge) -> Verdict | RecordError:
        if turn.role == "system" or turn.role not in self.manifest.roles:
            return RecordError("role", f"{self.manifest.name} does not judge a {turn.role} turn")
        return judge.empty(turn.role)

    def _start(
        self,
        turns: Sequence[Turn],
        index: int,
        results: dict[int, Scores | RecordError],
        kept: dict[int, Kept],
        *,
        probe: bool,
    ) -> HeadRun | None:
        role: Role = "response" if turns[-1].role == "response" else "prompt"
        try:
            encoded = self.encode(turns)
            if self.manifest.head == "decision" and encoded.constant and self.session.stateful:
                names = (self.manifest.roles[role].risk,)
                kept[index] = self.beginnings.of(self.session, encoded.before[: encoded.constant], names)
        except RecordError as error:
            results[index] = error
            return None
        return HEADS[self.manifest.head](Task(self.manifest, role, encoded, self.scripts, probe=probe))

    def _run(self, requests: dict[int, Request], kept: dict[int, Kept]) -> list[Logits | RecordError]:
        """The logits of each request; those of whole rows that want the same outputs share a run."""
        answers: dict[int, Logits | RecordError] = {}
        whole = {index: request for index, request in requests.items() if not request.last}
        for outputs in dict.fromkeys(request.outputs for request in whole.values()):
            group = [index for index, request in whole.items() if request.outputs == outputs]
            for some in _alike({index: len(requests[index].ids) for index in group}) if self.on_cpu else [group]:
                answers |= self._together(some, requests, outputs)
        for index, request in requests.items():
            if request.last:
                answers[index] = self._follow(index, request, kept)
        return [answers[index] for index in requests]

    def _together(
        self, indices: list[int], requests: dict[int, Request], outputs: tuple[str, ...]
    ) -> dict[int, Logits | RecordError]:
        """The logits of some requests by index, of one run; where that fails, of one run each."""
        try:
            found = self.session.run([requests[index].ids for index in indices], outputs)
        except RecordError as error:
            if len(indices) == 1:
                return {indices[0]: error}
            return {index: each for one in indices for index, each in self._together([one], requests, outputs).items()}
        return dict(zip(indices, found, strict=True))

    def _follow(self, index: int, request: Request, kept: dict[int, Kept]) -> Logits | RecordError:
        """The logits of a row's end, run on from the row before it; the first from what the template begins with."""
        try:
            logits, kept[index] = self.session.follow(kept.get(index), request.ids, request.outputs)
        except RecordError as error:
            return error
        return logits


def _alike(lengths: dict[int, int]) -> Iterator[list[int]]:
    """Part rows, given by their lengths in tokens, into those that share a run: short ones of about one length."""
    group: list[int] = []
    real = 0
    for index in sorted(lengths, key=lengths.__getitem__):
        padded = (len(group) + 1) * lengths[index]
        if group and (padded > _SHARED_TOKENS or padded > _PADDED * (real + lengths[index])):
            yield group
            group, real = [], 0
        group.append(index)
        real += lengths[index]
    if group:
        yield group


def _advance(
    run: HeadRun, answer: Logits | RecordError | None, index: int, results: dict[int, Scores | RecordError]
) -> Request | None:
    """Hand a head what it asked for; return its next request, or None with its result stored."""
    try:
        return run.throw(answer) if isinstance(answer, RecordError) else run.send(answer)  # type: ignore[arg-type]
    except StopIteration as stop:
        results[index] = stop.value
    except RecordError as error:
        results[index] = error
    return None


def _blank(turn: Turn) -> bool:
    return not turn.text.strip()


def _verdict(judge: Judge, scores: Scores | RecordError, text: str) -> Verdict | RecordError:
    return scores if isinstance(scores, RecordError) else judge.decide(scores, text)


def _outcome(record: Record, verdicts: Sequence[Verdict | RecordError]) -> Outcome:
    """The worst turn's verdict, with the others where there are several.

    A turn that could not be judged makes the record a failure; where another is flagged, the verdict stands and the
    record counts as not judged in part.
    """
    judged = [verdict for verdict in verdicts if isinstance(verdict, Verdict)]
    errors = [verdict for verdict in verdicts if isinstance(verdict, RecordError)]
    worst = max(judged, key=lambda verdict: (verdict.label, verdict.risk), default=None)
    if worst is None or (errors and worst.label is Label.safe):
        return Failure(errors[0].code, str(errors[0]), record.origin, record.raw)
    turns = tuple(judged) if len(verdicts) > 1 else ()
    unseen = (*record.unseen, *(f"a turn ({error.code})" for error in errors))
    return Judged(record, replace(worst, unseen=unseen, turns=turns))


def load(
    guard: str | Bundle = DEFAULT_GUARD,
    *,
    provider: str = "auto",
    batch: int | None = None,
    asked: Asked | None = None,
) -> Guard:
    """Return a loaded guard: a name of the catalog, `NAME:PRECISION`, or the path of a bundle.

    `asked` are categories or a guideline of the user's, for guards whose template takes them.

    Every file up to 64 MiB is hashed against the manifest first. Nothing is downloaded.

    Raises:
        GuardError: no such guard, or it cannot be loaded; IntegrityError where a file differs from its manifest.
        ProviderError: the provider cannot run here.
    """
    bundle = guard if isinstance(guard, Bundle) else find(guard)
    if asked is not None:
        bundle = replace(bundle, manifest=asked.of_guard(bundle.manifest))
    manifest = bundle.manifest
    if manifest.described:
        raise GuardError(
            f"guard `{manifest.name}` is described only; missing: {manifest.missing}", hint="riskline guards"
        )
    if not manifest.complete:
        raise GuardError(
            f"guard `{manifest.name}` has no weights on this machine", hint=f"riskline guards pull {manifest.name}"
        )
    check_files(manifest, everything=False)
    if manifest.head not in HEADS:
        raise GuardError(
            f"guard `{manifest.name}` has the head `{manifest.head}`; this version has: {', '.join(HEADS)}"
        )
    wide = [one for one in manifest.precisions if one in _WIDE and bundle.precision not in _WIDE]
    other = f"--guard {manifest.name}:{wide[0]}" if wide else None
    session = open_session(bundle.graph, provider, manifest.cache, other=other)
    if missing := sorted({name for outputs in manifest.roles.values() for name in names_of(outputs)} - session.outputs):
        raise GuardError(
            f"the graph of `{manifest.name}` has no output `{missing[0]}`, which its manifest says; "
            f"it has: {', '.join(sorted(session.outputs))}"
        )
    tokenizer = Tokenizer.load(manifest.folder / "tokenizer.json")
    for tag in manifest.template.tags.values():
        tokenizer.tag(tag)
    if manifest.template.end and not len(tokenizer.words(manifest.template.end)[0]):
        raise GuardError(
            f"the template's end {manifest.template.end!r} of `{manifest.name}` is no token of its tokenizer"
        )
    scripts = {
        role: script(outputs, tokenizer.phrase, manifest.rows)
        for role, outputs in manifest.roles.items()
        if outputs.steps
    }
    size = batch or (manifest.batch if session.provider == "cpu" else _ACCELERATED_BATCH)
    return Guard(bundle, tokenizer, session, size, scripts)
