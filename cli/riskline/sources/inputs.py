"""Named files, folders and stdin become one stream of records."""

from __future__ import annotations

import os
import stat
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias

from riskline.errors import InputError, UsageError
from riskline.escape import visible
from riskline.records import Chosen, Failure, Origin, Record, Skip
from riskline.sources.formats import SOURCES, check_format, fallback, known_format, refuse
from riskline.sources.stdin import sniffed
from riskline.sources.stream import Input, opened
from riskline.sources.walk import Found, lost, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from riskline.sources.options import SourceOptions

Item: TypeAlias = Record | Failure | Skip | Chosen

# In a walk, a document that has only these is no data of ours: package.json, a workflow, a locale file.
_NO_RECORD: Final = frozenset({"missing-field", "not-an-object", "wrong-type"})
_DOCUMENTS: Final = frozenset({"json", "yaml"})
_TABLES: Final = frozenset({"csv", "tsv", "parquet"})


def read(paths: Sequence[str], options: SourceOptions, stdin: BinaryIO) -> Iterator[Item]:
    """Read files, folders and `-` (stdin) in the order named.

    What makes the job impossible is raised at this call, before the first record: contradicting options as
    UsageError; a named input that is missing or unreadable, or a stdin that looks like broken JSON, as InputError.
    With `strict_input` the first failure is raised too, as InputError, when it is reached.
    """
    options.check()
    check_format(options)
    if list(paths).count("-") > 1:
        raise UsageError("`-` is named twice; expected stdin to be read once")
    for path in paths:
        if path != "-":
            check_path(path, options)
    piped = _piped(options, stdin) if "-" in paths else None
    items = _items(paths, options, piped)
    return _strict(items) if options.strict_input else items


def check_path(path: str, options: SourceOptions) -> None:
    """Raise InputError where a named path cannot be read."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - pathlib would normalise the path as named
        if stat.S_ISDIR(mode):
            os.scandir(path).close()
            return
        refuse(path, options)
        if stat.S_ISSOCK(mode):
            raise OSError("it is a socket")
        if stat.S_ISREG(mode):
            opened(path).close()
        # Opening a pipe and closing it again would break its writer, so others are only asked about.
        elif not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"no file or folder is named `{visible(path)}`", hint=_did_you_mean(path) or _words(path)
        ) from error
    except PermissionError as error:
        raise InputError(f"`{visible(path)}` may not be read by this user", hint=f"ls -ld {visible(path)}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"`{visible(path)}` cannot be read: {visible(reason).lower()}", hint=_words(path)) from error


def _did_you_mean(path: str) -> str | None:
    from difflib import get_close_matches

    missing = Path(path)
    try:
        names = sorted(entry.name for entry in missing.parent.iterdir())
    except (OSError, ValueError):
        return None
    close = get_close_matches(missing.name, names, n=1)
    return f"did you mean `{visible(str(missing.parent / close[0]))}`?" if close else None


def _words(path: str) -> str | None:
    """Return where a text goes, if `path` reads as one: words without the suffix of a file."""
    blank, suffix = any(map(str.isspace, path)), Path(path).suffix
    reads = blank and (not suffix or any(map(str.isspace, suffix)))
    return "a text itself goes in by stdin, or to `riskline trace TEXT`" if reads else None


def _piped(options: SourceOptions, stdin: BinaryIO) -> tuple[Chosen | None, Input]:
    if options.input_format != "auto":
        return None, Input("-", stdin, options)
    name, stream = sniffed(stdin, options)
    return Chosen("-", name), Input("-", stream, options)


def _items(paths: Sequence[str], options: SourceOptions, piped: tuple[Chosen | None, Input] | None) -> Iterator[Item]:
    # One path cannot name anything twice, so a walk over millions of files remembers none of them.
    seen: set[str] | None = set() if len(paths) > 1 else None
    for path in paths:
        if path == "-":
            assert piped is not None
            yield from _stdin(*piped)
        elif Path(path).is_dir():
            yield from _folder(path, options, seen)
        elif _again(path, seen):
            yield Skip(path, "named twice")
        else:
            yield from named(path, options)


def _again(path: str, seen: set[str] | None) -> bool:
    if seen is None:
        return False
    real = os.path.realpath(path)
    if real in seen:
        return True
    seen.add(real)
    return False


def _stdin(chosen: Chosen | None, source: Input) -> Iterator[Item]:
    if chosen:
        yield chosen
    name = chosen.format if chosen else source.options.input_format
    try:
        yield from SOURCES[name](source)
    except OSError as error:
        yield lost("-", error)


def named(path: str, options: SourceOptions) -> Iterator[Item]:
    """Yield what a named file holds, whatever it is called."""
    name = known_format(path, options)
    if name is None:
        name = fallback(options)
        yield Chosen(path, name)
    yield from _file(Found(path, path), name, options)


def _folder(folder: str, options: SourceOptions, seen: set[str] | None) -> Iterator[Item]:
    for found in walk(folder, options):
        if not isinstance(found, Found):
            yield found
        elif _again(found.path, seen):
            yield Skip(found.name, "named twice")
        else:
            name = known_format(found.name, options) or fallback(options)
            items = _file(found, name, options)
            if name in _DOCUMENTS | _TABLES:
                yield from _recognised(items, found.name, whole=name in _DOCUMENTS)
            else:
                yield from items


def _file(found: Found, name: str, options: SourceOptions) -> Iterator[Record | Failure]:
    try:
        with opened(found.path) as stream:
            yield from SOURCES[name](Input(found.name, stream, options))
    except (EOFError, zlib.error) as error:
        yield _not_gzip(found.name, error)
    except OSError as error:
        # gzip's own complaint is an OSError without a number.
        yield lost(found.name, error) if error.errno else _not_gzip(found.name, error)


def _not_gzip(name: str, error: Exception) -> Failure:
    message = f"not whole gzip data: {visible(str(error)).lower()}"
    return Failure("invalid-gzip", message, Origin(name, by="file"))


def _recognised(items: Iterable[Record | Failure], name: str, *, whole: bool) -> Iterator[Item]:
    """Yield the records of a file in a walk, or one skip where it has none that are recognisable.

    Failures are held back until a record shows that the file is data. A table (`whole` is False) shows it in its
    first row, since its columns are the same in every row.
    """
    held: list[Failure] | None = []
    for item in items:
        if held is None:
            yield item
        elif isinstance(item, Failure) and item.code in _NO_RECORD:
            held.append(item)
            if not whole:
                break
        else:
            yield from held
            held = None
            yield item
    if held is not None:
        yield Skip(name, "no recognisable record")


def _strict(items: Iterable[Item]) -> Iterator[Item]:
    for item in items:
        if isinstance(item, Failure):
            hint = "fix the record, or leave out `--strict-input` to report it and go on"
            raise InputError(f"{item.origin.address}: {item.message}", hint=hint)
        yield item
