"""What of a network is shown, told from its structure alone, and which values that takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from ..errors import SceneError
from .arrange import as_maps
from .colouring import Aggregate
from .groups import Grouping, find
from .look import Look

if TYPE_CHECKING:
    from ..capture import Layer, Trace

Need = Literal["exact", "mean", "max"]


def resolved(
    look: Look, open: str | Iterable[str] | None, layers: Sequence[Layer], modules: Grouping, **choices: object
) -> Look:
    """The look with what is open and expanded: a layer that is open is never hidden in a closed module.

    Raises:
        SceneError: a layer to open, an input to hide or a choice does not exist, or every input is hidden.
    """
    inside: frozenset[str] = frozenset()
    if open is not None:
        choices["open"], inside = find(open, layers, modules)
    look = look.changed(**choices)
    _check_hidden(look.hidden, [layer.name for layer in layers if layer.kind == "input"])
    known = {layer.name for layer in layers}
    expanded = modules.first_view() if look.expanded is None else look.expanded
    expanded = (expanded | inside) & frozenset(modules.names)
    for name in (look.open & known) | inside if open is not None else ():
        expanded |= modules.around(name)
    return look.changed(expanded=expanded)


def _check_hidden(hidden: frozenset[str], inputs: Sequence[str]) -> None:
    for name in sorted(hidden.difference(inputs)):
        raise SceneError(f"there is no input {name!r} to hide; the inputs are {', '.join(inputs) or 'none'}")
    if hidden and hidden.issuperset(inputs):
        raise SceneError(f"every input is hidden ({', '.join(inputs)}); leave one to be seen")


def needed(
    trace: Trace, look: Look, open: str | Iterable[str] | None = None, whole: Iterable[str] = ()
) -> dict[str, Need]:
    """The layers whose values a scene of this trace shows, by name.

    Of a closed box the mean or the maximum of the maps is enough ("mean", "max"), of all else it takes every value
    ("exact"), as of vectors that the network returns. The values of the trace itself are not looked at.

    Args:
        whole: names of layers and of closed modules of which every value is looked at.

    Raises:
        SceneError: as `Scene` does.
    """
    layers = (*trace.inputs, *trace.layers)
    modules = Grouping(layers, trace.outputs)
    look = resolved(look, open, layers, modules)
    exact = set(whole)
    needs: dict[str, Need] = {}
    for node in modules.nodes(look.expanded or frozenset()):
        layer = layers[node.output]
        needs[layer.name] = "exact" if node.name in exact else _need(layer, node.name in look.open, look.aggregate)
    for layer in layers:
        if layer.name in exact or (layer.name in trace.outputs and len(layer.shape) == 1):
            needs[layer.name] = "exact"
    return needs


def _need(layer: Layer, is_open: bool, aggregate: Aggregate) -> Need:
    maps = as_maps(layer.shape, layer.kind)
    closed = not is_open and layer.kind != "input"
    return aggregate if closed and maps.count > 1 and maps.style in ("maps", "volume") else "exact"
