"""What a browser is told has no paths of this machine in it: of each only its last part."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

_START = r"(?:file://|~)?/|[A-Za-z]:[\\/]|\\\\"
# Between quotes a path may hold spaces, as in the messages of the operating system.
_QUOTED = re.compile(rf"(?P<quote>['\"])(?P<path>(?:{_START})[^'\"\n]*)(?P=quote)")
_BARE = re.compile(rf"(?<![\w/\\.:~<])(?:{_START})[^\s'\"();,]+")


def without_paths(sentence: str, known: Iterable[str | os.PathLike[str]] = ()) -> str:
    """A sentence with the last part of every absolute path instead of the path.

    Args:
        known: paths or URLs that it may name, relative ones, or ones with spaces, among them.

    >>> without_paths("There is no file /home/somebody/net.pt.")
    'There is no file net.pt.'
    """
    sentence = _QUOTED.sub(lambda found: found["quote"] + _last(found["path"]) + found["quote"], sentence)
    spellings = {spelling for path in known for spelling in (os.fspath(path), os.path.abspath(path))}
    for path in sorted(spellings, key=len, reverse=True):
        if len(_last(path)) < len(path):
            sentence = re.sub(rf"(?<![\w/\\]){re.escape(path)}(?!\w)", lambda found: _last(found[0]), sentence)
    return _BARE.sub(lambda found: _last(found[0]), sentence)


def _last(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1]
