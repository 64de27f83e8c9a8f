"""`python -m riskline` and the `riskline` program."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

from riskline.app import main as run


def main() -> None:
    """Run the command line and end the process with its exit code; asked to end, it ends as by Ctrl-C, with 143."""
    asked = []

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends it at once
        asked.append(128 + number)
        raise KeyboardInterrupt

    if heard := signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)
    code = run()
    if heard:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    code = asked[0] if asked else code
    if threading.active_count() > 1:
        # A thread still waits on stdin; the interpreter would abort on the lock that it holds (bpo-23309).
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
