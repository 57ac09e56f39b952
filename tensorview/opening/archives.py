"""Refuse a zip archive that would unpack to more than a model has, before anything of it is read."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ..errors import OpenError

MOST_BYTES = 16 * 2**30
MOST_RATIO = 200  # weights of a real model compress to no less than a few percent
_SMALL = 64 * 2**20  # bytes that are let through at any ratio
MOST_MEMBERS = 100_000


def check_archive(path: Path) -> None:
    """Checks the sizes that a zip archive's directory tells; another file passes.

    Raises:
        OpenError: it would unpack to more than 16 GiB, or to more than 200 times its own size; it is broken.
    """
    try:
        if not zipfile.is_zipfile(path):  # raises of an archive that claims to be one of several files
            return
        with zipfile.ZipFile(path) as archive:
            sizes = [member.file_size for member in archive.infolist()]
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        raise OpenError(f"{path} is a broken zip archive: {str(error).rstrip('.')}.") from error
    total, packed = sum(sizes), path.stat().st_size
    if total > MOST_BYTES or len(sizes) > MOST_MEMBERS or total > max(_SMALL, MOST_RATIO * packed):
        raise OpenError(
            f"{path} has {packed / 2**20:,.1f} MiB and would unpack to {total / 2**30:,.1f} GiB in {len(sizes):,} "
            "files, which no model does; it is not opened."
        )


def read_member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A file in an archive, read up to what its directory says and `most` allows.

    Raises:
        OpenError: it is not there, broken, or larger.
    """
    try:
        with archive.open(name) as file:
            data = file.read(most + 1)
    except (KeyError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, NotImplementedError) as error:
        raise OpenError(f"{archive.filename} is broken: {name} in it cannot be read.") from error
    if len(data) > most:
        raise OpenError(f"{archive.filename} is refused: {name} in it has more than {most / 2**20:,.0f} MiB.")
    return data
