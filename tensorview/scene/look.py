"""Every choice about a scene that does not come from the trace."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import get_args

from ..errors import SceneError
from .arrange import Arrangement, Sort
from .colouring import AGGREGATES, SCALINGS, Aggregate, Scaling
from .palette import ENCODINGS, Encoding, Theme, theme_named

BUDGET = 1_000_000


@dataclass(frozen=True)
class Look:
    """How a trace is shown.

    Attributes:
        open: names of the layers that show every feature map.
        expanded: names of the modules whose parts are shown one by one, the others being closed boxes; `None` for
            those that give about twenty boxes.
        theme: "dark" or "light", or a `Theme`.
        encoding: "kind" (hue says the kind of layer, brightness and opacity the value), "sequential" or "signed".
        scaling: "layer" (one scale a layer), "map" (one a feature map) or "fixed" (`value_range` for all).
        value_range: lowest and highest value of the "fixed" scale.
        arrangement: "grid", or "row" for all maps of a layer side by side.
        aggregate: what a closed layer shows of its maps at every cell: their "mean" or their "max".
        class_names: names of the output's classes; with them outputs are shown as probabilities.
        budget: most texels that the layers may take; larger layers are averaged for display.
        sort: in which order the maps of an open layer stand, by "index" or by mean "activation", the greatest first.
        most_maps: how many maps an open layer shows, those of greatest mean activation; 0 for all.
        labels: whether names and shapes stand under the layers.
        hidden: names of inputs that are not drawn; at least one is.
    """

    open: frozenset[str] = frozenset()
    expanded: frozenset[str] | None = None
    theme: Theme | str = "dark"
    encoding: Encoding = "kind"
    scaling: Scaling = "layer"
    value_range: tuple[float, float] = (0.0, 1.0)
    arrangement: Arrangement = "grid"
    aggregate: Aggregate = "mean"
    class_names: tuple[str, ...] = ()
    budget: int = BUDGET
    labels: bool = True
    sort: Sort = "index"
    most_maps: int = 0
    hidden: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name, allowed in _ALLOWED.items():
            value = getattr(self, name)
            if value not in allowed:
                raise SceneError(f"there is no {name} {value!r}; choose one of {', '.join(allowed)}")
        theme_named(self.theme)
        low, high = self.value_range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise SceneError(f"value_range is {low} to {high}; it needs two finite numbers, the lower one first")
        if self.most_maps < 0:
            raise SceneError(f"most_maps is {self.most_maps}; it is how many maps an open layer shows, or 0 for all")
        if self.budget < 1:
            raise SceneError(f"budget is {self.budget} texels; it needs at least 1")

    def changed(self, **choices: object) -> Look:
        """A copy with other choices.

        Raises:
            SceneError: a choice does not exist, or its value is not allowed.
        """
        known = [f.name for f in fields(self)]
        for name in choices:
            if name not in known:
                raise SceneError(f"a scene has no choice {name!r}; it has {', '.join(known)}")
        if "class_names" in choices:
            choices["class_names"] = tuple(choices["class_names"])  # type: ignore[arg-type]
        if "hidden" in choices:
            names = choices["hidden"]
            choices["hidden"] = frozenset([names] if isinstance(names, str) else names)  # type: ignore[call-overload]
        return replace(self, **choices)  # type: ignore[arg-type]


_ALLOWED: dict[str, tuple[str, ...]] = {
    "encoding": ENCODINGS,
    "scaling": SCALINGS,
    "aggregate": AGGREGATES,
    "arrangement": get_args(Arrangement),
    "sort": get_args(Sort),
}
