"""`riskline doctor`: what is installed, and which providers are proven to run a guard here."""

from __future__ import annotations

import platform
import sys

from riskline.catalog import DEFAULT_GUARD, check_files, find
from riskline.commands import Ending
from riskline.errors import RisklineError
from riskline.manifest import Manifest

REPAIR = 'pip uninstall -y onnxruntime onnxruntime-gpu && pip install "riskline[{extra}]"'


def doctor() -> Ending:
    """Try everything a run needs: a real session on every provider, a real text through it, every file hashed.

    Exit code 2 if no provider can run the default guard.
    """
    from importlib.metadata import version

    _say(f"riskline {version('riskline')}, Python {platform.python_version()}, {platform.platform()}")
    _runtimes()
    try:
        bundle = find(DEFAULT_GUARD)
        check_files(bundle.manifest, everything=True)
    except RisklineError as error:
        _say(f"✗ guard {DEFAULT_GUARD}: {error.message}", error.hint)
        return Ending(failed=True)
    _say(f"✓ guard {bundle.manifest.id}: {len(bundle.manifest.files)} files are as the manifest says")
    return Ending(failed=not _providers(bundle.manifest))


def _runtimes() -> None:
    from riskline.session import driver_missing, runtimes

    found = runtimes()
    extra = "cpu" if driver_missing() else "gpu"
    if len(found) > 1:
        _say(
            "✗ onnxruntime and onnxruntime-gpu are both installed and overwrite each other", REPAIR.format(extra=extra)
        )
    elif not found:
        _say("✗ no ONNX Runtime is installed", f'pip install "riskline[{extra}]"')
    else:
        _say("✓ " + ", ".join(f"{name} {number}" for name, number in found.items()))


def _providers(manifest: Manifest) -> bool:
    """Try every provider, the CPU on the guard's default graph, others on any of its; whether at least one works."""
    from riskline.session import PROVIDERS, driver_missing, prove

    outputs = next(iter(manifest.roles.values()))
    works = False
    for provider in PROVIDERS:
        for precision in manifest.precisions[:1] if provider == "cpu" else manifest.precisions:
            proof = prove(manifest.folder / manifest.graphs[precision], provider, manifest.cache, [outputs.risk])
            if proof.problem is None:
                break
        if proof.problem is None:
            works = True
            nodes = ", ".join(f"{count} on {name}" for name, count in proof.nodes.items())
            _say(f"✓ {provider}: ran a text through {manifest.name}:{precision}; nodes: {nodes}")
        elif proof.built_in or provider == "cpu" or (provider == "cuda" and driver_missing() is None):
            _say(f"✗ {provider}: {proof.problem}", proof.hint)
        else:
            _say(f"– {provider}: {proof.problem}")
    return works


def _say(line: str, hint: str | None = None) -> None:
    sys.stdout.write(line + "\n" + (f"  hint: {hint}\n" if hint else ""))
