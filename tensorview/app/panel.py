"""The panel beside the stage: pages under tabs, as the input and what the network says, and the list of layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trame.widgets import html
from trame.widgets import vuetify3 as v3
from trame_client.widgets.core import AbstractElement

from .rules import MAP_COUNTS, MOST_UPLOAD_BYTES
from .session import Session

ENCODING_ITEMS = [
    {"title": "hue by kind of layer", "value": "kind"},
    {"title": "sequential", "value": "sequential"},
    {"title": "signed, zero neutral", "value": "signed"},
]
SCALING_ITEMS = [
    {"title": "each layer", "value": "layer"},
    {"title": "each map", "value": "map"},
    {"title": "0 to 1", "value": "fixed"},
]
AGGREGATE_ITEMS = [{"title": "mean of the maps", "value": "mean"}, {"title": "maximum of the maps", "value": "max"}]
SORT_ITEMS = [
    {"title": "in their order", "value": "index"},
    {"title": "by mean activation", "value": "activation"},
]
MOST_MAPS_ITEMS = [
    {"title": "all maps", "value": 0},
    *(
        {"title": "the most active map" if count == 1 else f"the {count} most active maps", "value": count}
        for count in MAP_COUNTS[1:]
    ),
]
ARRANGEMENT_ITEMS = [{"title": "grid", "value": "grid"}, {"title": "row", "value": "row"}]


@dataclass(frozen=True)
class Page:
    """A page of the panel.

    Attributes:
        name: value of the state `panel` that shows it.
        title: what its tab says.
        build: builds it.
        above: builds what stands above the tabs, whatever page is shown.
        shown: template expression of whether there is a tab for it.
    """

    name: str
    title: str
    build: Callable[[], None]
    above: Callable[[], None] | None = None
    shown: str = "true"


class Pad(AbstractElement):
    """The component of `web/pad.js`, in Python."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__("tv-pad", **kwargs)
        self._attr_names += ["width", "height", "fit", "live", "hint"]


class Drop(AbstractElement):
    """The component of `web/drop.js`, in Python.

    Args:
        most: how many bytes a file may have.
    """

    def __init__(self, most: int = MOST_UPLOAD_BYTES, **kwargs: object) -> None:
        super().__init__("tv-drop", max_bytes=(str(most),), **kwargs)
        self._attr_names += [("max_bytes", "maxBytes")]


def build_panel(pages: Sequence[Page]) -> None:
    """Build the panel: a tab for each page."""
    with html.Aside(classes="tv-panel", raw_attrs=['aria-label="Controls"']):
        for page in pages:
            if page.above is not None:
                page.above()
        with v3.VTabs(v_model=("panel",), grow=True, density="compact"):
            for page in pages:
                v3.VTab(page.title, value=page.name, v_if=page.shown, raw_attrs=[f'data-testid="tab-{page.name}"'])
        for page in pages:
            with html.Div(v_show=f"panel === '{page.name}'", classes="tv-panel__page"):
                page.build()


def build_input_page(session: Session) -> None:
    """The input, a pad only where a drawing is one and samples only where there are some, and the prediction."""
    _input(session)
    build_prediction()


def build_layers_page() -> None:
    """How layers look, the list of them, and what is to be said about them."""
    _failure("failure-of-layers")
    _look()
    _layers()
    build_notes("notes")


def build_notes(test_id: str) -> None:
    """Sentences about the model and what is kept of it."""
    with html.Ul(v_if="notes.length", classes="tv-notes", raw_attrs=[f'data-testid="{test_id}"']):
        html.Li("{{ note }}", v_for="(note, i) in notes", key="i")


def _button(text: str, test_id: str, action: str, **options: object) -> None:
    v3.VBtn(text, size="small", variant="tonal", click=action, raw_attrs=[f'data-testid="{test_id}"'], **options)


def _input(session: Session) -> None:
    subject, pad = session.subject, session.takes_drawings
    if pad:
        _, height, width = subject.input_spec.shape
        Pad(
            width=(str(width),),
            height=(str(height),),
            fit=("prepare",),
            live=("live",),
            raw_attrs=[':ref="(el) => trame.refs.pad = el"', "@ready=\"trigger('pad_ready')\""],
        )
    with html.Div(classes="tv-row"):
        if pad:
            _button("Clear", "pad-clear", "trigger('clear_input')", prepend_icon="mdi-eraser")
            _button("Predict", "predict", "trame.refs.pad.send()", prepend_icon="mdi-play")
        _button("Reset", "reset", "trigger('reset_all')", prepend_icon="mdi-restart")
    if subject.samples:
        with html.Div(classes="tv-samples", raw_attrs=['role="group" aria-label="Sample inputs"']):
            for index, sample in enumerate(subject.samples[:10]):
                _button(
                    subject.class_name(sample.label), f"sample-{sample.label}", f"trigger('show_sample', [{index}])"
                )
    with html.Div(classes="tv-row"):
        if subject.samples:
            _button("Random", "random", "trigger('show_random')", prepend_icon="mdi-dice-5-outline")
        if session.takes_pictures:
            Drop()
        html.Img(
            v_if="preview",
            classes="tv-preview",
            raw_attrs=[':src="preview"', 'data-testid="preview"', 'alt="What the model receives"'],
        )
    if pad:
        with html.Div(classes="tv-row tv-switches"):
            _switch("live", "While drawing", "live")
            _switch("prepare", "Centre it", "prepare")


def _switch(state: str, label: str, test_id: str) -> None:
    v3.VSwitch(
        v_model=(state,),
        label=label,
        density="compact",
        hide_details=True,
        color="primary",
        raw_attrs=[f'data-testid="{test_id}"'],
    )


def build_prediction() -> None:
    """What the network says: a sentence, the truth where it is known, and bars."""
    _failure("failure")
    with html.Section(classes="tv-prediction", raw_attrs=['aria-live="polite"', 'aria-label="Prediction"']):
        html.P("{{ prediction.text }}", classes="tv-prediction__text", raw_attrs=['data-testid="prediction-text"'])
        html.P(
            "{{ prediction.truth }}",
            v_if="prediction.truth",
            classes=("prediction.right ? 'tv-right' : 'tv-wrong'",),
            raw_attrs=['data-testid="truth"'],
        )
        with html.Div(
            v_for="bar in prediction.bars",
            key="bar.index",
            classes="tv-bar",
            raw_attrs=[
                ':data-testid="`prob-${bar.index}`"',
                ':data-share="bar.share"',
                ':data-winner="bar.winner"',
                ":class=\"{ 'tv-bar--winner': bar.winner }\"",
            ],
        ):
            html.Span("{{ bar.name }}", classes="tv-bar__name", raw_attrs=[':title="bar.name"'])
            with html.Span(classes="tv-bar__track"):
                html.Span(classes="tv-bar__fill", style=("`width: ${100 * bar.share}%`",))
            html.Span("{{ bar.text }}", classes="tv-bar__text")


def _failure(test_id: str) -> None:
    html.P(
        "{{ failure }}",
        v_if="failure",
        classes="tv-failure",
        raw_attrs=[f'data-testid="{test_id}"', 'role="alert"'],
    )


def _look() -> None:
    with html.Div(classes="tv-look"):
        _choice("encoding", "Colour", ENCODING_ITEMS)
        _choice("scaling", "Scale", SCALING_ITEMS)
        _choice("aggregate", "Closed layers show", AGGREGATE_ITEMS)
        _choice("arrangement", "Open layers stand in a", ARRANGEMENT_ITEMS)
        _choice("sort", "Maps of open layers stand", SORT_ITEMS)
        _choice("most_maps", "Open layers show", MOST_MAPS_ITEMS)


def _choice(state: str, label: str, items: list[dict[str, Any]]) -> None:
    v3.VSelect(
        v_model=(state,),
        label=label,
        items=(f"{state}_items", items),
        density="compact",
        variant="outlined",
        hide_details=True,
        raw_attrs=[f'data-testid="{state}"'],
    )


def _layers() -> None:
    v3.VTextField(
        v_model=("query",),
        label="Find a layer",
        prepend_inner_icon="mdi-magnify",
        clearable=True,
        click_clear="query = ''",
        density="compact",
        variant="outlined",
        hide_details=True,
        raw_attrs=['data-testid="find-layer"'],
    )
    around = "item.name.slice(0, item.name.lastIndexOf('.') + 1)"
    rows = "layers.filter((l) => query ? l.name.toLowerCase().includes(query.toLowerCase()) : l.shown)"
    with html.Div(classes="tv-layers", raw_attrs=['data-testid="layers"']):
        with html.Div(
            v_for=f"item in {rows}",
            key="item.name",
            classes="tv-layer",
            style=("`padding-left: ${8 + 12 * (query ? 0 : item.depth)}px`",),
            raw_attrs=[":class=\"{ 'tv-layer--selected': item.name === selected }\""],
        ):
            html.Span(classes="tv-dot", style=("`background: ${item.hue}`",))
            with html.Button(
                classes="tv-layer__name",
                click="trigger('select_layer', [item.name])",
                raw_attrs=[':data-testid="`layer-${item.name}`"', 'type="button"', ':title="item.name"'],
            ):
                with html.Span(classes="tv-layer__full"):
                    with html.Span(v_if=around, classes="tv-layer__around"):
                        html.Bdi(f"{{{{ {around} }}}}", raw_attrs=['dir="ltr"'])
                    html.Span(f"{{{{ item.name.slice({around}.length) }}}}")
                html.Small("{{ item.kind }} · {{ item.shape }}")
            html.Button(
                v_if="item.hidden !== null",
                classes="tv-layer__toggle mdi",
                click="trigger('hide_input', [item.name])",
                raw_attrs=[
                    'type="button"',
                    ":class=\"item.hidden ? 'mdi-eye-off-outline' : 'mdi-eye-outline'\"",
                    ':data-testid="`hide-${item.name}`"',
                    ':aria-label="`Hide ${item.name}`"',
                    ":aria-pressed=\"item.hidden ? 'true' : 'false'\"",
                ],
            )
            html.Button(
                classes="tv-layer__toggle mdi",
                click="trigger('toggle_layer', [item.name])",
                raw_attrs=[
                    'type="button"',
                    ":class=\"item.open ? 'mdi-arrow-collapse' : 'mdi-arrow-expand'\"",
                    ':data-testid="`toggle-${item.name}`"',
                    ":aria-label=\"`${item.open ? 'Close' : 'Open'} ${item.name}`\"",
                    ":aria-expanded=\"item.open ? 'true' : 'false'\"",
                ],
            )
