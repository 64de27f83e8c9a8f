"""Documentation under test: what it names exists, what exists is named, what it shows is what happens."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from conftest import Cli

from riskline.app import CLEAN, CLOSED_PIPE, FAILED, FLAGGED, INCOMPLETE, INTERRUPTED, app
from riskline.manifest import read_manifest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_in_the_readme(name: str) -> None:
    assert f"riskline {name}" in README


@pytest.mark.parametrize("line", [line for block in blocks("sh") for line in block.splitlines() if "riskline " in line])
def test_every_command_line_in_the_readme_parses(line: str) -> None:
    words = shlex.split(line, comments=True)
    words = words[words.index("riskline") + 1 :]
    cut = next((index for index, word in enumerate(words) if word in ("<", ">", "|")), len(words))
    words = words[:cut]
    command = COMMANDS[words[0]]
    if len(words) > 1 and words[1] in getattr(command, "commands", {}):
        command = command.commands[words[1]]

    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert {word for word in words[1:] if word.startswith("--")} <= flags


@pytest.mark.parametrize("flag", sorted(set(re.findall(r"`(--[a-z-]+)", README))))
def test_every_flag_in_the_readme_exists(flag: str) -> None:
    known = {name for command in COMMANDS.values() for parameter in command.params for name in parameter.opts}

    assert flag in known | {"--fast"} or f"`{flag}`, the score cache" in README


def test_every_flag_has_help_and_an_environment_variable(cli: Cli) -> None:
    for name in ("check", "score", "trace"):
        shown = re.sub(r"\s+", "", cli(name, "--help", guard=None).text)
        for parameter in COMMANDS[name].params:
            if parameter.opts[0].startswith("--") and parameter.name != "help":
                assert parameter.help, f"{name} {parameter.opts}"
                assert f"RISKLINE_{name.upper()}_{parameter.name.upper()}" in shown


@pytest.mark.parametrize("code", [CLEAN, FLAGGED, FAILED, INCOMPLETE, INTERRUPTED, CLOSED_PIPE])
def test_every_exit_code_is_in_the_readme(code: int) -> None:
    assert re.search(rf"^\| (.*, )?{code}(,.*)? \|", README, re.MULTILINE)


def test_the_python_example_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("RISKLINE_MODELS")
    (example,) = blocks("python")

    exec(compile(example, "README.md", "exec"), {})

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all(line.split()[0] in ("safe", "controversial", "unsafe") for line in (*lines[:2], lines[-1]))


def test_the_readmes_trace_is_what_is_printed() -> None:
    answer = subprocess.run([sys.executable, "scripts/readme.py", "--check"], cwd=ROOT, check=False)

    assert answer.returncode == 0, "run python scripts/readme.py"


@pytest.mark.parametrize("document", ["README.md", "cli/README.md", "models/README.md", "scripts/train/README.md"])
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert target.startswith("http") or (path.parent / target).exists(), target


def test_the_map_names_every_room() -> None:
    rooms = {path.name.removesuffix(".py") for path in (ROOT / "cli" / "riskline").iterdir()}
    text = (ROOT / "cli" / "README.md").read_text(encoding="utf-8")

    for room in rooms - {"__pycache__", "__init__", "py.typed", "schemas"}:
        assert f"`{room}" in text, room


def test_the_guard_table_says_the_size_that_ships() -> None:
    manifest = read_manifest(ROOT / "models" / "riskline-mini")
    size = sum(facts.size for facts in manifest.files.values()) / 1e6

    assert f"`riskline-mini`, embedded, {size:.1f} MB" in README


@pytest.mark.parametrize("words", [["guards"], ["guards", "show", "tiny"], ["schema"]])
def test_the_catalog_needs_no_runtime(words: list[str]) -> None:
    code = f"import sys; from riskline.app import main; main({words}); print('onnxruntime' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)

    assert answer.stdout.splitlines()[-1] == "False"


def test_the_public_names_are_there() -> None:
    import riskline

    for name in riskline.__all__:
        assert getattr(riskline, name) is not None
