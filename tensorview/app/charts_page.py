"""The curves of a run's metrics in the panel."""

from __future__ import annotations

from typing import Any

from trame.widgets import html
from trame.widgets import vuetify3 as v3
from trame_client.widgets.core import AbstractElement

from .curves import HEIGHT, WIDTH
from .downloads import SAVED

# Where the step that is shown stands in a chart over steps.
HERE = f"{WIDTH} * (timeline.step - chart.first) / (chart.last - chart.first)"
SAVE = f"trigger('curves_saved'){SAVED}"


class Svg(AbstractElement):
    """An element of SVG."""

    def __init__(self, tag: str, *attributes: str, **kwargs: Any) -> None:
        super().__init__(tag, raw_attrs=list(attributes), **kwargs)


def build_charts(only: str = "curves") -> None:
    """A chart for each metric, with what may be done with them.

    Args:
        only: a template expression of the charts to show.
    """
    with html.Div(v_if="curves.length", classes="tv-row tv-charts__tools"):
        with v3.VBtnToggle(
            v_model=("curves_over",),
            mandatory=True,
            density="compact",
            variant="outlined",
            divided=True,
            raw_attrs=['aria-label="Curves over"', 'data-testid="curves-over"'],
        ):
            v3.VBtn("Steps", value="steps", size="small", raw_attrs=['data-testid="over-steps"'])
            v3.VBtn("Epochs", value="epochs", size="small", raw_attrs=['data-testid="over-epochs"'])
        v3.VBtn(
            "{{ curves_since ? 'From the start' : 'Clear' }}",
            size="small",
            variant="text",
            click="trigger('curves_cleared', [!curves_since])",
            raw_attrs=['data-testid="curves-clear"', 'title="Let the curves begin here; nothing is lost"'],
        )
        v3.VBtn("CSV", size="small", variant="text", click=SAVE, raw_attrs=['data-testid="curves-save"'])
    with html.Section(
        v_for=f"chart in {only}",
        key="chart.name",
        classes="tv-curve",
        raw_attrs=[':data-testid="`curve-${chart.name}`"'],
    ):
        _head()
        with Svg(
            "svg",
            f'viewBox="0 -2 {WIDTH} {HEIGHT + 4}"',
            'preserveAspectRatio="none"',
            'role="img"',
            ':aria-label="`${chart.name} over the ${curves_over}`"',
        ):
            Svg(
                "line",
                f':x1="{HERE}"',
                f':x2="{HERE}"',
                'y1="-2"',
                f'y2="{HEIGHT + 2}"',
                v_if="curves_over === 'steps' && timeline.step >= chart.first",
            )
            Svg(
                "polyline",
                ':points="curve.points"',
                ":class=\"{ 'tv-curve--held-out': curve.held_out }\"",
                v_for="curve in chart.curves",
                key="curve.name",
            )
        with html.Div(classes="tv-curve__ends"):
            html.Span("{{ chart.low }} to {{ chart.high }}")
            html.Span("{{ curves_over === 'epochs' ? 'epoch' : 'step' }} {{ chart.last.toLocaleString('en') }}")
        html.Div("{{ chart.note }}", v_if="chart.note", classes="tv-wrong")
    html.P("No metrics have been recorded yet.", v_if="!curves.length", classes="tv-soft")


def _head() -> None:
    """The metric's name, and the value of each curve at the step that is shown."""
    with html.Div(classes="tv-curve__head"):
        html.Span("{{ chart.name }}")
        with html.Span(
            v_for="curve in chart.curves",
            key="curve.name",
            classes="tv-curve__value",
            raw_attrs=[":class=\"{ 'tv-curve--held-out': curve.held_out }\""],
        ):
            html.Small(
                "{{ curve.held_out ? 'held-out' : 'training' }}\u00a0",
                v_if="chart.curves.length > 1",
            )
            html.B("{{ (timeline.metrics.find((m) => m.name === curve.name) || { text: '–' }).text }}")
