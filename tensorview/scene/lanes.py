"""Which layers run side by side: branches that leave one layer and meet again in another.

The layers in execution order are a line. A stretch of it becomes lanes where it falls into two parts or more that do
not feed each other, that all come from the layer before it and that all end in the layer behind it, as the branches of
an inception block do. Within a lane the same holds again. A connection that only skips layers is no lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LONGEST = 64


@dataclass(frozen=True)
class Lanes:
    """Lines side by side, in the order in which they run."""

    lines: tuple[tuple[int | Lanes, ...], ...]


Line = tuple[int | Lanes, ...]


def line_of(parents: Sequence[Sequence[int]]) -> Line:
    """The layers as a line with its lanes.

    Args:
        parents: for every layer the indices of those before it that feed it.
    """
    children: list[list[int]] = [[] for _ in parents]
    for child, every in enumerate(parents):
        for parent in every:
            children[parent].append(child)
    return _line(list(range(len(parents))), parents, children)


def _line(members: list[int], parents: Sequence[Sequence[int]], children: Sequence[Sequence[int]]) -> Line:
    pieces: list[int | Lanes] = []
    at = len(members) - 1
    while at >= 0:
        pieces.append(members[at])
        lanes = _lanes_before(members, at, parents, children) if len(parents[members[at]]) > 1 else []
        if lanes:
            pieces.append(Lanes(tuple(_line(lane, parents, children) for lane in lanes)))
        at -= 1 + sum(map(len, lanes))
    return tuple(reversed(pieces))


def _lanes_before(
    members: list[int], at: int, parents: Sequence[Sequence[int]], children: Sequence[Sequence[int]]
) -> list[list[int]]:
    """The longest stretch that ends before `members[at]` and falls into lanes which meet there; empty for none."""
    join, inside = members[at], set[int]()
    lane_of: dict[int, int] = {}
    lanes: dict[int, list[int]] = {}
    found: list[list[int]] = []
    for start in range(at - 1, max(-1, at - 1 - LONGEST), -1):
        layer = members[start]
        if not children[layer] or any(child != join and child not in inside for child in children[layer]):
            break
        inside.add(layer)
        joined = {lane_of[child] for child in children[layer] if child != join}
        lanes[layer] = sorted([layer, *(k for lane in joined for k in lanes.pop(lane))])
        lane_of.update((k, layer) for k in lanes[layer])
        if len(lanes) > 1 and _fed_by_one(lanes, inside, parents, members[start - 1] if start else None):
            found = sorted(lanes.values())
    return found


def _fed_by_one(
    lanes: dict[int, list[int]], inside: set[int], parents: Sequence[Sequence[int]], before: int | None
) -> bool:
    """Whether all lanes come from the layer before them; the lanes of several inputs come from none."""
    fed = {parent for lane in lanes.values() for k in lane for parent in parents[k] if parent not in inside}
    return fed == {before} if before is not None else len(fed) <= 1
