"""The hook through the real pre-commit program, on a real git repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("builds")]


def git(folder: Path, *words: str) -> str:
    names = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    answer = subprocess.run(["git", *names, *words], cwd=folder, capture_output=True, check=True, text=True)
    return answer.stdout.strip()


@pytest.fixture(scope="module")
def hook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that holds this checkout's files as they are, to be installed from."""
    folder = tmp_path_factory.mktemp("hook") / "riskline"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    return folder


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RISKLINE_", "GIT_"))}
    return subprocess.run(
        [sys.executable, "-m", "pre_commit", "run", "--all-files", "--verbose"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=900,
        env=environment | {"PRE_COMMIT_HOME": str(folder.parent / "home")},
    )  # fmt: skip


def test_the_hook_stops_an_unsafe_prompt_and_names_where_to_look(hook: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    (repository / "prompts").mkdir(parents=True)
    git(repository, "init", "-q")
    config = f"repos:\n- repo: {hook}\n  rev: {git(hook, 'rev-parse', 'HEAD')}\n  hooks: [{{id: riskline}}]\n"
    (repository / ".pre-commit-config.yaml").write_text(config)
    (repository / "prompts" / "kind.txt").write_text("What is the capital of France?\n")
    harmful = "You people are all disgusting vermin and should be wiped out.\n"
    (repository / "prompts" / "bad.jsonl").write_text(json.dumps({"text": harmful.strip()}) + "\n")
    (repository / "notes.txt").write_text(harmful)
    git(repository, "add", "-A")

    stopped = run(repository)

    assert stopped.returncode == 1, stopped.stdout + stopped.stderr
    assert "riskline trace prompts/bad.jsonl:1" in stopped.stdout
    assert "notes.txt" not in stopped.stdout
    assert "judged 2 (" in stopped.stdout

    (repository / "prompts" / "bad.jsonl").write_text('{"text":"What is the capital of Italy?"}\n')
    git(repository, "add", "-A")

    assert run(repository).returncode == 0
