"""What `check` and `score` share: load, scan, write, count, and say what was done."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from riskline.commands import Ending, note
from riskline.commands.options import ColorWhen, FailOn
from riskline.errors import OutputError, UsageError
from riskline.finding import Redaction
from riskline.records import Chosen, Item, Label, Result, Skip, Summary, TrajectoryKind

if TYPE_CHECKING:
    from riskline.asked import Asked
    from riskline.guard import Guard
    from riskline.manifest import Manifest
    from riskline.policy import Judge, Overrides, Policy
    from riskline.sinks import Sink


@dataclass(frozen=True, slots=True)
class Judging:
    """The flags that say who judges and how."""

    guard: str
    policy: str
    unsafe: float | None
    controversial: float | None
    provider: str
    trajectory: TrajectoryKind
    taxonomy: str | None = None
    guideline: str | None = None
    sparing: bool = False

    def read_policy(self) -> Policy:
        """Return the policy with the thresholds of the flags over its own."""
        from riskline.policy import Overrides, load_policy

        policy = load_policy(self.policy)
        flags = Overrides(self.unsafe, self.controversial)
        if flags == Overrides():
            return policy
        merged = _flags_over(flags, policy.thresholds)
        roles = {role: _flags_over(flags, overrides) for role, overrides in policy.roles.items()}
        return replace(policy, thresholds=merged, roles=roles)

    def load(self) -> tuple[Guard, Judge]:
        """Load the guard and bind the policy to it."""
        # numpy and ONNX Runtime: only when something is judged
        from riskline.asked import Asked
        from riskline.catalog import find
        from riskline.guard import load
        from riskline.policy import Judge

        policy = self.read_policy()
        asked = Asked.of(self.taxonomy, self.guideline)
        bundle = find(self.guard)
        names = self._names(bundle.manifest, asked)  # what cannot be named is refused before weights are asked for
        guard = load(bundle, provider=self.provider, asked=asked)
        policy.check(guard.manifest)
        return guard, Judge(guard.manifest, policy, self.trajectory, names, self.sparing)

    def _names(self, manifest: Manifest, asked: Asked | None) -> dict[str, str | None] | None:
        from riskline.taxonomy import renaming

        if self.taxonomy is None or (asked and asked.categories):
            return None
        every = [name for outputs in manifest.roles.values() for name in outputs.categories]
        return renaming(dict.fromkeys(every), self.taxonomy)


def _flags_over(flags: Overrides, set_: Overrides) -> Overrides:
    """What a flag gives, else what the policy sets; a flag for one label leaves the other's threshold alone."""
    return replace(
        set_,
        unsafe=set_.unsafe if flags.unsafe is None else flags.unsafe,
        controversial=set_.controversial if flags.controversial is None else flags.controversial,
    )


@dataclass(frozen=True, slots=True)
class Telling:
    """The flags that say how much is told on stderr, and when colour is used."""

    quiet: bool
    verbose: bool
    color: ColorWhen

    def note(self, message: str) -> None:
        """Tell unless quiet."""
        if not self.quiet:
            note(f"riskline: {message}")

    @property
    def on_terminal(self) -> bool:
        """Whether stderr is a terminal that wants to be told."""
        return not self.quiet and sys.stderr.isatty()

    def colored(self, stream: object) -> bool:
        """Whether `stream` gets colour: the flag, then NO_COLOR and FORCE_COLOR, then whether it is a terminal."""
        if self.color is not ColorWhen.auto:
            return self.color is ColorWhen.always
        if os.environ.get("NO_COLOR"):
            return False
        return bool(os.environ.get("FORCE_COLOR")) or bool(getattr(stream, "isatty", bool)())


def redaction(redact: bool, key: str | None) -> Redaction | None:
    """Return how texts are named when they may not be shown."""
    if key == "":
        raise UsageError(
            "--redact-key is empty, so that anybody could undo the hashes", hint="leave it out for a fresh key"
        )
    if not redact:
        if key is not None:
            raise UsageError("--redact-key says how to redact, but --redact is not given", hint="add --redact")
        return None
    return Redaction(key.encode() if key is not None else secrets.token_bytes(32))


def told(guard: Guard, judge: Judge) -> str:
    """Return who judges, on what, by which policy, and why not on an accelerator where there is one."""
    session = guard.session
    why = f" (cuda passed over: {session.passed_over})" if session.passed_over else ""
    return f"guard {guard.manifest.id} ({guard.bundle.precision}) on {session.provider}{why}, policy {judge.policy.id}"


def workers(guard: Guard) -> int:
    """Return how many threads judge: every core this process may use on the CPU, two to keep an accelerator fed."""
    if not guard.on_cpu:
        return 2
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(slots=True)
class Run:
    """One pass over the input: every outcome counted and written to every sink."""

    guard: Guard
    judge: Judge
    telling: Telling
    sinks: Sequence[Sink]
    progress: bool = False
    total: int | None = None

    def over(self, items: Iterable[Item]) -> Summary:
        """Judge everything and return what was counted."""
        from riskline.scan import scan
        from riskline.show.report import summary_line

        summary, started = Summary(), time.perf_counter()
        threads = workers(self.guard)
        self.telling.note(f"{told(self.guard, self.judge)}, {threads} at a time")
        for result in self._watched(scan(items, self.guard, self.judge, workers=threads)):
            self._take(result, summary)
        for sink in self.sinks:
            sink.close(summary)
        seconds = time.perf_counter() - started
        self.telling.note(f"{summary_line(summary)}, {seconds:.1f} s")
        return summary

    def _watched(self, results: Iterator[Result]) -> Iterable[Result]:
        if not self.progress:
            return results
        from riskline.show.progress import watch

        return watch(results, self.total)

    def _take(self, result: Result, summary: Summary) -> None:
        if isinstance(result, Chosen):
            self.telling.note(f"reading {result.path} as {result.format}")
            return
        summary.count(result)
        if isinstance(result, Skip):
            if self.telling.verbose:
                self.telling.note(f"skipped {result.path}: {result.reason}")
            return
        for sink in self.sinks:
            sink.write(result)


def ending(summary: Summary, fail_on: FailOn, *, allow_incomplete: bool) -> Ending:
    """Return how a run ended."""
    flagged = fail_on is not FailOn.never and any(
        count for label, count in summary.flagged.items() if label >= Label[fail_on.value]
    )
    return Ending(flagged=flagged, incomplete=summary.not_judged > 0 and not allow_incomplete)


def run_facts(guard: Guard, judge: Judge) -> dict[str, object]:
    """Return what produced this run's verdicts: versions, provider, precision, hashes."""
    import platform
    from importlib.metadata import version

    from riskline.session import runtimes

    manifest = guard.manifest
    limits = {
        role: {"unsafe": limit.unsafe, "controversial": limit.controversial}
        for role in manifest.roles
        for limit in [judge.policy.limits(manifest, role)]
    }
    return {
        "schema": 1,
        "riskline": version("riskline"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "runtime": runtimes(),
        "packages": {name: version(name) for name in ("numpy", "tokenizers", "orjson")},
        "provider": guard.session.provider,
        "nodes": {name: counter.total() for name, counter in guard.session.nodes.items()},
        "guard": manifest.id,
        "manifest_sha256": manifest.digest,
        "precision": guard.bundle.precision,
        "files": {name: facts.sha256 for name, facts in manifest.files.items()},
        "policy": judge.policy.id,
        "rule": str(judge.policy.rule_for(manifest)),
        "thresholds": limits,
    }


def write_run_info(path: str, guard: Guard, judge: Judge, summary: Summary) -> None:
    """Write the facts of the run and what it counted to `path`."""
    import orjson

    counts = {
        "judged": summary.judged,
        "labels": {label.name: count for label, count in sorted(summary.labels.items())},
        "failures": dict(summary.failures),
        "skipped": dict(summary.skips),
        "unseen": summary.unseen,
        "empty": summary.empty,
        "windowed": summary.windowed,
        "context_truncated": summary.context_truncated,
        "cached": summary.cached,
    }
    try:
        Path(path).write_bytes(orjson.dumps(run_facts(guard, judge) | {"counts": counts}, option=orjson.OPT_INDENT_2))
    except OSError as error:
        raise OutputError(f"cannot write `{path}`: {error.strerror}") from error
