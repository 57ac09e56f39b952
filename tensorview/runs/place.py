"""Where a run lies, for reading: a directory of this machine, or one that is far away and copied as it is needed."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import OpenError
from .directory import ABOUT, LOCK, METRICS
from .store import Store, folder_for, located

# A change within the clock tick of the last look would not show in the folder's time.
COARSE_SECONDS = 2.0
ASK_SECONDS = 2.0
MOST_COPIES = 64
Mark = tuple[Any, ...]


class Place:
    """A directory of this machine.

    Attributes:
        folder: where the files are that are small or have been fetched.
        name: the last part of its path.
    """

    def __init__(self, path: Path) -> None:
        self.folder = path
        self.name = path.resolve().name
        self._looked_at = 0

    def sync(self) -> None:
        """Bring the small files up to date. Raises OSError."""

    def names(self) -> list[str] | None:
        """The names of all files; `None` where nothing has come or gone since the last look. Raises OSError."""
        changed = os.stat(self.folder).st_mtime_ns
        if changed == self._looked_at:
            return None
        with os.scandir(self.folder) as entries:
            names = [entry.name for entry in entries]
        settled = time.time() - changed / 1e9 > COARSE_SECONDS
        self._looked_at = changed if settled else 0
        return names

    def mark(self, name: str) -> Mark | None:
        """What tells a file from a later one of the same name; `None` where there is none."""
        try:
            found = (self.folder / name).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def nbytes(self, name: str) -> int:
        """The size of a file; 0 where it is not there."""
        try:
            return (self.folder / name).stat().st_size
        except OSError:
            return 0

    def fetch(self, name: str) -> Path:
        """Where a file can be read, if it is there. Raises OSError."""
        return self.folder / name


class FarPlace(Place):
    """A directory of another file system. It is asked for what is new every `ASK_SECONDS` at most.

    Raises:
        OpenError: the file system is not known, or what it needs is not installed.
    """

    def __init__(self, url: str) -> None:
        self._store = Store(url)
        super().__init__(folder_for(self))
        self.name = url.rpartition("/")[2]
        self._found: Mapping[str, Mapping[str, Any]] = {}
        self._held: dict[str, Mark] = {}
        self._ask_at = 0.0

    def sync(self) -> None:
        if time.monotonic() < self._ask_at:
            return
        self._found = self._store.files()
        for name in (ABOUT, METRICS, LOCK):
            mark = self.mark(name)
            if mark is None:
                self._held.pop(name, None)
                (self.folder / name).unlink(missing_ok=True)
            elif self._held.get(name) != mark:
                self._copy_small(name)
                self._held[name] = mark
        self._ask_at = time.monotonic() + ASK_SECONDS

    def _copy_small(self, name: str) -> None:
        path = self.folder / name
        if name == METRICS and path.exists() and path.stat().st_size < self.nbytes(name):
            with path.open("ab") as file:  # its writer only ever adds to it
                file.write(self._store.read(name, path.stat().st_size))
            return
        before = path.read_bytes() if path.exists() else b""
        path.write_bytes(self._store.read(name))
        if name == ABOUT and before and before != path.read_bytes():
            self._held.pop(METRICS, None)  # of the run that was there
            (self.folder / METRICS).unlink(missing_ok=True)

    def names(self) -> list[str] | None:
        self.sync()
        return list(self._found)

    def mark(self, name: str) -> Mark | None:
        found = self._found.get(name)
        return None if found is None else tuple(sorted((key, str(value)) for key, value in found.items()))

    def nbytes(self, name: str) -> int:
        return int(self._found.get(name, {}).get("size") or 0)

    def fetch(self, name: str) -> Path:
        path, mark = self.folder / name, self.mark(name)
        if mark is None or self._held.get(name) != mark or not path.exists():
            path.write_bytes(self._store.read(name))
            self._held[name] = mark or ()
        steps = [held for held in self._held if held not in (ABOUT, METRICS, LOCK)]
        for old in steps[:-MOST_COPIES]:
            del self._held[old]
            (self.folder / old).unlink(missing_ok=True)
        return path


def place_of(path: str | os.PathLike[str]) -> Place:
    """The place that a path or an fsspec URL names.

    Raises:
        OpenError: the file system of a URL is not known, cannot be reached, or has no such directory.
    """
    where = located(path)
    if isinstance(where, Path):
        return Place(where)
    place = FarPlace(where)
    try:
        place.sync()
    except OSError as error:
        raise OpenError(f"{where} cannot be read ({error}).") from error
    if place.mark(ABOUT) is None:
        raise OpenError(f"{where} has no run in it: run.json is missing.")
    return place
