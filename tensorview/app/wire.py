"""The scene as messages: what `web/stage.js` unpacks.

A "scene" message holds every array; it is sent to a page that has just come, and whenever a layer opens or the look
changes. A "patches" message holds only rectangles of pages; it is sent for every new input. Numbers are little-endian:
float32 coordinates, int32 indices, uint8 texels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..scene import Camera, Page, Patch, Scene
from ..scene.feeding import Feeding
from ..scene.mesh import Lines, Surface, polylines, wireframes
from ..scene.moving import shift_between
from ..scene.palette import RGB, mix

TOPIC = "tensorview.stage"
# How far the frames around the selected layer stand from it, over the edge of the largest map, or over its own longest
# side where that is less; two make a thick one.
SELECTED, SELECTED_SMALL = np.array([0.02, 0.03]), np.array([0.08, 0.12])


def scene_message(scene: Scene, serial: int, camera: Camera | None = None, selected: str = "") -> dict[str, Any]:
    """The whole scene.

    Args:
        serial: number of the scene; patches name the one that they belong to.
        camera: where to look from; without one the page keeps its own.
        selected: the layer or closed module that is framed, by name; none of that name, none is.
    """
    text = scene.theme.text
    return {
        "kind": "scene",
        "serial": serial,
        "background": [c / 255 for c in scene.theme.background],
        "surfaces": {
            "cells": surface_arrays(scene.cells),
            "names": surface_arrays(scene.names),
            "shares": surface_arrays(scene.shares),
        },
        "lines": {name: line_arrays(getattr(scene, name)) for name in ("links", "frames", "brackets")},
        "pages": {page.name: page_arrays(page, text) for page in scene.pages},
        "depth": packed([item.centre[2] for item in scene.placements], "<f4"),
        "camera": None if camera is None else camera_values(camera),
        "selected": selected_arrays(scene, selected),
    }


def selected_message(scene: Scene, serial: int, name: str) -> dict[str, Any]:
    """Another layer is framed in a scene that the page has."""
    return {"kind": "selected", "serial": serial, "selected": selected_arrays(scene, name)}


def selected_arrays(scene: Scene, name: str) -> dict[str, bytes] | None:
    """The frame around a layer or closed module of that name; `None` where none is shown."""
    item = next((item for item in scene.placements if item.name == name), None)
    if item is None:
        return None
    margins = 2 * np.minimum(SELECTED * scene.edge, SELECTED_SMALL * max(item.size))[:, None]
    count = len(margins)
    hue = np.tile(np.array(scene.theme.highlight, dtype=np.uint8), (count, 1))
    layers = np.full(count, item.layer, dtype=np.int32)
    return line_arrays(wireframes(np.tile(item.centre, (count, 1)), np.array(item.size) + margins, hue, layers))


def with_animation(message: dict[str, Any], old: Scene, new: Scene, milliseconds: int) -> dict[str, Any]:
    """A scene message that moves every layer from where `old` has it."""
    if milliseconds <= 0:
        return message
    scale, offset = shift_between(old, new)
    animation = {"milliseconds": milliseconds, "scale": packed(scale, "<f4"), "offset": packed(offset, "<f4")}
    return {**message, "animation": animation}


def patches_message(patches: Sequence[Patch], serial: int, t: float = 0.0, ack: bool = False) -> dict[str, Any]:
    """Changed rectangles.

    Args:
        t: time of the pointer event that they answer, on the page's own clock in milliseconds; 0 for none.
        ack: whether the page says when it has drawn them.
    """
    return {"kind": "patches", "serial": serial, "t": t, "ack": ack, "patches": [patch_arrays(p) for p in patches]}


def patch_arrays(patch: Patch) -> dict[str, Any]:
    return {
        "page": patch.page,
        "row": patch.row,
        "column": patch.column,
        "height": patch.pixels.shape[0],
        "width": patch.pixels.shape[1],
        "pixels": patch.pixels.tobytes(),
    }


def page_arrays(page: Page, text: tuple[int, int, int]) -> dict[str, Any]:
    """A page; one of coverage has the colour of its text with it."""
    height, width = page.shape
    colour = None if page.pixels.ndim == 3 else list(text)
    return {"height": height, "width": width, "pixels": page.pixels.tobytes(), "colour": colour}


def surface_arrays(surface: Surface) -> dict[str, bytes]:
    return {
        "points": packed(surface.points, "<f4"),
        "tcoords": packed(surface.tcoords, "<f4"),
        "quads": packed(surface.quads, "<i4"),
        "layers": packed(surface.layer, "<i4"),
    }


def line_arrays(lines: Lines) -> dict[str, bytes]:
    return {
        "points": packed(lines.points, "<f4"),
        "segments": packed(lines.segments, "<i4"),
        "colours": packed(lines.colours, "u1"),
        "layers": packed(lines.layer, "<i4"),
    }


def camera_values(camera: Camera) -> dict[str, Any]:
    return {
        "position": list(camera.position),
        "focalPoint": list(camera.focal_point),
        "viewUp": list(camera.view_up),
        "viewAngle": camera.view_angle,
    }


def camera_from(values: dict[str, Any]) -> Camera:
    """The camera that a page has sent; its validator has seen it."""
    return Camera(tuple(values["position"]), tuple(values["focalPoint"]), tuple(values["viewUp"]), values["viewAngle"])


def packed(values: Any, dtype: str) -> bytes:
    return np.ascontiguousarray(values, dtype=dtype).tobytes()


def hover_arrays(cell: np.ndarray, feeding: Feeding, scene: Scene, field: np.ndarray | None = None) -> dict[str, bytes]:
    """The outline of a cell, those of what feeds it, and lines from there.

    Args:
        cell: `(4, 3)`, the corners of the cell.
        field: `(M, 4, 3)`, the outlines of its receptive field, where that is shown.
    """
    theme = scene.theme
    feed = mix(theme.hue("convolution"), theme.highlight, 0.15)
    paths = [np.concatenate([m, m[:1]]) for m in (field if field is not None else ())]
    colours: list[RGB] = [theme.muted] * len(paths)
    direct = [np.concatenate([m, m[:1]]) for m in feeding.marks] + list(feeding.lines)
    paths += direct
    colours += [feed] * len(direct)
    paths.append(np.concatenate([cell, cell[:1]]))
    colours.append(theme.highlight)
    return line_arrays(polylines(paths, colours, [np.zeros(len(p)) for p in paths]))
