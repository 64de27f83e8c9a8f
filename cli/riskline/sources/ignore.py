"""What `.gitignore` files say: at every level, the deepest file first, as git does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pathspec import GitIgnoreSpec

_MOST_BYTES = 1024 * 1024


def globs(lines: Iterable[str]) -> GitIgnoreSpec:
    """Compile patterns as in `.gitignore`; a pattern that is none is passed over, as git does."""
    from pathspec import GitIgnoreSpec

    good: list[str] = []
    for line in map(_inside, lines):
        try:
            GitIgnoreSpec.from_lines([line])
        except (ValueError, re.error):
            continue
        good.append(line)
    return GitIgnoreSpec.from_lines(good)


def _inside(line: str) -> str:
    """`a/**` is what lies inside `a`; pathspec takes it for `a/` as well, git does not, so it is spelled out."""
    bare = line.rstrip(" ")
    return bare + "/*" if bare.endswith("/**") else line


@dataclass(frozen=True, slots=True)
class Rules:
    """The patterns of one ignore file; `base` is its folder, an absolute POSIX path that ends in a slash."""

    base: str
    patterns: GitIgnoreSpec


@dataclass(frozen=True, slots=True)
class Ignored:
    """The ignore files that hold in one folder, the deepest last."""

    chain: tuple[Rules, ...] = ()

    def inside(self, folder: str) -> Ignored:
        """Return what holds inside `folder`, given what holds in its parent."""
        found = _read(Path(folder) / ".gitignore", folder)
        return Ignored((*self.chain, found)) if found else self

    def __call__(self, path: str, *, folder: bool) -> bool:
        """Say whether an absolute path is ignored."""
        posix = Path(path).as_posix() + ("/" if folder else "")
        for rules in reversed(self.chain):
            verdict = _last(rules.patterns, posix[len(rules.base) :])
            if verdict is not None:
                return verdict
        return False


def _last(patterns: GitIgnoreSpec, path: str) -> bool | None:
    """What the last pattern that names `path` itself says of it; None where there is none.

    A walk has asked about the folders above already, and git never looks into one that is ignored. So a pattern that
    matches through a folder above has no say here, which is why pathspec's own order of precedence is not asked.
    """
    for pattern in reversed(patterns.patterns):
        if pattern.include is not None and pattern.regex is not None and _names(pattern.regex, path):
            return bool(pattern.include)
    return None


def _names(regex: re.Pattern[str], path: str) -> bool:
    if regex.pattern == ".":  # how pathspec writes `*`
        return True
    if not regex.pattern.startswith("^"):  # and `*/`
        return path.endswith("/")
    return regex.fullmatch(path) is not None


def above(folder: str) -> Ignored:
    """Return the rules that a git work tree around `folder` (an absolute path) sets for it.

    Naming a folder overrides the rules that ignore it: then none of those above it hold.
    """
    parents = [Path(folder), *Path(folder).parents]
    top = next((index for index, parent in enumerate(parents) if _is_top(parent)), 0)
    exclude = _exclude(parents[top] / ".git", str(parents[top]))
    ignored = Ignored((exclude,) if exclude else ())
    for parent, child in _downwards(parents[: top + 1]):
        ignored = ignored.inside(str(parent))
        if ignored(str(child), folder=True):
            return Ignored()
    return ignored


def _is_top(folder: Path) -> bool:
    try:
        return (folder / ".git").exists()
    except OSError:  # a folder above may be closed to this user
        return False


def _downwards(parents: Sequence[Path]) -> Iterable[tuple[Path, Path]]:
    return zip(reversed(parents[1:]), reversed(parents[:-1]), strict=True)


def _exclude(git: Path, top: str) -> Rules | None:
    try:
        if git.is_file():  # a linked work tree or a submodule
            target = git.read_text("utf-8", "surrogateescape").removeprefix("gitdir:").strip()
            git = git.parent / PurePosixPath(target)
            shared = git / "commondir"
            git = git / shared.read_text("utf-8", "surrogateescape").strip() if shared.is_file() else git
    except (OSError, ValueError):
        return None
    return _read(git / "info" / "exclude", top)


def _read(path: Path, folder: str) -> Rules | None:
    try:
        # git follows no symlink to a .gitignore, and reading a named pipe would wait for ever.
        if path.is_symlink() or not path.is_file():
            return None
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
    except (OSError, ValueError):
        return None
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    base = Path(folder).as_posix()
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return Rules(base if base.endswith("/") else base + "/", globs(lines))
