"""Checkpoints and bundles onto this machine: the only room that uses the network.

Everything is written beside its place and moved there when it is whole and every hash is right; what was fetched of a
checkpoint before an interruption is used again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riskline.catalog import cache_folder, check_files
from riskline.errors import GuardError, IntegrityError, OutputError
from riskline.manifest import MANIFEST, Manifest, read_manifest

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

CHECKPOINTS = "checkpoints"
COMMIT = ".commit"
"""Written last into a checkpoint's folder: which commit it is, and that it is whole."""
WANTED = (".safetensors", ".json", ".jinja", ".txt", ".model")
KNOWN = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY", "README.md")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_BLOCK = 1 << 20


def pull_checkpoint(manifest: Manifest, revision: str | None = None, *, progress: bool = False) -> tuple[Path, str]:
    """Fetch a guard's checkpoint from its hub and return its folder and the commit that it is of.

    Raises:
        GuardError: the hub says no, the commit or a safetensors file is not there, or there is no room.
        IntegrityError: a file is not what the hub says it is.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # both are read when huggingface_hub is imported
    if not progress:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    hub = manifest.origin["hub"]
    with _plainly(hub):
        info = _info(hub, revision or manifest.origin.get("revision"))
        commit = str(info.sha)
        folder = cache_folder() / CHECKPOINTS / f"{manifest.name}-{commit[:12]}"
        _fetch(hub, commit, _chosen(hub, info), folder)
        if tokenizer := manifest.origin.get("tokenizer"):
            with _plainly(tokenizer):
                other = _info(tokenizer, None)
                tokens = [file for file in other.siblings or () if "token" in file.rfilename]
                _fetch(tokenizer, str(other.sha), [file for file in tokens if _is_wanted(file.rfilename)], folder)
        (folder / COMMIT).write_text(commit, encoding="ascii")
    return folder, commit


def _info(hub: str, revision: str | None) -> ModelInfo:
    from huggingface_hub import HfApi

    return HfApi().model_info(hub, revision=revision, files_metadata=True)


def _is_wanted(name: str) -> bool:
    return "/" not in name and (name.endswith(WANTED) or name.startswith(KNOWN))


def _chosen(hub: str, info: ModelInfo) -> list[RepoSibling]:
    files = [file for file in info.siblings or () if _is_wanted(file.rfilename)]
    if not any(file.rfilename.endswith(".safetensors") for file in files):
        pickled = any(file.rfilename.endswith(PICKLED) for file in info.siblings or ())
        found = "only pickled weights, which are refused because loading them runs code" if pickled else "no weights"
        raise GuardError(f"`{hub}` has {found}; expected safetensors files")
    return files


def _fetch(hub: str, commit: str, files: list[RepoSibling], folder: Path) -> None:
    from huggingface_hub import snapshot_download

    folder.mkdir(parents=True, exist_ok=True)
    missing = [file for file in files if not _is_there(folder / file.rfilename, file)]
    _require_room(sum(file.size or 0 for file in missing), folder)
    if missing:
        names = [file.rfilename for file in missing]
        snapshot_download(hub, revision=commit, allow_patterns=names, local_dir=folder, max_workers=4)
    for file in missing:
        path = folder / file.rfilename
        if not _is_there(path, file):
            path.unlink(missing_ok=True)
            raise IntegrityError(
                f"`{file.rfilename}` of `{hub}` is not what the hub says it is; it was removed",
                hint="run the same line again",
            )


def _is_there(path: Path, file: RepoSibling) -> bool:
    """Whether a file is on this machine, by size and hash: SHA-256 where the hub has one, else git's own."""
    if not path.is_file() or (file.size is not None and path.stat().st_size != file.size):
        return False
    if file.lfs:
        return _hash(path, hashlib.sha256()) == file.lfs.sha256
    # Not for safety, but to find what a broken transfer left: git names a file by this hash.
    blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    return file.blob_id is None or _hash(path, blob) == file.blob_id


def _hash(path: Path, digest: Any) -> str:  # noqa: ANN401 - hashlib's objects have no public type
    with path.open("rb") as data:
        while block := data.read(_BLOCK):
            digest.update(block)
    return str(digest.hexdigest())


def _require_room(needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise GuardError(
            f"{needed / 1e9:.1f} GB are needed below `{folder}`, and {free / 1e9:.1f} GB are free",
            hint="set RISKLINE_CACHE to a folder on a larger disk",
        )


@contextlib.contextmanager
def _plainly(hub: str) -> Iterator[None]:
    """Say what a hub's answer means, and what to do."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise GuardError(
            f"`{hub}` is gated: its owner gives access to those who accept its licence",
            hint=f"accept it on the page of {hub}, then set HF_TOKEN or run: hf auth login",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise GuardError(
            f"the hub knows no `{hub}`, or this token may not see it", hint="set HF_TOKEN, or run: hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise GuardError(f"`{hub}` has no such revision", hint="pass --revision with a commit of it") from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise GuardError(
            f"the hub did not give `{hub}`: {_first_line(error)}", hint="run the same line again"
        ) from error
    except OSError as error:
        raise OutputError(f"`{hub}` could not be fetched: {error.strerror or _first_line(error)}") from error
    except Exception as error:
        # The hub's library has changed the one below it, and that one its name.
        if not type(error).__module__.startswith(("requests", "httpx", "httpcore", "urllib3")):
            raise
        raise GuardError(
            f"the hub cannot be reached: {_first_line(error)}", hint="check the network, HF_ENDPOINT and the proxy"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# --- bundles that are ready ---------------------------------------------------------------------------------------


def is_bundle(source: str) -> bool:
    """Whether `source` is a bundle itself: a folder with a manifest, a tar file or an address of one."""
    return (
        source.startswith(("https://", "http://"))
        or os.path.isfile(source)
        or os.path.isfile(os.path.join(source, MANIFEST))
    )


def pull_bundle(source: str) -> Manifest:
    """Install the bundle in a folder, a tar file or at an address into the cache, every file hashed first.

    Raises:
        GuardError: there is no bundle, or it is one of another name's; IntegrityError where a file is not as it says.
        OutputError: it cannot be written.
    """
    root = cache_folder()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".pull-") as staging:
            folder = _unpacked(source, Path(staging))
            manifest = read_manifest(folder)
            if not manifest.complete:
                raise GuardError(f"the bundle `{manifest.name}` has no weights; expected an exported one")
            check_files(manifest, everything=True)
            return install(folder, manifest)
    except OSError as error:
        raise OutputError(f"`{source}` could not be installed: {error.strerror or error}") from error


def install(folder: Path, manifest: Manifest) -> Manifest:
    """Copy exactly the files that a manifest names to the cache, then put them in place at once."""
    place = cache_folder() / manifest.name
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix=".install-") as staging:
        made = Path(staging) / manifest.name
        made.mkdir()
        for name in (MANIFEST, *manifest.files):
            shutil.copyfile(folder / name, made / name)
        if place.exists():
            place.rename(Path(staging) / "replaced")
        made.rename(place)
    return read_manifest(place)


def _unpacked(source: str, staging: Path) -> Path:
    if os.path.isdir(source):  # noqa: PTH112 - an address is no path
        return Path(source)
    archive = Path(source)
    if source.startswith(("https://", "http://")):
        archive = staging / "archive"
        _download(source, archive)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                # Flat, and files only: nothing of an archive can land elsewhere.
                name = member.name.rpartition("/")[2]
                if member.isfile() and name and name not in (".", ".."):
                    with (staging / name).open("xb") as file:
                        shutil.copyfileobj(tar.extractfile(member), file, _BLOCK)  # type: ignore[arg-type]
    except (tarfile.TarError, FileExistsError, EOFError) as error:
        raise GuardError(f"`{source}` is no tar file of a bundle: {error}") from error
    if not (staging / MANIFEST).is_file():
        raise GuardError(f"`{source}` is no bundle: there is no {MANIFEST} in it")
    return staging


def _download(address: str, path: Path) -> None:
    try:
        with urllib.request.urlopen(address) as data, path.open("wb") as file:  # noqa: S310 - http and https only
            shutil.copyfileobj(data, file, _BLOCK)
            expected = data.headers.get("Content-Length")
    except (urllib.error.URLError, ConnectionError) as error:
        raise GuardError(f"`{address}` cannot be fetched: {getattr(error, 'reason', error)}") from error
    if expected and path.stat().st_size != int(expected):
        raise GuardError(f"`{address}` broke off at {path.stat().st_size:,} of {int(expected):,} bytes")


def pulled(manifest: Manifest) -> tuple[Path, str]:
    """Return the newest pulled checkpoint of a guard, and its commit.

    Raises:
        GuardError: there is none.
    """
    root = cache_folder() / CHECKPOINTS
    found = [path.parent for path in root.glob(f"{manifest.name}-*/{COMMIT}") if _is_of(path.parent, manifest.name)]
    if not found:
        raise GuardError(
            f"no checkpoint of `{manifest.name}` is on this machine", hint=f"riskline guards pull {manifest.name}"
        )
    newest = max(found, key=lambda path: path.stat().st_mtime)
    return newest, (newest / COMMIT).read_text(encoding="ascii")


def remove(name: str) -> list[Path]:
    """Remove a pulled guard and its checkpoints from the cache and return what is gone.

    Raises:
        GuardError: the cache holds neither.
        OutputError: a folder cannot be removed.
    """
    root = cache_folder()
    found = [path for path in (root / name, *sorted((root / CHECKPOINTS).glob(f"{name}-*"))) if path.is_dir()]
    found = [path for path in found if path.parent in (root, root / CHECKPOINTS) and _is_of(path, name)]
    if not found:
        raise GuardError(
            f"the cache holds no `{name}`; what ships with riskline is not removed", hint="riskline guards"
        )
    try:
        for path in found:
            shutil.rmtree(path)
    except OSError as error:
        raise OutputError(f"`{error.filename}` cannot be removed: {error.strerror}") from error
    return found


def _is_of(path: Path, name: str) -> bool:
    """A checkpoint's folder ends in a commit: another guard's name may begin with this one's."""
    return path.name == name or len(path.name) == len(name) + 13
