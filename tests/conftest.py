"""What every test may ask for: guards that are loaded once, and the command line run in this process."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from riskline.guard import Guard

# No example fails for being slow: a busy machine is no error. Where a failure blocks others, every run tries the same
# examples; elsewhere every run looks for new ones.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

ROOT = Path(__file__).parents[1]
# Two workers, two cores: PyTorch's own threads would wait for each other's cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
BUNDLES = ROOT / "tests" / "bundles"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command line came to."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


class _Pipe(io.TextIOWrapper):
    """A text stream over bytes, as a pipe is: no terminal."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8", write_through=True)

    def value(self) -> bytes:
        self.flush()
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue()


Cli = Callable[..., Answer]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the tiny bundle, to be changed."""
    return Path(shutil.copytree(BUNDLES / "tiny", tmp_path / "tiny"))


def edit(folder: Path, old: str, new: str) -> Path:
    """Replace what a bundle's manifest says in one place."""
    path = folder / "guard.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return folder


def rewrite(folder: Path, name: str, data: bytes) -> Path:
    """Write a file of a bundle anew, and its size and hash into the manifest."""
    before = (folder / name).read_bytes()
    (folder / name).write_bytes(data)
    edit(folder, f"size = {len(before)}", f"size = {len(data)}")
    return edit(folder, hashlib.sha256(before).hexdigest(), hashlib.sha256(data).hexdigest())


@pytest.fixture(autouse=True)
def _hermetic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("RISKLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RISKLINE_MODELS", str(BUNDLES))
    monkeypatch.setenv("RISKLINE_CACHE", str(tmp_path / "no-cache"))
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run `riskline ARGS…` in this process, with bytes on stdin."""

    def run(*arguments: str, stdin: bytes = b"", guard: str | None = "tiny") -> Answer:
        from riskline.app import main

        chosen = ["--guard", guard] if guard and arguments[0] in ("check", "score", "trace") else []
        out, err = _Pipe(), _Pipe()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", _Pipe(stdin))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            code = main([arguments[0], *chosen, *arguments[1:]])
        return Answer(code, out.value(), err.value().decode())

    return run


@pytest.fixture(scope="session")
def tiny() -> Guard:
    """The guard of sums."""
    from riskline.guard import load

    return load(str(BUNDLES / "tiny"), provider="cpu")


@pytest.fixture(scope="session")
def mini() -> Guard:
    """The shipped guard."""
    from riskline.guard import load

    return load(str(ROOT / "models" / "riskline-mini"), provider="cpu")
