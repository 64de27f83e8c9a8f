"""Folders: which of their files are read, in which order, and why the others are not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from riskline.records import Failure, Origin, Skip
from riskline.sources.formats import EXTENSIONS, extension, unsupported
from riskline.sources.ignore import Ignored, above, globs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pathspec import GitIgnoreSpec

    from riskline.sources.options import SourceOptions


@dataclass(frozen=True, slots=True)
class Found:
    """A file to read: `path` opens it, `name` is how it is shown."""

    path: str
    name: str


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str  # absolute, without symlinks
    name: Path  # as it is shown
    ignored: Ignored


def walk(folder: str, options: SourceOptions) -> Iterator[Found | Skip | Failure]:
    """Yield the files of a folder and what is passed over, in the order of their whole paths."""
    root = os.path.realpath(folder)
    included = globs(options.include) if options.include else None
    # A stack of iterators rather than recursion: folders may be nested deeper than Python may call.
    stack = [_entries(_Folder(root, Path(folder), above(root)))]
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
        elif isinstance(entry, _Folder):
            stack.append(_entries(entry))
        elif isinstance(entry, Found):
            yield _chosen(entry, root, included, options)
        else:
            yield entry


def _entries(folder: _Folder) -> Iterator[Found | Skip | Failure | _Folder]:
    try:
        with os.scandir(folder.path) as entries:
            # Folders sort with their slash, so that the whole walk is in the order of its paths.
            found = sorted(entries, key=lambda entry: entry.name + "/" * entry.is_dir(follow_symlinks=False))
    except OSError as error:
        yield lost(folder.name.as_posix(), error)
        return
    ignored = folder.ignored.inside(folder.path)
    for entry in found:
        yield _entry(entry, folder.name / entry.name, ignored)


def _entry(entry: os.DirEntry[str], name: Path, ignored: Ignored) -> Found | Skip | _Folder:
    shown = name.as_posix()
    is_folder = entry.is_dir(follow_symlinks=False)
    if entry.name == ".git":
        return Skip(shown, "git's own files")
    if ignored(entry.path, folder=is_folder):
        return Skip(shown, "ignored by .gitignore")
    if entry.is_symlink():
        return Skip(shown, "symlink")
    if is_folder:
        return _Folder(entry.path, name, ignored)
    if not entry.is_file(follow_symlinks=False):
        return Skip(shown, "not a regular file")
    return Found(entry.path, shown)


def _chosen(found: Found, root: str, included: GitIgnoreSpec | None, options: SourceOptions) -> Found | Skip:
    unread = unsupported(found.name, options)
    if unread == "zst" and extension(found.name[: -len(".zst")]) in EXTENSIONS:
        return Skip(found.name, f"not supported: {unread}")
    if extension(found.name) in EXTENSIONS:
        return found
    relative = Path(found.path).relative_to(root).as_posix()
    if included and included.check_file(relative).include:
        return found
    return Skip(found.name, "other extension")


def lost(name: str, error: OSError) -> Failure:
    """Return the failure of something that was there when the run began and cannot be read."""
    if isinstance(error, FileNotFoundError):
        return Failure("vanished", "the file was there and is gone", Origin(name, by="file"))
    reason = (error.strerror or "input or output error").lower()
    return Failure("unreadable", f"the file cannot be read: {reason}", Origin(name, by="file"))
