"""The bar under the stage that plays a recording, and the panel's tab about it."""

from __future__ import annotations

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from .charts_page import Svg, build_charts
from .curves import HEIGHT, WIDTH
from .panel import build_notes, build_prediction
from .recorded import RecordedSession
from .timeline import SPEEDS


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
                    html.Span("{{ metric.label }}\u00a0")
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
        Svg("polyline", ":points=\"(curves.find((c) => c.name === 'loss') || curves[0]).curves[0].points\"")


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


def build_contents() -> None:
    """Over the stage: which content of a step its slabs show, where a run has several."""
    with v3.VBtnToggle(
        v_if="run_contents.length > 1",
        v_model=("run_content",),
        mandatory=True,
        density="compact",
        divided=True,
        classes="tv-contents",
        raw_attrs=['data-testid="run-content"', 'aria-label="What is shown"'],
    ):
        v3.VBtn(
            "{{ content.replace('_', ' ') }}",
            v_for="content in run_contents",
            key="content",
            value=("content",),
            size="small",
            raw_attrs=[':data-testid="`content-${content}`"'],
        )


def build_run_page(session: RecordedSession) -> None:
    """What is shown of each step, its picture, the metrics as curves, and what there is to know of the run."""
    build_charts()
    with html.Div(classes="tv-row tv-probe"):
        html.Img(
            v_if="preview",
            classes="tv-preview",
            raw_attrs=[':src="preview"', 'data-testid="preview"', 'alt="The probe"'],
        )
        build_prediction()
    with html.Dl(classes="tv-facts", raw_attrs=['data-testid="run-facts"']):
        for name, text in (
            ("run", session.recording.name),
            ("recorded steps", "{{ timeline.count.toLocaleString('en') }}"),
            ("this step", "{{ timeline.bytes }}"),
            ("state", "{{ timeline.growing ? 'being recorded' : 'finished' }}"),
        ):
            with html.Div():
                html.Dt(name)
                html.Dd(text)
    build_notes("run-notes")
