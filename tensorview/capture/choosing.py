"""The plan of the passes that keep what was asked for."""

from __future__ import annotations

from .keeping import Chooser, Keep, Wanted, is_reducible, over_budget, share_out
from .plan import Plan


def choosing(found: Plan, wanted: Wanted, choose: Chooser | None, budget: int | None) -> tuple[Plan, dict[int, Keep]]:
    """The plan `found` with the values that are asked for and within the budget, and how each node is kept.

    Args:
        choose: says which, in place of `wanted`. Inputs are always kept.
        budget: most bytes; None for no bound.
    """
    asked = _asked(found, wanted, choose)
    if budget is None:
        return found.keeping(asked), asked
    layers = found.layers
    starts = [number for number in asked if layers[number].kind == "input"]
    ends = [number for number in asked if layers[number].name in found.template.outputs]
    keeps = share_out(asked, layers, (*ends, *starts), budget)
    return found.keeping(keeps, tuple(over_budget(asked, keeps, layers, budget))), keeps


def _asked(found: Plan, wanted: Wanted, choose: Chooser | None) -> dict[int, Keep]:
    modules = {o.node: step.module for step in found.found for o in step.outputs}
    modules.update({step.maps: step.module for step in found.found})
    by_name = choose(found.template) if choose else {}
    asked: dict[int, Keep] = {}
    for number, layer in found.layers.items():
        keep = by_name.get(layer.name)
        if layer.kind == "input" or (choose is None and wanted.layer(layer.name, modules.get(number))):
            asked[number] = "exact"
        elif keep is not None:
            asked[number] = keep if is_reducible(layer) else "exact"
    return asked
