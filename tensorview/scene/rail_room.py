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
# of the name's width; a tenth more at the frame's left side, where they are seen from another angle.
SLOPE = 1.1 * math.tan(math.radians(PITCH)) / math.sin(math.radians(YAW))
# In lines of text: the least and the most room from a bracket to the next.
LEAST, MOST, AIR = 1.4, 5.0, 0.4
# Letters of brackets in a picture of 720 lines; and the unit over the edge of a map, at most.
WANTED, MOST_UNIT = 12.5, 1.5
# Of a frame the share that the network takes, and its lines.
FILL, FRAME = 0.95, 720


def unit_of(frame: float, edge: float) -> float:
    """What the sizes of brackets are in proportion to, so that their letters are as large as wanted in the first view.

    Args:
        frame: height of the frame that has everything in it, in the scene's unit.
        edge: of the largest map.
    """
    return min(MOST_UNIT * edge, WANTED * frame / (FILL * FRAME) / LETTERS)


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
