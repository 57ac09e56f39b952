"""The bar under the stage that plays a recording, and the panel's tab about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trame.widgets import html
from trame.widgets import vuetify3 as v3
from trame_client.widgets.core import AbstractElement

from .curves import HEIGHT, WIDTH
from .recorded import RecordedSession
from .timeline import SPEEDS

HERE = f"{WIDTH} * timeline.step / curve.last"


class Svg(AbstractElement):
    """An element of SVG."""

    def __init__(self, tag: str, *attributes: str, **kwargs: Any) -> None:
        super().__init__(tag, raw_attrs=list(attributes), **kwargs)


def build_playbar() -> None:
    """Play, the slider over the steps with the loss behind it, what the step said, speed and live."""
    with html.Footer(classes="tv-timeline", raw_attrs=['data-testid="timeline"', 'aria-label="Timeline"']):
        v3.VBtn(
            icon=("timeline.playing ? 'mdi-pause' : 'mdi-play'",),
            variant="tonal",
            color="primary",
            density="comfortable",
            click="trigger('timeline_play', [!timeline.playing])",
            raw_attrs=['data-testid="timeline-play"', ":aria-label=\"timeline.playing ? 'Pause' : 'Play'\""],
        )
        with html.Div(classes="tv-timeline__track"):
            _behind()
            v3.VSlider(
                v_model=("run_index",),
                min=0,
                max=("Math.max(1, timeline.count - 1)",),
                step=1,
                disabled=("timeline.count < 2",),
                hide_details=True,
                color="primary",
                track_size=3,
                thumb_size=16,
                raw_attrs=['data-testid="timeline-slider"', 'aria-label="Recorded step"'],
            )
        with html.Div(classes="tv-timeline__said"):
            with html.Span(classes="tv-timeline__step"):
                html.Span("Step\u00a0")
                html.Strong(
                    "{{ timeline.text }}", raw_attrs=['data-testid="timeline-step"', ':data-step="timeline.step"']
                )
                html.Span("\u00a0of {{ timeline.last }}")
            with html.Span(classes="tv-timeline__metrics"):
                with html.Span(
                    v_for="metric in timeline.metrics.slice(0, 3)",
                    key="metric.name",
                    raw_attrs=[':data-testid="`timeline-${metric.name}`"'],
                ):
                    html.Span("{{ metric.name }}\u00a0")
                    html.B("{{ metric.text }}")
        _speed()
        with v3.VBtn(
            variant=("timeline.live ? 'tonal' : 'text'",),
            size="small",
            click="trigger('timeline_live', [!timeline.live])",
            raw_attrs=[
                'data-testid="timeline-live"',
                ":aria-pressed=\"timeline.live ? 'true' : 'false'\"",
                ":title=\"timeline.growing ? 'Follow the newest step' : 'Nothing is being recorded'\"",
            ],
        ):
            html.Span(
                classes="tv-live",
                raw_attrs=[":class=\"{ 'tv-live--on': timeline.growing, 'tv-live--followed': timeline.live }\""],
            )
            html.Span("Live")


def _behind() -> None:
    with Svg(
        "svg",
        'class="tv-timeline__curve"',
        f'viewBox="0 -2 {WIDTH} {HEIGHT + 4}"',
        'preserveAspectRatio="none"',
        'aria-hidden="true"',
        v_if="curves.length",
    ):
        Svg("polyline", ":points=\"(curves.find((c) => c.name === 'loss') || curves[0]).points\"")


def _speed() -> None:
    v3.VSelect(
        v_model=("run_speed",),
        items=("run_speeds", [{"title": f"{speed} steps/s", "value": speed} for speed in SPEEDS]),
        density="compact",
        variant="plain",
        hide_details=True,
        classes="tv-timeline__speed",
        raw_attrs=['data-testid="timeline-speed"', 'aria-label="Speed"'],
    )


def build_run_page(session: RecordedSession, build_prediction: Callable[[], None]) -> None:
    """What is shown of each step, its picture, the metrics as curves, and what there is to know of the run."""
    if len(session.recording.content) > 1:
        with v3.VBtnToggle(
            v_model=("run_content",),
            mandatory=True,
            density="compact",
            variant="outlined",
            divided=True,
            classes="tv-contents",
            raw_attrs=['data-testid="run-content"', 'aria-label="What is shown"'],
        ):
            for content in session.recording.content:
                v3.VBtn(content, value=content, size="small", raw_attrs=[f'data-testid="content-{content}"'])
    with html.Section(
        v_for="curve in curves",
        key="curve.name",
        classes="tv-curve",
        raw_attrs=[':data-testid="`curve-${curve.name}`"'],
    ):
        with html.Div(classes="tv-curve__head"):
            html.Span("{{ curve.name }}")
            html.B("{{ (timeline.metrics.find((m) => m.name === curve.name) || { text: '–' }).text }}")
        with Svg(
            "svg",
            f'viewBox="0 -2 {WIDTH} {HEIGHT + 4}"',
            'preserveAspectRatio="none"',
            'role="img"',
            ':aria-label="`${curve.name} over the steps`"',
        ):
            Svg("line", f':x1="{HERE}"', f':x2="{HERE}"', 'y1="-2"', f'y2="{HEIGHT + 2}"')
            Svg("polyline", ':points="curve.points"')
        with html.Div(classes="tv-curve__ends"):
            html.Span("{{ curve.low }} to {{ curve.high }}")
            html.Span("{{ curve.note }}", v_if="curve.note", classes="tv-wrong")
            html.Span("step {{ curve.last.toLocaleString('en') }}")
    with html.Div(classes="tv-row tv-probe"):
        html.Img(
            v_if="preview",
            classes="tv-preview",
            raw_attrs=[':src="preview"', 'data-testid="preview"', 'alt="The probe"'],
        )
        build_prediction()
    html.P("The run has said no metrics.", v_if="!curves.length", classes="tv-soft")
    with html.Dl(classes="tv-facts", raw_attrs=['data-testid="run-facts"']):
        for name, text in (
            ("run", str(session.recording.path)),
            ("recorded steps", "{{ timeline.count.toLocaleString('en') }}"),
            ("this step", "{{ timeline.bytes }}"),
            ("state", "{{ timeline.growing ? 'being recorded' : 'finished' }}"),
        ):
            with html.Div():
                html.Dt(name)
                html.Dd(text)
    with html.Ul(v_if="run_notes.length", classes="tv-notes", raw_attrs=['data-testid="run-notes"']):
        html.Li("{{ note }}", v_for="(note, i) in run_notes", key="i")
