"""The scene: where everything stands and what colour it has, as plain arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SceneError
from .atlas import pack
from .camera import WHOLE, Camera, Ray, fit_camera
from .colouring import Colouring, Run, check_drawable, overflowed, reduced_values, shown_values, store
from .feeding import Feeding, feeding, field_marks
from .fields import Cells, Fields, Region
from .groups import KIND, Grouping, shown_layers
from .labels import Label, text_page
from .layout import MOST_CUBES, arrange_layers, longest_edge, page_sizes
from .lettering import MANY, layer_labels, tallest_line, text_corners
from .links import link_lines
from .look import Look
from .mesh import Lines, Surface, boxes, wireframes
from .needs import resolved
from .pages import Page, Patch
from .palette import CHANNEL_HUES, RGB, lookup_table, mix, theme_named
from .picking import Hit, Window, meet_boxes, outline, pick
from .placement import Placement
from .rail_names import are_too_large, rail_labels
from .rails import rail_boxes, rail_lines, rails
from .shares import Shares
from .slabs import slabs_of

if TYPE_CHECKING:
    from ..capture import Layer, Trace

FRAMED = ("box", "strip", "slab", "sheet")
MOST_CLASS_LAYERS = 8


class Scene:
    """A trace, laid out and coloured.

    Args:
        trace: what a forward pass did.
        open: layers to open, by name; `"*"` opens all.
        look: every other choice; keywords (`theme=`, `encoding=`, ...) replace single fields of it, see `Look`.
        camera: the view; by default one that has everything in frame.
        aspect: width over height that the default camera fits.

    Attributes:
        all_layers: the trace's inputs and layers, in execution order.
        modules: which of them lie in which module.
        layers: what stands in the scene, in order: layers, and closed modules as layers of kind "module"; no hidden
            inputs.
        nodes: which of all the layers each of them stands for.
        placements: one a layer.
        slabs: structured array of `mesh.SLAB`, the layers in order.
        pages: "cells" (RGBA), "names" and "shares" (coverage of text).
        cells, names, shares: the textured quads that show the pages.
        frames, links, brackets: lines; the brackets stand under expanded modules.
        rails: where the brackets are, and of which modules.
        labels: a name for every layer and, where there is room, its shape; empty where `look.labels` is off.
        bracket_labels: names of the modules at their brackets; those for which there is no room are left out.

    Raises:
        SceneError: a layer to open, an input to hide or a choice does not exist, every input is hidden, or nothing in
            the trace can be drawn.
    """

    def __init__(
        self,
        trace: Trace,
        open: str | Iterable[str] | None = None,
        *,
        look: Look | None = None,
        camera: Camera | None = None,
        aspect: float = 16 / 9,
        **choices: object,
    ) -> None:
        self.trace = trace
        self.all_layers: tuple[Layer, ...] = (*trace.inputs, *trace.layers)
        if not self.all_layers:
            raise SceneError("there is nothing to draw: the trace has no layer that returned a tensor")
        self.modules = Grouping(self.all_layers, trace.outputs)
        self.look = resolved(look or Look(), open, self.all_layers, self.modules, **choices)
        self.theme = theme_named(self.look.theme)
        self._choose_layers()
        check_drawable(self.layers)
        self._fields = Fields(self.all_layers)
        self._lay_out()
        self._draw_pages()
        self.camera = camera or self.first_camera(aspect)
        self._show()

    def __repr__(self) -> str:
        height, width = self.pages[0].shape
        boxes_ = f"{len(self.all_layers)} layers in {len(self.layers)} boxes, {len(self.look.open)} open"
        return f"Scene({boxes_}, {len(self.slabs)} slabs, page {height} x {width})"

    # Building ------------------------------------------------------------------------------------------------------

    def _choose_layers(self) -> None:
        """Decide what stands in the scene: layers, and closed modules."""
        nodes = self.modules.nodes(self.look.expanded or frozenset())
        # The parents of what is fed by a hidden input stay as they are: a concatenation counts the maps of each.
        layers = shown_layers(self.all_layers, nodes)
        drawn = [i for i, node in enumerate(nodes) if node.name not in self.look.hidden]
        self.nodes = [nodes[i] for i in drawn]
        self.layers = tuple(layers[i] for i in drawn)
        self._index = {layer.name: i for i, layer in enumerate(self.layers)}
        # A layer that is shown as it is comes from each trace; others keep all but their values.
        self._kept = [
            None if shown is self.all_layers[node.start] else shown
            for node, shown in zip(self.nodes, self.layers, strict=True)
        ]

    def _lay_out(self) -> None:
        look, theme = self.look, self.theme
        spans = self._spans = self.modules.spans(look.expanded or frozenset(), self.nodes)
        self.placements, unit = arrange_layers(
            self.layers,
            look.open,
            self._class_layers(),
            look.arrangement,
            look.budget,
            spans,
            true_colours=look.encoding == "kind",
            sort=look.sort,
            most_maps=look.most_maps,
        )
        self.edge = longest_edge([p.maps for p in self.placements])
        edges = [
            (self._index[parent], i)
            for i, layer in enumerate(self.layers)
            for parent in layer.parents
            if parent in self._index
        ]
        self.links = link_lines(self.placements, edges, self.edge, theme.link, mix(theme.link, theme.text, 0.35))
        self.rails = rails(self.placements, spans, unit, self.edge)
        self.brackets = rail_lines(self.rails, theme.hue(KIND))
        self.frames = _frames(self.placements, [theme.hue(p.kind) for p in self.placements])

    def _around(self) -> list[str]:
        """For every layer the innermost expanded module around it, empty for none."""
        around = [""] * len(self.placements)
        for span in sorted(self._spans, key=lambda span: span.depth):
            around[span.first : span.last + 1] = [span.name.partition("#")[0]] * (span.last + 1 - span.first)
        return around

    def _class_layers(self) -> frozenset[str]:
        """Outputs that are shown as classes: vectors as long as the class names, or without names any short vector."""
        names = self.look.class_names
        shows = {self.all_layers[node.output].name: i for i, node in enumerate(self.nodes)}
        outputs = [self.layers[shows[name]] for name in self.trace.outputs if name in shows]
        fitting = [
            layer.name
            for layer in outputs
            if len(layer.shape) == 1 and (layer.shape[0] == len(names) if names else layer.shape[0] <= MOST_CUBES)
        ]
        return frozenset(fitting[:MOST_CLASS_LAYERS])

    def _draw_pages(self) -> None:
        kinds = sorted({p.kind for p in self.placements})
        places, height, width = pack(page_sizes(self.placements))
        swatch_row, swatch_column = places.pop()
        page = np.zeros((height, width, 4), dtype=np.uint8)
        for k, kind in enumerate(kinds):
            page[swatch_row, swatch_column + k] = self._side_colour(kind)
        which = [kinds.index(p.kind) for p in self.placements]
        hues = [*kinds, *CHANNEL_HUES]
        tables = np.stack([self._tables(kind) for kind in hues])
        channels = tuple(hues.index(name) for name in CHANNEL_HUES)
        tables_of = [
            tuple(channels[c] for c in p.order or range(3)) if p.true_colours and p.look == "slabs" else (k,)
            for p, k in zip(self.placements, which, strict=True)
        ]
        self._colouring = Colouring(self.placements, places, page, tables, tables_of, self.look.scaling)
        sides = [(swatch_row, swatch_column + k) for k in which]
        self.slabs = slabs_of(self.placements, places, sides, page.shape)
        self.cells: Surface = boxes(self.slabs)
        cubes = [p for p in self.placements if p.look == "cubes"]
        tallest = tallest_line(cubes, fit_camera(self._solid_corners()))
        self._shares = Shares(cubes, self.look.class_names, tallest)
        self.shares: Surface = self._shares.surface
        self.labels, self.bracket_labels = self._names() if self.look.labels else ([], [])
        names = text_page(sorted([*self.labels, *self.bracket_labels], key=lambda label: label.layer))
        self.names: Surface = names.surface
        self.pages = (
            Page("cells", page, smooth=False),
            Page("names", names.coverage, smooth=True),
            self._shares.page,
        )

    def _names(self) -> tuple[list[Label], list[Label]]:
        """The names and shapes of layers, and the names of brackets.

        Twice if they are few, for a view that has them in frame as well; and so that those of brackets are not much
        larger than those of layers, whose size shows in the end.
        """
        shares = self._shares.texts
        shapes, around = [layer.shape for layer in self.layers], self._around()
        solid = np.concatenate([self._solid_corners(), self.shares.points])
        labels: list[Label] = []
        corners, letters = solid, None
        for _ in range(2):
            camera = fit_camera(corners)
            brackets = rail_labels(self.rails, self.placements, camera, letters, shares)
            others = [*((label, label.text) for label in brackets), *shares]
            labels = layer_labels(self.placements, shapes, camera, others, around)
            corners = np.concatenate([solid, text_corners([*labels, *brackets])])
            letters = max((label.height for label in labels if label.bold), default=None)
            if len(labels) > 2 * MANY:
                break
        if are_too_large(brackets, letters):
            others = [*((label, label.text) for label in labels), *shares]
            brackets = rail_labels(self.rails, self.placements, camera, letters, others)
        return labels, brackets

    def _side_colour(self, kind: str) -> tuple[int, int, int, int]:
        return (*mix(self.theme.hue(kind), self.theme.background, 0.45), 165 if self.theme.dark else 130)

    def _tables(self, kind: str) -> np.ndarray:
        """`(2, ROW, 4)` uint8: the look-up table of fronts, and a darker one for the sides of cubes."""
        front = lookup_table(self.look.encoding, kind, self.theme)
        side = front.copy()
        side[:, :3] = front[:, :3] * (0.62 if self.theme.dark else 0.8)
        return np.stack([front, side])

    # Values --------------------------------------------------------------------------------------------------------

    def update(self, trace: Trace) -> list[Patch]:
        """Show another pass through the same network: only pixels change.

        Args:
            trace: of the same model and the same shapes as the one that the scene was built from.

        Returns:
            The rectangles of the pages that changed, views of the pages' own arrays.

        Raises:
            SceneError: the layers are others, so that a new scene is needed, or their values have no colour.
        """
        difference = self.trace.difference(trace)
        if difference:
            raise SceneError(f"{difference}: build a new scene for it")
        layers = (*trace.inputs, *trace.layers)
        shown = tuple(
            layers[node.start] if kept is None else kept.with_values_of(layers[node.output])
            for node, kept in zip(self.nodes, self._kept, strict=True)
        )
        check_drawable(shown)
        self.trace, self.all_layers, self.layers = trace, layers, shown
        return self._show()

    def _show(self) -> list[Patch]:
        patches: list[Patch] = [self.pages[0].whole()]
        with np.errstate(over="ignore", invalid="ignore"):  # once: it costs as much as a small layer
            for run in self._colouring.runs:
                patches += self._fill(run)
            self._widen()
        self._colouring.paint(self.look.encoding, self.look.value_range if self.look.scaling == "fixed" else None)
        return patches

    def _fill(self, run: Run) -> list[Patch]:
        """Write what a layer shows into the buffer; the texts that changed."""
        layer = self.layers[run.item.layer]
        values, target = layer.values, self._colouring.buffer[run.start : run.stop]
        if values is None:
            reduced = (layer.reduced or {}).get(self.look.aggregate)
            if reduced is not None and run.item.look == "box" and not run.item.true_colours:
                store(reduced_values(run.item, reduced, self.look.aggregate), target)
                return []
            target[:] = 0
            return self._shares.clear(run.item) if run.item.look == "cubes" else []
        if run.item.look == "cubes":
            shown, changed = self._shares.show(run.item, values)
            store(shown, target)
            return changed
        store(shown_values(run.item, values, self.look.aggregate), target)
        return []

    def _widen(self) -> None:
        """Sum again in float64 what was beyond float32."""
        buffer = self._colouring.buffer
        if np.isfinite(buffer).all():
            return
        for run in self._colouring.runs:
            values, target = self.layers[run.item.layer].values, buffer[run.start : run.stop]
            if values is not None and overflowed(run.item, values, target):
                store(shown_values(run.item, values.astype(float), self.look.aggregate), target)

    def page(self, name: str) -> Page:
        """The page "cells", "names" or "shares"."""
        return next(p for p in self.pages if p.name == name)

    # Seeing --------------------------------------------------------------------------------------------------------

    def corners(self) -> np.ndarray:
        """`(N, 3)` float64: the corners of everything that a view must have in frame."""
        return np.concatenate([self._solid_corners(), self.names.points, self.shares.points])

    def _solid_corners(self) -> np.ndarray:
        """`(N, 3)` float64: the corners of boxes, links and brackets."""
        boxes_ = np.concatenate([p.bounds for p in self.placements])
        low, high = boxes_[::2], boxes_[1::2]
        solid = [np.where(np.array([x, y, z], bool), high, low) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
        return np.concatenate([*solid, self.links.points, self.brackets.points]).astype(float)

    def first_camera(self, aspect: float = 16 / 9, inside: tuple[float, float, float, float] = WHOLE) -> Camera:
        """The view that faces the maps and has the whole network in frame.

        Args:
            aspect: width over height of the picture.
            inside: see `fit_camera`.
        """
        return fit_camera(self.corners(), aspect, inside=inside)

    def pick(self, ray: Ray) -> Hit | None:
        """The nearest cell that the ray meets, `None` where it meets none."""
        return pick(ray, self.placements, self.slabs, [layer.shape for layer in self.layers], self._shares.units)

    def pick_module(self, ray: Ray) -> str | None:
        """The expanded module whose bracket the ray meets, `None` where it meets none or a cell before it."""
        distance = meet_boxes(ray, *rail_boxes(self.rails))
        nearest = int(distance.argmin()) if len(distance) else -1
        if nearest < 0 or not np.isfinite(distance[nearest]):
            return None
        hit = self.pick(ray)
        return None if hit is not None and hit.distance < distance[nearest] else self.rails[nearest].name

    def value(self, hit: Hit) -> float | None:
        """The exact value of a picked cell; of a closed box what it shows there; `None` where none was captured."""
        item = self.placements[hit.placement]
        layer = self.layers[item.layer]
        if hit.index is not None:
            return None if layer.values is None else float(layer.values[hit.index])
        aggregate = self.look.aggregate
        held = layer.values if layer.reduced is None else layer.reduced.get(aggregate)
        if held is None:
            return None
        column = held.reshape(-1, item.maps.height, item.maps.width)[:, hit.row, hit.column].astype(float)
        shown = column.mean() if aggregate == "mean" else column.max()
        return float(shown if held.dtype == np.float64 else np.float32(shown))

    def outline(self, hit: Hit) -> np.ndarray:
        """`(4, 3)` float64: the corners of the picked cell."""
        item = self.placements[hit.placement]
        window = Window(hit.channel, hit.row, hit.row + 1, hit.column, hit.column + 1)
        shown = outline(item, window, self._shares.units.get(item.layer))
        return shown if shown is not None else np.repeat(np.array([item.centre]), 4, axis=0)

    def feeding(self, hit: Hit) -> Feeding:
        """What truly feeds the picked cell."""
        layers = (*self.layers, *(x for x in self.trace.inputs if x.name in self.look.hidden))
        return feeding(hit, layers, self.placements, self.outline(hit), self._shares.units)

    def receptive_field(self, hit: Hit) -> list[Region]:
        """The part of every layer shown before the picked cell that the cell sees, from the nearest to the input.

        What a closed box shows at a cell sees what that cell of any of its maps sees.
        """
        node = self.nodes[hit.placement]
        layer = self.all_layers[node.output]
        if hit.index is not None:
            cells: Cells = tuple(range(i, i + 1) for i in hit.index)
        else:
            spans = ((hit.row, hit.row + 1), (hit.column, hit.column + 1))[-(len(layer.shape) - 1) :]
            lead = [(0, n) for n in layer.shape[: len(layer.shape) - len(spans)]]
            cells = tuple(range(*span) for span in (*lead, *spans))
        found = self._fields.of(layer.name, cells)
        shows = {self.all_layers[other.output].name: other.name for other in self.nodes}
        return [replace(region, layer=shows[name]) for name, region in found.items() if name in shows]

    def field_marks(self, hit: Hit) -> np.ndarray:
        """`(M, 4, 3)` float64: the outlines of the picked cell's receptive field."""
        return field_marks(self.receptive_field(hit), self.placements, self._shares.units)

    def legend(self) -> list[tuple[str, RGB]]:
        """The kinds of layer in the scene with their hues, in the order in which they first stand."""
        return [(kind, self.theme.hue(kind)) for kind in dict.fromkeys(p.kind for p in self.placements)]

    def value_range(self, layer: str) -> tuple[float, float]:
        """The values at the two ends of a layer's colour scale; with "map" scaling the ends over all its maps."""
        if self.look.scaling == "fixed":
            return self.look.value_range
        run = next(r for r in self._colouring.runs if r.item.name == layer)
        low, high = self._colouring.value_range(run)
        return (-max(abs(low), abs(high)), max(abs(low), abs(high))) if self.look.encoding == "signed" else (low, high)


def _frames(items: Sequence[Placement], hues: Sequence[RGB]) -> Lines:
    framed = [p for p in items if p.look in FRAMED]
    return wireframes(
        np.array([p.centre for p in framed], dtype=float).reshape(-1, 3),
        np.array([p.size for p in framed], dtype=float).reshape(-1, 3) * 1.004,
        np.array([hues[p.layer] for p in framed], dtype=np.uint8).reshape(-1, 3),
        np.array([p.layer for p in framed], dtype=np.int32),
    )
