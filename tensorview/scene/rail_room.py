"""How large brackets and their names are, and the room that they need below the layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .camera import PITCH, YAW
from .groups import Span
from .labels import local_name
from .text import LINE, shorten, width_of

# Over the unit of brackets: height of the letters, and room for the innermost bracket. In a lane the unit is this share
# of the edge of a map at most.
LETTERS, FIRST_RAIL, IN_LANE = 0.1, 0.1, 0.4
LONGEST = 28
# A name runs along +x and the bracket around it along -z. In the first view they come nearer to each other by this much
# of the name's width.
SLOPE = math.tan(math.radians(PITCH)) / math.sin(math.radians(YAW))
# In lines of text: the least and the most room from a bracket to the next.
LEAST, MOST, AIR = 1.4, 4.5, 0.3
# Letters of brackets in a picture of 720 lines, at most, where the layers are small in it.
LARGEST = 13.0
# Of a frame the share that the network takes, and its lines.
FILL, FRAME = 0.95, 720


def unit_of(frame: float, edge: float) -> float:
    """What the sizes of brackets are in proportion to: the edge of a map, less where the letters would be too large.

    Args:
        frame: height of the frame that has everything in it, in the scene's unit.
        edge: of the largest map.
    """
    return min(edge, LARGEST * frame / (FILL * FRAME) / LETTERS)


def lane_unit(unit: float, edge: float) -> float:
    """The unit of the brackets in a lane."""
    return min(unit, edge * IN_LANE)


def names_of(spans: Sequence[Span]) -> dict[str, str]:
    """What stands at the brackets of these modules: their names without what the bracket around them says."""
    names = {}
    for span in spans:
        around = [s for s in spans if s.depth < span.depth and s.first <= span.first and span.last <= s.last]
        parent = max(around, key=lambda s: s.depth).name.partition("#")[0] if around else ""
        names[span.name] = shorten(local_name(span.name, parent), LONGEST)
    return names


def room_under(name: str, unit: float) -> float:
    """From a bracket to the one around it, so that its name has room between them."""
    line = unit * LETTERS * LINE
    return line * min(max(LEAST, 1 + AIR + SLOPE * width_of(name, False)), MOST)


def room_of(spans: Sequence[Span], members: set[int], unit: float, names: dict[str, str], single: bool) -> float:
    """What the brackets under these layers and their names need below each other.

    Args:
        members: indices of the layers.
        single: whether a bracket that stands alone needs room as well.
    """
    most = 0.0
    for i in members:
        chain = [names[s.name] for s in spans if s.first <= i <= s.last]
        if single or len(chain) > 1:
            most = max(most, sum(room_under(name, unit) for name in chain))
    return most
