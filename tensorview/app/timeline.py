"""Playing a recording on the page: which step is shown, and following a run that grows."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..runs import CONTENTS
from .curves import curves, said
from .recorded import RecordedSession
from .validators import Validator, boolean, choice, integer

if TYPE_CHECKING:
    from .explorer import Explorer

POLL_SECONDS = 0.5
DRAWN_SECONDS = 1.0
FRAME_SECONDS = 1 / 30
SPEEDS = (1, 2, 5, 10, 25, 50)
STATE: dict[str, Validator] = {
    "run_index": integer(0, 10**9),
    "run_speed": choice(*SPEEDS),
    "run_content": choice(*CONTENTS),
}
TRIGGERS: dict[str, tuple[Validator, ...]] = {
    "timeline_play": (boolean,),
    "timeline_live": (boolean,),
    "timeline_drawn": (),
}


class Timeline:
    """The steps of a recorded session on an explorer's page.

    Only the newest step that is wanted is loaded, in the worker's thread, and the next one only when the page has drawn
    it: what cannot be shown in time is left out, and neither the page nor the training falls behind.
    """

    def __init__(self, explorer: Explorer, session: RecordedSession) -> None:
        self._explorer, self._session, self._recording = explorer, session, session.recording
        self._steps = session.recording.steps
        self._wanted = self._taken = self._shown = session.step
        self._drawn = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pumping = False
        self._playing = 0  # counts starts and stops, so that an older start knows it is over
        self._is_playing = False
        self._growing = session.recording.growing
        self._live = self._growing
        state = explorer.state
        state.update({"run_speed": 5, "run_content": session.content, "run_contents": list(session.recording.content)})
        state.update({"curves": [], "run_notes": [], "panel": "run"})
        self._describe()
        for name, validators in TRIGGERS.items():
            explorer.ctrl.trigger(name)(getattr(self, name))
            explorer.policy.trigger(name, *validators)
        explorer.policy.state.update(STATE)
        state.change("run_index")(self._index_changed)
        state.change("run_speed")(self._speed_changed)
        state.change("run_content")(self._content_changed)
        explorer.ctrl.on_server_ready.add(lambda **_: self._start(self._follow()))

    # What a person does --------------------------------------------------------------------------------------------

    def timeline_play(self, play: bool) -> None:
        """Play on from the step that is shown, from the start when that is the last; or pause."""
        self._stop()
        if play and len(self._steps) > 1:
            self._is_playing, self._live = True, False
            begin = self._index(self._wanted)
            self._start(self._play(0 if begin == len(self._steps) - 1 else begin, self._playing))
        self._describe()

    def timeline_live(self, live: bool) -> None:
        """Follow the newest step, or stay."""
        self._stop()
        self._live = live
        if live:
            self._want(self._steps[-1])
        self._describe()

    def timeline_drawn(self) -> None:
        """A page has drawn what it was sent last."""
        self._drawn.set()

    def _index_changed(self, run_index: int, **_: Any) -> None:
        step = self._steps[min(run_index, len(self._steps) - 1)]
        if step == self._wanted:
            return  # this is where playing or following has put it
        self._stop()
        self._live = self._growing and step == self._steps[-1]
        self._want(step)
        self._describe()

    def _speed_changed(self, **_: Any) -> None:
        if self._is_playing:
            self.timeline_play(True)

    def _content_changed(self, run_content: str, **_: Any) -> None:
        if run_content in self._recording.content and run_content != self._session.content:
            self._session.content = run_content
            self._shown = -1
            self._want(self._wanted)

    # Steps ---------------------------------------------------------------------------------------------------------

    def _index(self, step: int) -> int:
        """The place of a step among those that there are, of the next one where it is gone."""
        return min(bisect.bisect_left(self._steps, step), len(self._steps) - 1)

    def _want(self, step: int) -> None:
        self._wanted = step
        if not self._pumping and step != self._shown:
            self._pumping = True
            self._start(self._pump())

    async def _pump(self) -> None:
        """Show what is wanted until that is shown."""
        try:
            while self._wanted != self._shown:
                serial = self._explorer.serial
                self._drawn.clear()
                await self._explorer.show(self._take, ack=True)
                if self._shown < 0:  # another content, which may have another look
                    self._explorer.state.encoding = self._session.scene.look.encoding
                self._shown = self._taken
                self._describe()
                self._explorer.state.flush()
                if serial == self._explorer.serial:  # else the whole scene was sent
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(self._drawn.wait(), DRAWN_SECONDS)
        finally:
            self._pumping = False

    def _take(self) -> int:
        """The step that is wanted when its turn has come."""
        self._taken = self._wanted
        return self._taken

    async def _play(self, begin: int, turn: int) -> None:
        started, speed = monotonic(), int(self._explorer.state.run_speed)
        while turn == self._playing:
            index = begin + int((monotonic() - started) * speed)
            self._want(self._steps[min(index, len(self._steps) - 1)])
            if index >= len(self._steps) - 1:
                self._stop()
                self._live = self._growing
            self._describe()
            self._explorer.state.flush()
            await asyncio.sleep(max(FRAME_SECONDS, 1 / speed))

    def _stop(self) -> None:
        self._playing += 1
        self._is_playing = False

    # Following -----------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Look for what is new, again and again."""
        first = True
        while True:
            changed, growing, drawn = await self._explorer.in_worker(partial(self._poll, first))
            if changed or growing != self._growing:
                self._steps, self._growing = self._recording.steps or self._steps, growing
                if drawn is not None:
                    self._explorer.state.curves = drawn
                if self._live:
                    self._want(self._steps[-1])
                    self._live = growing
                self._describe()
                self._explorer.state.flush()
            first = False
            await asyncio.sleep(POLL_SECONDS)

    def _poll(self, first: bool) -> tuple[bool, bool, list[dict[str, Any]] | None]:
        """Whether there is anything new, whether more is to come, and the curves. In the worker's thread."""
        changed = self._recording.refresh() or first
        growing = self._recording.growing
        steps = self._recording.steps or self._steps
        return changed, growing, curves(self._recording.metrics, steps[-1]) if changed else None

    # What the page says --------------------------------------------------------------------------------------------

    def _describe(self) -> None:
        state, steps = self._explorer.state, self._steps
        state.run_index = self._index(self._wanted)
        now = self._recording.metrics.at(self._shown)
        state.timeline = {
            "count": len(steps),
            "step": self._shown,
            "text": f"{self._shown:,}",
            "last": f"{steps[-1]:,}",
            "live": self._live,
            "playing": self._is_playing,
            "growing": self._growing,
            "metrics": [{"name": name, "text": said(value)} for name, value in now.items()],
            "bytes": f"{self._recording.nbytes(self._shown) / 1000:,.0f} kB",
        }
        state.run_notes = list(self._session.scene.trace.warnings)

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
