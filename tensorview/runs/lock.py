"""Who writes a run: one process at a time, said by a file with its number and its machine."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from pathlib import Path
from typing import Any

from ..errors import OpenError
from .directory import LOCK

SETTLE_SECONDS = 0.05
YOUNG_SECONDS = 5.0


class WriterLock:
    """The right to write to a run, held from the start until `release`.

    A lock whose process on this machine has ended, as after kill -9, is taken over. Of a process on another machine
    nothing can be known; the message says which file to remove.

    Raises:
        OpenError: another process, or this one, is writing there.
        OSError: the lock cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._mark = secrets.token_hex(8)
        self.pid = os.getpid()
        if not self._create():
            self._take_over()

    def _create(self) -> bool:
        try:
            file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        try:
            os.write(file, lock_content(self._mark))
        except OSError:
            self._path.unlink(missing_ok=True)
            raise
        finally:
            os.close(file)
        return True

    def _take_over(self) -> None:
        holder = read_lock(self._path.parent)
        if holder is not None and is_alive(holder):
            raise OpenError(
                f"{self._path.parent} is being written by process {holder.get('pid')} on {holder.get('host')}: record "
                f"to another directory, or remove {self._path} if that process has ended."
            )
        mine = self._path.with_name(f"{LOCK}.{self._mark}")
        mine.write_bytes(lock_content(self._mark))
        os.replace(mine, self._path)
        # Somebody else may have found the same dead lock; who replaced it last has it.
        time.sleep(SETTLE_SECONDS)
        held = read_lock(self._path.parent)
        if held is None or held.get("mark") != self._mark:
            raise OpenError(f"{self._path.parent} has just been taken by another process: record to another directory.")

    def release(self) -> None:
        """Let others write; does nothing in a forked child, or where another has taken the lock."""
        if os.getpid() != self.pid:
            return
        with contextlib.suppress(OSError):
            held = read_lock(self._path.parent)
            if held is not None and held.get("mark") == self._mark:
                self._path.unlink(missing_ok=True)


def lock_content(mark: str) -> bytes:
    """What a lock says of this process, with a mark that no other has."""
    pid = os.getpid()
    return json.dumps({"pid": pid, "host": socket.gethostname(), "born": _born(pid), "mark": mark}).encode()


def read_lock(folder: Path) -> dict[str, Any] | None:
    """What the lock of a run says; `None` where there is none, `{}` where it cannot be read."""
    try:
        found = json.loads((folder / LOCK).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        # It is being written just now, or its writer was killed in between.
        with contextlib.suppress(OSError):
            if time.time() - (folder / LOCK).stat().st_mtime < YOUNG_SECONDS:
                return {}
        return None
    return found if isinstance(found, dict) else None


def is_alive(holder: dict[str, Any]) -> bool:
    """Whether the process that a lock names is running, as far as can be known."""
    if not holder or holder.get("host") != socket.gethostname():
        return True
    pid = holder.get("pid")
    if not isinstance(pid, int) or pid <= 0 or not _runs(pid):
        return False
    return holder.get("born") in (None, _born(pid))  # a number is given again after a while


def _runs(pid: int) -> bool:
    if os.name == "nt":  # os.kill would end the process there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return _state(pid) != "Z"


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on: the state, ..., the start time as the 20th of them."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return []


def _state(pid: int) -> str:
    return next(iter(_stat(pid)), "")


def _born(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; `None` where that is not known."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else None
