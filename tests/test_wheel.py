"""What is shipped: the package and its data, nothing else, and it works where nothing else is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from riskline.manifest import read_manifest

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("builds")]
MEGABYTES = 40


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_holds_the_package_and_its_data_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    assert {name.split("/")[0] for name in names} == {"riskline", "riskline-0.1.0.dist-info"}
    assert not [name for name in names if name.startswith("riskline/models/") and name.endswith(".py")]
    manifest = read_manifest(ROOT / "models" / "riskline-mini")
    for name in ("guard.toml", "README.md", *manifest.files):
        assert f"riskline/models/riskline-mini/{name}" in names
    for name in ("show/page.html", "schemas/verdict.json", "schemas/policy.json", "schemas/manifest.json", "py.typed"):
        assert f"riskline/{name}" in names


def test_the_wheel_is_small_enough_for_a_hook(wheel: Path) -> None:
    assert wheel.stat().st_size < MEGABYTES * 1_000_000


def without_network() -> list[str]:
    """Return what runs a command in a network namespace of its own, where this machine can."""
    command = ["unshare", "--map-root-user", "--net"]
    able = (
        shutil.which("unshare") and subprocess.run([*command, "true"], check=False, capture_output=True).returncode == 0
    )
    return command if able else []


def test_the_wheel_works_alone_and_offline(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    nowhere = "http://127.0.0.1:9"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RISKLINE_")}
    environment |= {"PYTHONPATH": str(site), "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "HF_HUB_OFFLINE": "1"}

    def riskline(*words: str) -> str:
        command = [*without_network(), sys.executable, "-m", "riskline", *words]
        answer = subprocess.run(
            command, cwd=tmp_path, env=environment, input='{"text":"What is the capital of France?"}\n',
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return answer.stdout

    assert '"label":"safe"' in riskline("score")
    assert "as the reference" in riskline("guards", "verify", "riskline-mini")
    assert str(site) in riskline("guards", "show", "riskline-mini").replace("\n", "").replace(" ", "")
