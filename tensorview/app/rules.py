"""What a browser may set and call on the page, with what values."""

from __future__ import annotations

import math
from typing import Any

from ..scene import THEMES, Camera
from ..scene.colouring import AGGREGATES, SCALINGS
from ..scene.palette import ENCODINGS
from .endpoint import MOST_MESSAGE_BYTES
from .policy import Policy
from .session import MOST_PAD_CELLS
from .validators import Validator, boolean, choice, data, fields, integer, list_of, number, optional, text
from .wire import camera_from

# A file travels in a message, with its name and the trigger's around it: within the cap it is refused in words.
MOST_UPLOAD_BYTES = MOST_MESSAGE_BYTES - 64 * 2**10
MAP_COUNTS = (0, 1, 4, 9, 16, 36, 64)
FAR = 1e7

DEFAULTS: dict[str, Any] = {
    "live": True,
    "prepare": True,
    "animation": 300,
    "show_legend": True,
    "show_bar": True,
    "show_stats": False,
    "show_field": False,
    "show_help": False,
    "show_picture": False,
    "picture_width": "1920",
    "picture_height": "1080",
    "picture_transparent": False,
    "picture_title": True,
    "picture_legend": True,
    "picture_bar": True,
    "panel": "input",
    "query": "",
}

STATE: dict[str, Validator] = {
    **{key: boolean for key, value in DEFAULTS.items() if isinstance(value, bool)},
    "theme": choice(*THEMES),
    "encoding": choice(*ENCODINGS),
    "scaling": choice(*SCALINGS),
    "aggregate": choice(*AGGREGATES),
    "arrangement": choice("grid", "row"),
    "sort": choice("index", "activation"),
    "most_maps": integer(0, max(MAP_COUNTS)),
    "animation": integer(0, 3000),
    "picture_width": text(6),  # as far as it is typed; the trigger takes numbers
    "picture_height": text(6),
    "panel": choice("input", "run", "data", "train", "test", "layers"),
    "query": text(200),
    "message": choice(""),
}

vector = list_of(number(-FAR, FAR), 3, 3)
size = list_of(number(0, 20_000), 4, 2)
spot = list_of(number(-20_000, 20_000), 4, 4)


def camera(value: Any) -> Camera:
    """A camera that sees something: its place is not what it looks at, and up is not forwards."""
    found = camera_from(fields(position=vector, focalPoint=vector, viewUp=vector, viewAngle=number(1, 120))(value))
    away = [p - f for p, f in zip(found.position, found.focal_point, strict=True)]
    up = found.view_up
    cross = (
        away[1] * up[2] - away[2] * up[1],
        away[2] * up[0] - away[0] * up[2],
        away[0] * up[1] - away[1] * up[0],
    )
    if math.hypot(*cross) < 1e-9:
        raise ValueError("a camera without a direction")
    return found


stamp = fields(seq=integer(0, 2**53), t=number(0, 1e15))
picture = fields(
    width=integer(16, 8192), height=integer(16, 8192), transparent=boolean, title=boolean, legend=boolean, bar=boolean
)
name = text(300)

TRIGGERS: dict[str, tuple[Validator, ...]] = {
    "stage_sync": (size,),
    "first_camera": (size,),
    "camera_moved": (optional(camera),),
    "stage_hovered": (spot, camera),
    "stage_clicked": (spot, camera),
    "pointer_left": (),
    "toggle_layer": (name,),
    "hide_input": (name,),
    "select_layer": (name,),
    "open_all": (),
    "close_all": (),
    "pad_ready": (),
    "pad_drawn": (data(MOST_PAD_CELLS * MOST_PAD_CELLS), stamp),
    "image_dropped": (data(MOST_UPLOAD_BYTES), name),
    "image_refused": (text(300),),
    "show_sample": (integer(0, 1000),),
    "show_random": (),
    "clear_input": (),
    "reset_all": (),
    "picture": (picture, camera),
    "scene_saved": (camera,),
}


def policy() -> Policy:
    """The policy of the page; a trigger is the explorer's method of the same name."""
    allowed = Policy(state=STATE)
    for trigger, validators in TRIGGERS.items():
        allowed.trigger(trigger, *validators)
    return allowed
