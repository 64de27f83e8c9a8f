"""What a measurement was made on, and commands timed as whole processes."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


def machine() -> str:
    """Return one line: processor, cores, Python, ONNX Runtime."""
    facts = Path("/proc/cpuinfo")
    named = [line for line in facts.read_text().splitlines() if line.startswith("model name")] if facts.exists() else []
    name = named[0].partition(":")[2].strip() if named else platform.processor()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores, Python {platform.python_version()}, onnxruntime {version('onnxruntime')}"


@dataclass(frozen=True, slots=True)
class Timing:
    """Wall seconds of one process and its peak memory in MiB."""

    seconds: float
    peak: float


def run(command: Sequence[str], stdin: Path | None = None) -> Timing:
    """Run a command to its end, its output thrown away.

    Raises:
        RuntimeError: it did not end in 0.
    """
    with (stdin or Path(os.devnull)).open("rb") as source:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert process.stderr
        told = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
    if status:
        raise RuntimeError(f"{' '.join(command)} ended in {os.waitstatus_to_exitcode(status)}: {told.decode()}")
    return Timing(seconds, usage.ru_maxrss / 1024)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return median, and least to most."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
