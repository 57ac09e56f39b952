"""A page from its start to its end, without a browser."""

from __future__ import annotations

import gc
import weakref

from trame_vtk.modules.vtk.serializers import cache

from tensorview.app import explore


def test_vtk_calls_no_python_when_it_is_deleted() -> None:
    """In a garbage collection such a call may find an emptied function, and end the process."""
    with explore("lenet5", browser=False, port=0) as viewer:
        stage = viewer._explorer._stage
        drawn = [part.actor for part in (*stage.surfaces.values(), *stage.lines.values())]
        everything = [stage.window, stage.renderer, *drawn, *(actor.GetMapper() for actor in drawn)]
        assert cache.PROP_CACHE, "the stage has been described for browsers that may come"
        assert [each.GetClassName() for each in everything if each.HasObserver("DeleteEvent")] == []
    assert not cache.PROP_CACHE, "trame-vtk knows objects by their address, which the next page may use again"


def test_pages_that_have_ended_are_collected() -> None:
    alive = []
    for _ in range(4):
        with explore("lenet5", browser=False, port=0) as viewer:
            alive.append(weakref.ref(viewer.session))
        del viewer
    gc.collect()
    assert sum(each() is not None for each in alive) <= 1, "trame keeps the newest"
