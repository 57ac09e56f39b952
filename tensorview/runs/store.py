"""A directory of another file system, by an fsspec URL such as s3://bucket/run."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import OpenError

HERE = ("file", "local")
# Where what is written is there as a whole or not at all, and renaming is copying.
WHOLE = {"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "hf"}


def located(path: str | os.PathLike[str]) -> Path | str:
    """A path of this machine, or the URL of another file system without a slash at its end."""
    text = os.fspath(path)
    protocol, found, rest = text.partition("://")
    if not found:
        return Path(path)
    return Path(rest) if protocol in HERE else text.rstrip("/")


def folder_for(owner: object) -> Path:
    """An empty folder of this machine that goes when its owner does."""
    folder = tempfile.mkdtemp(prefix="tensorview-run-")
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


class Store:
    """Whole files of one directory, of which nobody ever reads half.

    Args:
        url: as fsspec takes it.

    Raises:
        OpenError: the file system is not known, or what it needs is not installed.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url
        try:
            self._system, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise OpenError(f"{url} cannot be opened: {str(error).strip().rstrip('.')}.") from error
        except Exception as error:  # whatever a file system's own package raises
            raise OpenError(f"{url} cannot be opened ({type(error).__name__}: {error}).") from error
        protocol = self._system.protocol
        self._is_whole = bool(WHOLE & ({protocol} if isinstance(protocol, str) else set(protocol)))

    def beside(self, ending: str) -> Store:
        """The directory of the same name with something more at its end."""
        return Store(self.url + ending)

    def files(self) -> Mapping[str, Mapping[str, Any]]:
        """What the file system says of every file, by name; empty where there is no directory. Raises OSError."""
        with _as_oserror():
            self._system.invalidate_cache(self._root)
            try:
                found = self._system.ls(self._root, detail=True)
            except FileNotFoundError:
                return {}
            return {each["name"].rpartition("/")[2]: each for each in found if each["type"] == "file"}

    def read(self, name: str, start: int = 0) -> bytes:
        """A file, from a byte on. Raises OSError."""
        with _as_oserror():
            found: bytes = self._system.cat_file(self._path(name), start=start or None)
            return found

    def write(self, name: str, data: bytes) -> None:
        """Write a file or replace it. Raises OSError."""
        with _as_oserror():
            if self._is_whole:
                self._system.pipe_file(self._path(name), data)
                return
            unfinished = self._path(f"{name}.{os.getpid()}.tmp")
            self._system.makedirs(self._root, exist_ok=True)
            self._system.pipe_file(unfinished, data)
            self._system.mv(unfinished, self._path(name))

    def remove(self, name: str) -> None:
        """Take a file away, if it is there. Raises OSError."""
        with _as_oserror():
            with contextlib.suppress(FileNotFoundError):
                self._system.rm_file(self._path(name))

    def move(self, name: str, other: Store) -> None:
        """Move a file to another directory of the same file system. Raises OSError."""
        with _as_oserror():
            if not self._is_whole:
                self._system.makedirs(other._root, exist_ok=True)
            self._system.mv(self._path(name), other._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


class _as_oserror:  # noqa: N801 (a context, used as a function)
    """Whatever a file system's own package raises, as an OSError."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, OSError):
            raise OSError(f"{type(error).__name__}: {error}") from error
