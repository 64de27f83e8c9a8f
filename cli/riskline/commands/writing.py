"""The flags that say what is written, as open sinks."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

from riskline.commands import note
from riskline.errors import OutputError, UsageError
from riskline.finding import Redaction
from riskline.sinks import Sink, SinkOptions, opener, parse_output

if TYPE_CHECKING:
    from riskline.commands.run import Telling
    from riskline.policy import Judge
    from riskline.records import Outcome, Summary


@dataclass(frozen=True, slots=True)
class Keyed:
    """How `score` attaches a verdict to a record."""

    key: str = "verdict"
    overwrite: bool = False
    only_verdict: bool = False


@dataclass(frozen=True, slots=True)
class Writing:
    """What is written where, for one command."""

    command: Literal["check", "score"]
    format: str
    outputs: Sequence[str]
    redaction: Redaction | None = None
    keyed: Keyed = Keyed()
    run_info: str | None = None

    def open(self, stack: ExitStack, telling: Telling, judge: Judge) -> list[Sink]:
        """Open every output before the first record is judged; with --output nothing goes to stdout.

        Raises:
            UsageError: a format is unknown, or two outputs are one file.
            OutputError: an output cannot be written.
        """
        if any(spec.rpartition(":")[2] == "-" for spec in self.outputs):
            raise UsageError("--output takes a file; what goes to stdout has its format from --format")
        if self.run_info == "-":
            raise UsageError("--run-info takes a file", hint="--run-info run.json")
        wanted = [parse_output(self.command, spec) for spec in self.outputs]
        paths = [os.path.realpath(path) for path in [*(path for _, path in wanted), self.run_info] if path]
        if twice := next((path for path in paths if paths.count(path) > 1), None):
            raise UsageError(f"two outputs are the same file, `{twice}`")
        options = self._options(judge, color=False)
        if not wanted:
            colored = self._options(judge, color=telling.colored(sys.stdout))
            stream = cast("BinaryIO", sys.stdout.buffer)
            return [Prompt(opener(self.command, self.format)(stream, colored), stream)]
        opener(self.command, self.format)  # a wrong --format is told even when --output hides it
        return [
            opener(self.command, name)(stack.enter_context(replaced(path, keep=name == "jsonl")), options)
            for name, path in wanted
        ]

    def _options(self, judge: Judge, *, color: bool) -> SinkOptions:
        from importlib.metadata import version

        return SinkOptions(
            redaction=self.redaction,
            key=self.keyed.key,
            overwrite_key=self.keyed.overwrite,
            only_verdict=self.keyed.only_verdict,
            color=color,
            width=shutil.get_terminal_size().columns,
            facts={"version": version("riskline"), "guard": judge.manifest.id, "policy": judge.policy.id},
        )


class Prompt:
    """A sink on stdout that keeps no reader waiting: every outcome goes out at once, unless stdout is a plain file."""

    def __init__(self, sink: Sink, stream: BinaryIO) -> None:
        self._sink, self._stream = sink, stream
        try:
            self._eager = not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
        except OSError:  # a stream in memory
            self._eager = False

    def write(self, outcome: Outcome) -> None:
        self._sink.write(outcome)
        if self._eager:
            self._stream.flush()

    def close(self, summary: Summary) -> None:
        self._sink.close(summary)
        self._stream.flush()


@contextmanager
def replaced(path: str, *, keep: bool = False) -> Iterator[BinaryIO]:
    """Yield a stream whose bytes become the file at `path` when all went well; until then what was there stays.

    `keep` keeps what was written before Ctrl-C beside it, as `path`.part; for formats of which a part says something.

    Raises:
        OutputError: the folder is missing or not writable, or the disk is full.
    """
    target = Path(path)
    if target.exists() and not target.is_file():  # /dev/stdout, a pipe: nothing to replace
        with _told(path), target.open("wb") as stream:
            yield stream
        return
    with _told(path):
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        try:
            umask = os.umask(0)
            os.umask(umask)
            Path(name).chmod(0o666 & ~umask)
            with os.fdopen(handle, "wb") as stream:
                yield stream
            Path(name).replace(target)
        except KeyboardInterrupt:
            if keep and Path(name).exists() and Path(name).stat().st_size:
                Path(name).replace(f"{path}.part")
                note(f"interrupted: what was judged so far is in {path}.part")
            Path(name).unlink(missing_ok=True)
            raise
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


@contextmanager
def _told(path: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write `{path}`: {error.strerror}", hint="--output FILE in a folder that exists"
        ) from error
