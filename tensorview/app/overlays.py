"""What lies over the stage: the card of a layer, the legend and the colour bar, help, and the picture dialog."""

from __future__ import annotations

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from .downloads import SAVED

GESTURES = (
    ("Turn", "drag with the left button, or one finger; arrow keys"),
    ("Move", "drag with the right button or Shift; two fingers"),
    ("Zoom", "wheel or pinch; + and −"),
    ("Read a cell", "point at it"),
    ("See what a cell sees", "switch on the target above, and point at it"),
    ("Open or close a layer", "click it; or the arrows in the list of layers"),
    ("Reset the view", "R, or the first button above"),
)
KEYS = (("R", "reset the view"), ("O", "open every layer"), ("C", "close every layer"), ("H or ?", "this help"))
PAD_KEYS = (("Delete", "clear the pad, while it has the focus"), ("Ctrl Z", "take back the last stroke"))
FITS = "(v) => Number.isInteger(Number(v)) && v >= 16 && v <= 8192"
TAKE_PICTURE = (
    "show_picture = false;"
    "trigger('picture', [{ width: Number(picture_width), height: Number(picture_height),"
    " transparent: picture_transparent, title: picture_title, legend: picture_legend, bar: picture_bar },"
    f" trame.refs.stage.camera()]){SAVED}"
)


def build_card() -> None:
    """The card of the selected layer."""
    with html.Section(v_if="card", classes="tv-card", raw_attrs=['data-testid="card"', 'aria-label="Layer"']):
        with html.Div(classes="tv-card__head"):
            html.H2("{{ card.name }}", raw_attrs=['data-testid="card-name"'])
            v3.VBtn(
                icon="mdi-close",
                size="x-small",
                variant="text",
                click="trigger('select_layer', [''])",
                raw_attrs=['aria-label="Close the card"', 'data-testid="card-close"'],
            )
        html.Code("{{ card.module }}", raw_attrs=['data-testid="card-module"'])
        with html.Dl(), html.Div(v_for="row in card.rows", key="row.name"):
            html.Dt("{{ row.name }}")
            html.Dd("{{ row.value }}", raw_attrs=[":data-testid=\"`card-${row.name.replaceAll(' ', '-')}`\""])
        html.P(
            "{{ card.formula }}",
            v_if="card.formula",
            classes="tv-card__formula",
            raw_attrs=['data-testid="card-formula"'],
        )
        with html.Div(
            v_if="card.bars.length",
            classes="tv-histogram",
            raw_attrs=['role="img"', 'aria-label="Histogram of the values"'],
        ):
            html.Span(v_for="(bar, i) in card.bars", key="i", style=("`height: ${bar}%`",))
        with html.Div(v_if="card.bars.length", classes="tv-histogram__ends"):
            html.Span("{{ card.low }}")
            html.Span("{{ card.high }}")


def build_legend() -> None:
    """The hues of the kinds of layer, and the colour bar."""
    with html.Div(classes="tv-corner"):
        with (
            html.Ul(v_if="show_legend", classes="tv-legend", raw_attrs=['data-testid="legend"', 'aria-label="Legend"']),
            html.Li(v_for="entry in legend", key="entry.kind"),
        ):
            html.Span(classes="tv-dot", style=("`background: ${entry.hue}`",))
            html.Span("{{ entry.kind }}")
        with html.Div(v_if="show_bar", classes="tv-colourbar", raw_attrs=['data-testid="colour-bar"']):
            html.Span("{{ bar.low }}")
            html.Span(classes="tv-colourbar__ramp", style=("`background: ${bar.css}`",))
            html.Span("{{ bar.high }}")
            html.Small("{{ bar.note }}")


def build_help(has_pad: bool) -> None:
    """Gestures and keys in one look."""
    with v3.VDialog(
        v_model=("show_help",), max_width=640, scrollable=True, raw_attrs=['aria-label="How to look inside"']
    ):
        with v3.VCard(title="How to look inside", raw_attrs=['data-testid="help-dialog"']):
            with v3.VCardText(classes="tv-help", raw_attrs=['tabindex="0"']):
                if has_pad:
                    html.P("Draw on the pad: the drawing runs through the network from left to right as you draw.")
                html.P(
                    "Every slab is a feature map, every cell a neuron; the brighter, the greater its value. A closed "
                    "box shows all maps of a layer at once and is thicker the more it has."
                )
                with html.Table():
                    for what, how in (*GESTURES, *KEYS, *(PAD_KEYS if has_pad else ())):
                        with html.Tr():
                            html.Th(what, raw_attrs=['scope="row"'])
                            html.Td(how)
            with v3.VCardActions():
                v3.VSpacer()
                v3.VBtn("Close", click="show_help = false", raw_attrs=['data-testid="help-close"'])


def build_picture_dialog() -> None:
    """Size and contents of a picture of the view."""
    with v3.VDialog(v_model=("show_picture",), max_width=420, raw_attrs=['aria-label="Take a picture"']):
        with v3.VCard(title="Take a picture", raw_attrs=['data-testid="picture-dialog"']):
            with v3.VCardText():
                with html.Div(classes="tv-row"):
                    for side in ("width", "height"):
                        v3.VTextField(
                            v_model=(f"picture_{side}",),
                            label=f"{side} in pixels",
                            type="number",
                            density="compact",
                            variant="outlined",
                            hide_details="auto",
                            rules=(f"[(v) => ({FITS})(v) || '16 to 8192']",),
                            raw_attrs=[f'data-testid="picture-{side}"', 'min="16"', 'max="8192"'],
                        )
                for state, label in (
                    ("transparent", "Transparent background"),
                    ("title", "Title"),
                    ("legend", "Legend"),
                    ("bar", "Colour bar"),
                ):
                    v3.VSwitch(
                        v_model=(f"picture_{state}",),
                        label=label,
                        density="compact",
                        hide_details=True,
                        color="primary",
                        raw_attrs=[f'data-testid="picture-{state}"'],
                    )
            with v3.VCardActions():
                v3.VSpacer()
                v3.VBtn("Cancel", click="show_picture = false")
                v3.VBtn(
                    "Save PNG",
                    color="primary",
                    variant="flat",
                    click=TAKE_PICTURE,
                    disabled=(f"![picture_width, picture_height].every({FITS})",),
                    raw_attrs=['data-testid="picture-save"'],
                )
