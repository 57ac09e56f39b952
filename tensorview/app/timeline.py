"""Playing a recording on the page: which step is shown, and following a run that grows."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import logging
import math
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..errors import OpenError
from ..runs import CONTENTS
from .curves import as_csv, base_name, charts, is_held_out, said
from .evaluated import evaluated
from .handover import File
from .recorded import RecordedSession
from .validators import Validator, boolean, choice, integer

if TYPE_CHECKING:
    from .explorer import Explorer

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
GROWING_POLL_SECONDS = 0.18  # a run that grows is seen to change five times a second, and leaves time to train
# While scenes come one after the other, the words change with a scene, for whose sake the page is drawn anyhow, and no
# oftener than this; what has no scene of its own waits a little longer for one.
WORDS_SECONDS, LONGEST_SECONDS = 0.5, 0.7
CHARTS_SECONDS = 0.5
NEWEST = 2**62  # later than any step
DRAWN_SECONDS = 1.0
FRAME_SECONDS = 1 / 30
SPEEDS = (1, 2, 5, 10, 25, 50)
STATE: dict[str, Validator] = {
    "run_index": integer(0, 10**9),
    "run_speed": choice(*SPEEDS),
    "run_content": choice(*CONTENTS),
    "curves_over": choice("steps", "epochs"),
}
TRIGGERS: dict[str, tuple[Validator, ...]] = {
    "timeline_play": (boolean,),
    "timeline_live": (boolean,),
    "timeline_drawn": (),
    "curves_cleared": (boolean,),
    "curves_saved": (),
}


class Timeline:
    """The steps of a recorded session on an explorer's page.

    Only the newest step that is wanted is loaded, in the worker's thread, and the next one only when the page has drawn
    it: what cannot be shown in time is left out, and neither the page nor the training falls behind.

    The recording is read in the worker's thread alone; the loop has what that has found.

    Attributes:
        newest: the newest value of every metric.
    """

    def __init__(self, explorer: Explorer, session: RecordedSession) -> None:
        self._explorer, self._session, self._recording = explorer, session, session.recording
        self._steps = session.recording.steps
        self._wanted = self._taken = self._shown = session.step
        self._stale = False  # whether what is shown was recorded anew, or another content of it is wanted
        self._drawn = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pumping = False
        self._playing = 0  # counts starts and stops, so that an older start knows it is over
        self._is_playing = False
        self._growing = session.recording.growing
        self._live = self._growing
        self._seen = self._identity()
        self._judged: int | None = None  # the step whose evaluation the page has
        self._since, self._charted = 0, -CHARTS_SECONDS
        self._uncharted = False  # whether there is anything that the charts do not show
        self._fault = ""
        self._facts = self._taken_facts = self._facts_of(self._shown)
        self.newest = self._recording.metrics.at(NEWEST)
        self._scene_at = -math.inf
        self._charts: list[dict[str, Any]] = []
        self._evaluated: dict[str, Any] | None = None
        state = explorer.state
        state.update({"run_speed": 5, "run_content": session.content, "run_contents": list(session.recording.content)})
        state.update({"curves_over": "steps", "curves_since": 0})
        state.panel = "run"
        self._describe()
        explorer.words.tellers.append(self._describe)
        for name, validators in TRIGGERS.items():
            explorer.ctrl.trigger(name)(getattr(self, name))
            explorer.policy.trigger(name, *validators)
        explorer.policy.state.update(STATE)
        state.change("run_index")(self._index_changed)
        state.change("run_speed")(self._speed_changed)
        state.change("run_content")(self._content_changed)
        state.change("curves_over")(self._chart_anew)
        explorer.ctrl.on_server_ready.add(lambda **_: self._start(self._follow()))

    @property
    def last(self) -> int:
        """The last recorded step."""
        return self._steps[-1]

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

    def curves_cleared(self, clear: bool) -> None:
        """Let the curves begin at the newest step, or at the first again. What was recorded stays."""
        self._since = self._steps[-1] if clear else 0
        self._explorer.state.curves_since = self._since
        self._chart_anew()

    def curves_saved(self) -> dict[str, str]:
        """Every metric as a CSV file."""
        name = f"{self._recording.name}.csv"
        return self._explorer.handover.offer(File(name, "text/csv", as_csv(self._recording.metrics).encode()))

    def _chart_anew(self, **_: Any) -> None:
        self._charted = -CHARTS_SECONDS

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
            self._stale = True
            self._want(self._wanted)

    # Steps ---------------------------------------------------------------------------------------------------------

    def _index(self, step: int) -> int:
        """The place of a step among those that there are, of the next one where it is gone."""
        return min(bisect.bisect_left(self._steps, step), len(self._steps) - 1)

    def _want(self, step: int) -> None:
        self._wanted = step
        if not self._pumping and (self._stale or step != self._shown):
            self._pumping = True
            self._start(self._pump())

    async def _pump(self) -> None:
        """Show what is wanted until that is shown."""
        try:
            while self._stale or self._wanted != self._shown:
                serial = self._explorer.serial
                self._drawn.clear()
                self._stale = False
                if not await self._explorer.show(self._take, ack=True, describe=self._describe_shown):
                    self._describe_shown()
                    self._explorer.state.flush()
                if serial == self._explorer.serial:  # else the whole scene was sent
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(self._drawn.wait(), DRAWN_SECONDS)
        finally:
            self._pumping = False

    def _take(self) -> int:
        """The step that is wanted when its turn has come. In the worker's thread."""
        self._taken = self._wanted
        self._taken_facts = self._facts_of(self._taken)
        return self._taken

    def _facts_of(self, step: int) -> tuple[dict[str, float], int]:
        """The metrics of a step, and the bytes of its file."""
        return foremost_first(self._recording.metrics.at(step)), self._recording.nbytes(step)

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
        while True:
            try:
                if found := await self._explorer.in_worker(self._poll):
                    self._take_in(found)
                self._fault = ""
            except Exception as error:  # what is wrong with a look at a directory may be right at the next
                if str(error) != self._fault:
                    logger.exception("A look at a run failed")
                self._fault = str(error)
            await asyncio.sleep(GROWING_POLL_SECONDS if self._growing else POLL_SECONDS)

    def _poll(self) -> dict[str, Any]:
        """What is new, by its name in `_take_in`; empty for nothing. In the worker's thread."""
        found: dict[str, Any] = {}
        if self._recording.refresh():
            found["steps"] = self._recording.steps or self._steps
            found["facts"] = self._shown, self._facts_of(self._shown)
            found["newest"] = self._recording.metrics.at(NEWEST)
            self._uncharted = True
        if (growing := self._recording.growing) != self._growing:
            found["growing"] = growing
        due = monotonic() - self._charted > CHARTS_SECONDS
        if self._charted < 0 or (due and self._uncharted) or "growing" in found:
            self._uncharted = False
            by_epoch = self._explorer.state.curves_over == "epochs"
            found["curves"] = charts(self._recording.metrics, self._steps[-1], self._since, by_epoch)
        judged = max((step for step in self._recording.evaluations if step <= self._shown), default=None)
        if judged != self._judged or self._identity() != self._seen:
            found["evaluation"] = self._evaluation(judged)
            found["judged"] = judged
        return found

    def _evaluation(self, step: int | None) -> dict[str, Any] | None:
        if step is None:
            return None
        try:
            return evaluated(self._recording.evaluation(step), self._recording.class_names, step)
        except OpenError:  # it was taken away meanwhile
            return None

    def _take_in(self, found: dict[str, Any]) -> None:
        if "curves" in found:
            self._charted, self._charts = monotonic(), found["curves"]
        if "judged" in found:
            self._judged, self._evaluated = found["judged"], found["evaluation"]
        self._steps = found.get("steps", self._steps)
        self._growing = found.get("growing", self._growing)
        self.newest = found.get("newest", self.newest)
        if "facts" in found and found["facts"][0] == self._shown:
            self._facts = found["facts"][1]
        seen = self._identity()
        if seen[0] != self._seen[0]:
            self._begin_anew()
        elif seen != self._seen:
            self._stale = True
        self._seen = seen
        if self._live:
            self._want(self._steps[-1])
            self._live = self._growing
        else:
            self._want(self._steps[self._index(self._wanted)])
        self.tell()

    def _identity(self) -> tuple[Any, int]:
        """Which run is in the directory, and which revision of its traces."""
        return self._recording.about.get("id"), self._recording.revision

    def _begin_anew(self) -> None:
        """Another run has taken the place of this one: follow it, from a view that has it in frame."""
        self._stop()
        self._since, self._explorer.state.curves_since = 0, 0
        self._live = self._stale = True
        contents = list(self._recording.content)
        if self._session.content not in contents:
            self._session.content = contents[0]
        self._explorer.state.update({"run_contents": contents, "run_content": self._session.content})
        self._explorer.go_home()

    # What the page says --------------------------------------------------------------------------------------------

    def _describe_shown(self) -> None:
        self._shown, self._facts = self._taken, self._taken_facts
        self._explorer.state.encoding = self._session.scene.look.encoding  # another content may have another
        self._explorer.words.describe(WORDS_SECONDS if self._is_streaming else 0.0, LONGEST_SECONDS)
        self._scene_at = monotonic()

    def tell(self) -> None:
        """Put into words how things stand: soon, while a run that grows is followed, and else at once."""
        self._explorer.words.tell(LONGEST_SECONDS if self._is_streaming else 0.0)

    @property
    def _is_streaming(self) -> bool:
        return self._live and self._session.is_running and monotonic() - self._scene_at < LONGEST_SECONDS

    def _describe(self) -> None:
        state, steps = self._explorer.state, self._steps
        state.curves, state.evaluation = self._charts, self._evaluated
        state.run_index = self._index(self._wanted)
        now, size = self._facts
        state.timeline = {
            "count": len(steps),
            "step": self._shown,
            "text": f"{self._shown:,}",
            "last": f"{steps[-1]:,}",
            "live": self._live,
            "playing": self._is_playing,
            "growing": self._growing,
            "metrics": [{"name": n, "label": n.replace("_", " "), "text": said(value)} for n, value in now.items()],
            "bytes": f"{size / 1000:,.0f} kB",
        }
        self._explorer.describe_notes()

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def foremost_first(metrics: dict[str, float]) -> dict[str, float]:
    """Metrics in the order in which a person asks for them: the loss, then accuracies, held-out ones first."""

    def rank(name: str) -> tuple[int, bool]:
        foremost = ("loss", "accuracy")
        base = base_name(name)
        return foremost.index(base) if base in foremost else len(foremost), is_held_out(name) == (base == "loss")

    return {name: metrics[name] for name in sorted(metrics, key=rank)}
