"""What the page says in words: the read-out of a cell, the card of a layer, the prediction."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..capture import Layer
from ..classes import Prediction
from ..scene import Hit, Scene
from ..scene.arrange import PARAMETERS
from ..scene.labels import shape_text
from ..scene.palette import LEVELS, lookup_table
from .session import Session

HYPER = (
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
    "in_channels",
    "out_channels",
    "in_features",
    "out_features",
)


def number(value: float | None) -> str:
    """A statistic, in seven significant digits."""
    return "not captured" if value is None else f"{value:.7g}"


def exact(value: float | None) -> str:
    """The shortest decimal that is read back as just this value: of a float32 up to nine digits."""
    if value is None:
        return "not captured"
    with np.errstate(over="ignore"):
        single = np.float32(value)
    return str(single if float(single) == value else np.float64(value)).removesuffix(".0")


def readout(scene: Scene, hit: Hit) -> dict[str, Any]:
    """The read-out of a cell.

    Returns:
        `text`, and the same in parts: `layer`, `channel`, `row`, `column`, `value`; a part that a cell does not have is
        an empty string.
    """
    item = scene.placements[hit.placement]
    layer = scene.layers[item.layer]
    value = exact(scene.value(hit))
    parts: dict[str, Any] = {"layer": hit.layer, "channel": "", "row": "", "column": "", "value": value}
    if hit.index is None:
        parts |= {"row": hit.row, "column": hit.column}
        where = f"{scene.look.aggregate} of {item.maps.count} maps · row {hit.row}, column {hit.column}"
    elif layer.module_type in PARAMETERS:
        parts |= {"row": hit.row, "column": hit.column} if len(layer.shape) > 1 else {}
        parts["channel"] = hit.channel if len(layer.shape) > 2 else ""
        where = f"[{', '.join(map(str, hit.index))}]"
    elif len(layer.shape) <= 1:
        unit = hit.index[0] if hit.index else 0
        parts["channel"] = unit
        names = scene.look.class_names
        where = (
            f"class {names[unit]}" if item.look == "cubes" and unit < len(names) else f"unit {unit} of {item.maps.size}"
        )
    elif item.maps.style == "tokens":
        parts |= {"row": hit.row, "column": hit.column}
        where = f"token {hit.row}, feature {hit.column}"
    else:
        parts |= {"channel": hit.channel, "row": hit.row, "column": hit.column}
        where = f"channel {hit.channel}, row {hit.row}, column {hit.column}"
    return {**parts, "text": f"{hit.layer} · {where} · {value}"}


def field_text(scene: Scene, hit: Hit) -> str:
    """What a cell sees of every input: `sees 14 × 14 of input`; empty for a cell of an input."""
    said = []
    for region in scene.receptive_field(hit):
        if any(region.layer == layer.name for layer in scene.trace.inputs):
            sides = [last - first for first, last in region.spans[-2:]]
            said.append(f"{'all' if region.is_all else shape_text(sides)} of {region.layer}")
    return f"sees {', '.join(reversed(said))}" if said else ""


def card(layer: Layer) -> dict[str, Any]:
    """All that is known of a layer: rows of a name and a value, the formula of its parameters, a histogram."""
    info, stats = layer.info, layer.stats
    rows = [("kind", layer.kind), ("output", shape_text(layer.shape)), ("type", layer.dtype)]
    rows += [(key.replace("_", " "), plain(info.hyper[key])) for key in HYPER if key in info.hyper]
    rows.append(("parameters", f"{info.parameter_count:,}"))
    counts: Sequence[int] = []
    edges: Sequence[float] = []
    if stats is not None:
        rows += [("minimum", number(stats.min)), ("maximum", number(stats.max)), ("mean", number(stats.mean))]
        rows += [("std deviation", number(stats.std)), ("zeros", share(stats.zeros, stats.size))]
        rows += [("NaN", f"{stats.nan:,}"), ("Inf", f"{stats.inf:,}")]
        counts, edges = [int(c) for c in stats.counts], [float(e) for e in stats.edges]
    most = max(counts, default=0)
    return {
        "name": layer.name,
        "module": info.text or layer.module_type,
        "rows": [{"name": name, "value": value} for name, value in rows],
        "formula": info.formula,
        "fed": ", ".join(layer.parents),
        "bars": [round(100 * c / most, 2) if most else 0 for c in counts],
        "low": number(edges[0]) if edges else "",
        "high": number(edges[-1]) if edges else "",
    }


def plain(value: Any) -> str:
    """`5 × 5` for `(5, 5)`."""
    return " × ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def share(part: int, whole: int) -> str:
    """`312 of 4,704 (6.6 %)`."""
    return f"{part:,} of {whole:,} ({100 * part / max(1, whole):.1f} %)"


def prediction(
    best: Sequence[Prediction],
    every: Sequence[Prediction],
    truth: int | None,
    names: Sequence[str],
    asks: str = "",
    drawn: bool = True,
) -> dict[str, Any]:
    """What the model says, in a sentence and as bars.

    Args:
        best: the likeliest classes, the likeliest first.
        every: the classes of the bars, in the order in which they stand.
        truth: index of the true class, where it is known.
        asks: what to say instead, where there is nothing to see in the input.
        drawn: whether the input may be the person's own drawing.
    """
    bars = [
        {"index": p.index, "name": p.name, "share": p.share, "text": f"{100 * p.share:.1f} %", "winner": p == best[0]}
        for p in every
    ]
    if asks:
        bars = [{**bar, "winner": False} for bar in bars]
        return {"text": asks, "bars": bars, "truth": "", "right": False}
    if not best:
        return {"text": "", "bars": [], "truth": "", "right": False}
    if math.isnan(best[0].share):
        bars = [{**bar, "share": 0.0, "text": "NaN", "winner": False} for bar in bars]
        return {"text": "The outputs are not numbers (NaN or Inf).", "bars": bars, "truth": "", "right": False}
    digits = all(name.isdigit() for name in names)
    said = f"{'You wrote' if digits and truth is None and drawn else 'This is'} {article(best[0].name, digits)}"
    text = f"{said} ({100 * best[0].share:.1f} %)"
    if truth is None:
        return {"text": text, "bars": bars, "truth": "", "right": False}
    right = best[0].index == truth
    verdict = (
        f"right: it is {article(names[truth], digits)}" if right else f"wrong: it is {article(names[truth], digits)}"
    )
    return {"text": text, "bars": bars, "truth": verdict, "right": right}


def asks_for_input(session: Session, names: Sequence[str]) -> str:
    """What a person can do where the input is empty."""
    if session.takes_drawings:
        what = "Draw a digit" if all(name.isdigit() for name in names) else "Draw something"
    else:
        what = "Choose a picture"
    return f"{what} to see what the network makes of it."


def article(name: str, digits: bool) -> str:
    """`a 7`, `an 8`; other classes as they are called."""
    if not digits:
        return name
    return f"{'an' if name.startswith('8') or name in ('11', '18') else 'a'} {name}"


def data_url(picture: np.ndarray | None, most: int = 256) -> str:
    """A picture of at most `most` pixels a side as a `data:` address; empty for none."""
    if picture is None:
        return ""
    image = Image.fromarray(picture)
    if max(image.size) > most:
        image.thumbnail((most, most))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def colour_bar(scene: Scene, name: str = "") -> dict[str, str]:
    """The colour bar: a CSS gradient, the values at its ends, and how they are scaled.

    Args:
        name: a layer whose hue and values it has, where layers are scaled one by one; by default it has none's.
    """
    look = scene.look
    coloured = [each for each in scene.layers if each.values is not None or each.reduced is not None]
    layer = next((each for each in coloured if each.name == name), None) if look.scaling == "layer" else None
    kind = next((p.kind for p in scene.placements if p.kind != "input"), scene.placements[0].kind)
    kind = kind if layer is None else layer.kind
    table = lookup_table(look.encoding, kind, scene.theme)[:LEVELS]
    stops = ", ".join(f"rgb({c[0]} {c[1]} {c[2]} / {c[3] / 255:.2f})" for c in table[:: LEVELS // 16])
    if look.scaling == "fixed":
        low, high = (f"{v:g}" for v in look.value_range)
    elif layer is not None:
        low, high = (f"{v:.3g}".replace("-", "−") for v in scene.value_range(name))
    else:
        low, high = ("−max", "+max") if look.encoding == "signed" else ("min", "max")
    note = {"layer": "of each layer", "map": "of each feature map", "fixed": "the same for all"}[look.scaling]
    note = note if layer is None else f"of {name}"
    return {"low": low, "high": high, "css": f"linear-gradient(90deg, {stops})", "note": note}


def css_colour(rgb: tuple[int, int, int]) -> str:
    """`#f0be28` for `(240, 190, 40)`."""
    return "#" + bytes(rgb).hex()


def layer_rows(scene: Scene) -> list[dict[str, Any]]:
    """The list of layers: every layer and every module before its parts.

    Each has its `name`, `kind`, `shape` in words, `hue`, how many modules are around it (`depth`), whether it is
    `open`, and whether it is `shown`, that is in no closed module; and of one of several inputs whether it is `hidden`,
    `None` for all else.
    """
    modules, expanded, concealed = scene.modules, scene.look.expanded or frozenset(), scene.look.hidden
    inputs = [layer.name for layer in scene.trace.inputs] if len(scene.trace.inputs) > 1 else []

    def row(name: str, kind: str, shape: str, opened: bool) -> dict[str, Any]:
        around = modules.around(name)
        hue = css_colour(scene.theme.hue(kind))
        place = {
            "depth": len(around),
            "shown": around <= expanded,
            "hidden": name in concealed if name in inputs else None,
        }
        return {"name": name, "kind": kind, "shape": shape, "hue": hue, "open": opened, **place}

    starting: dict[int, list[dict[str, Any]]] = {}
    for module in modules.modules:
        size = f"{module.stop - module.start} layers"
        starting.setdefault(module.start, []).append(row(module.name, "module", size, module.name in expanded))
    rows: list[dict[str, Any]] = []
    for i, layer in enumerate(scene.all_layers):
        rows += starting.get(i, [])
        rows.append(row(layer.name, layer.kind, shape_text(layer.shape), layer.name in scene.look.open - concealed))
    return rows
