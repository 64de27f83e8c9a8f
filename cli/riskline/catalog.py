"""The guards found on this machine: the search path, find by name, did-you-mean, and every file hashed."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from riskline.errors import GuardError, IntegrityError, UsageError
from riskline.manifest import MANIFEST, FileFacts, Manifest, read_manifest

DEFAULT_GUARD = "riskline-mini"
_BLOCK = 1 << 20
_HASHED_AT_LOAD = 64 << 20
"""Files up to this size are hashed whenever they are loaded."""


def search_path() -> list[Path]:
    """Return the folders that guards are looked for in; the first that has a name wins."""
    package = Path(str(files("riskline")))
    configured = os.environ.get("RISKLINE_MODELS", "")
    folders = [Path(folder) for folder in configured.split(os.pathsep) if folder]
    checkout = package.parents[1]  # of an editable install
    inside = [checkout / "models"] if (checkout / "pyproject.toml").is_file() else []
    return [*folders, package / "models", *inside, cache_folder()]


def cache_folder() -> Path:
    """Return the folder for pulled guards: `$RISKLINE_CACHE`, else the platform's cache folder."""
    if configured := os.environ.get("RISKLINE_CACHE"):
        return Path(configured)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "riskline"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/riskline"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "riskline"


def guards() -> Iterator[Manifest | GuardError]:
    """Yield every guard on the search path by name; a manifest that cannot be read as its error.

    Of a name the first folder counts, unless it has no weights and a later one has.
    """
    for _, folders in sorted(_folders().items()):
        try:
            yield _best(folders)
        except GuardError as error:
            yield error


def _best(folders: Sequence[Path]) -> Manifest:
    first = read_manifest(folders[0])
    for folder in folders[1:] if not first.complete else ():
        with contextlib.suppress(GuardError):
            if (manifest := read_manifest(folder)).complete and manifest.name == first.name:
                return manifest
    return first


def _folders() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for root in search_path():
        if root.is_dir():
            for manifest in sorted(root.glob(f"*/{MANIFEST}")):
                found.setdefault(manifest.parent.name, []).append(manifest.parent)
    return found


@dataclass(frozen=True, slots=True)
class Bundle:
    """A guard chosen to be loaded: its manifest and one of its precisions."""

    manifest: Manifest
    precision: str

    @property
    def graph(self) -> Path:
        """The graph's path."""
        return self.manifest.folder / self.manifest.graphs[self.precision]


def find(name: str) -> Bundle:
    """Return the bundle named `NAME[:PRECISION]`, or in the folder that `name` is the path of.

    Raises:
        GuardError: no guard has the name, or it has no such precision.
    """
    base, _, precision = name.partition(":")
    folders = _folders()
    if base in folders:
        return _bundle(_best(folders[base]), precision)
    if os.path.isfile(os.path.join(name, MANIFEST)):
        return _bundle(read_manifest(Path(name)), "")
    close = difflib.get_close_matches(base, folders, n=1)
    if os.sep in name or (os.path.exists(name) and not close):
        raise GuardError(f"`{name}` is no guard: there is no {MANIFEST} in it", hint="riskline guards")
    hint = f"did you mean `{close[0]}`?" if close else "riskline guards"
    raise GuardError(f"no guard is named `{name}`", hint=hint)


def _bundle(manifest: Manifest, precision: str) -> Bundle:
    if not manifest.complete:
        return Bundle(manifest, precision)
    if precision and precision not in manifest.graphs:
        raise GuardError(
            f"guard `{manifest.name}` has no precision `{precision}`; it has: {', '.join(manifest.precisions)}"
        )
    return Bundle(manifest, precision or manifest.precisions[0])


def refuse_folder(name: str, source: str) -> None:
    """Refuse a guard that a configuration file names by path: a pull request must not bring its own.

    Raises:
        UsageError: `name` is no name of the catalog.
    """
    if name.partition(":")[0] not in _folders():
        raise UsageError(
            f"{source} names the guard `{name}`; a configuration file may name only guards of the catalog",
            hint="riskline guards",
        )


def check_files(manifest: Manifest, *, everything: bool) -> None:
    """Compare the bundle's files with the manifest: sizes always, hashes of large files only with `everything`.

    Raises:
        IntegrityError: a file is missing or differs.
    """
    for name, facts in manifest.files.items():
        check_file(manifest.folder / name, facts, hash_it=everything or facts.size <= _HASHED_AT_LOAD)
    _refuse_unlisted(manifest)


def _refuse_unlisted(manifest: Manifest) -> None:
    """A graph may name a file of weights beside it; one that the manifest does not list would not be checked.

    A file outside the folder ONNX Runtime itself refuses to read.
    """
    known = {MANIFEST, *manifest.files}
    others = [path.name for path in manifest.folder.iterdir() if path.name not in known and path.suffix != ".md"]
    for graph in manifest.graphs.values() if others else ():
        data = (manifest.folder / graph).read_bytes()
        if named := [name for name in others if name.encode() in data]:
            raise IntegrityError(
                f"the graph `{graph}` of `{manifest.name}` names `{named[0]}`, which its manifest does not list",
                hint=f'list it under [files."{named[0]}"], with its size and sha256',
            )


def check_file(path: Path, facts: FileFacts, *, hash_it: bool) -> None:
    """Compare one file with what it must be.

    Raises:
        IntegrityError: the file is missing, is no regular file, or has another size or hash.
    """
    hint = "reinstall riskline, or put the file back as it was"
    if path.is_symlink() and not path.resolve().is_relative_to(path.parent.resolve()):
        raise IntegrityError(f"`{path}` is a link out of its bundle", hint=hint)
    if not path.is_file():
        raise IntegrityError(f"`{path}` is missing", hint=hint)
    if (size := path.stat().st_size) != facts.size:
        raise IntegrityError(f"`{path}` has {size} bytes; the manifest says {facts.size}", hint=hint)
    if hash_it and (found := _sha256(path)) != facts.sha256:
        raise IntegrityError(f"`{path}` has the SHA-256 {found}; the manifest says {facts.sha256}", hint=hint)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
