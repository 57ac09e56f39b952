"""The page beside a training: a process of its own, so that neither slows the other."""

from __future__ import annotations

import atexit
import contextlib
import subprocess
import sys
from pathlib import Path

# The page ends when the pipe from its parent does, in whatever way that ended.
_PAGE = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from tensorview.cli import main
sys.exit(main(["watch", *sys.argv[1:]]))
"""


def open_viewer(path: Path | str, *options: str) -> subprocess.Popen[bytes]:
    """Show a run in the browser, as long as this process runs.

    Args:
        options: of `tensorview watch`, as "--no-browser".
    """
    process = subprocess.Popen([sys.executable, "-c", _PAGE, str(path), *options], stdin=subprocess.PIPE)
    atexit.register(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        process.terminate()
        process.wait(5)
