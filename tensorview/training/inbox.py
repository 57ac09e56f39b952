"""The commands that wait for a worker."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

Command = tuple[dict[str, Any], bytes]


class Inbox:
    """A queue of commands, put in by one thread and taken out by another; `None` in it says that no more will come.

    Of several probes only the newest is kept: who draws makes many a second, and nothing shall wait behind those that
    would not be seen any more.
    """

    def __init__(self) -> None:
        self._waiting: deque[Command | None] = deque()
        self._changed = threading.Condition()

    def put(self, command: Command | None) -> None:
        """Add a command behind the others."""
        with self._changed:
            if _is_probe(command):
                self._waiting = deque(other for other in self._waiting if not _is_probe(other))
            self._waiting.append(command)
            self._changed.notify()

    def get(self) -> Command | None:
        """The command that has waited longest; waits for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            return self._waiting.popleft()

    def empty(self) -> bool:
        """Whether no command waits."""
        return not self._waiting


def _is_probe(command: Command | None) -> bool:
    return command is not None and command[0]["say"] == "probe"
