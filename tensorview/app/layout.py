"""What stands where on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import html
from trame.widgets import vuetify3 as v3

from ..stage.stage import Stage
from .downloads import SAVED
from .guide import build_guide
from .lab import LabSession
from .lab_page import build_comparison, build_data_page, build_drive, build_train_page
from .overlays import build_card, build_help, build_legend, build_picture_dialog
from .panel import Page, build_input_page, build_layers_page, build_panel
from .playbar import build_contents, build_playbar, build_run_page
from .recorded import RecordedSession
from .session import Session
from .test_page import build_test_page
from .view import MODULE, StageView

if TYPE_CHECKING:
    from .explorer import Explorer

# (test id, icon, what it does, template expression)
TOOLS = (
    ("reset-view", "mdi-image-filter-center-focus", "Reset the view", "trame.refs.stage.resetView()"),
    ("open-all", "mdi-arrow-expand-all", "Open every layer", "trigger('open_all')"),
    ("close-all", "mdi-arrow-collapse-all", "Close every layer", "trigger('close_all')"),
)
SWITCHES = (
    ("toggle-legend", "mdi-format-list-bulleted-type", "Legend", "show_legend"),
    ("toggle-bar", "mdi-gradient-horizontal", "Colour bar", "show_bar"),
    ("toggle-field", "mdi-target", "Receptive field: what a cell sees", "show_field"),
    ("toggle-stats", "mdi-speedometer", "Frame time and latency", "show_stats"),
)
VUETIFY = {
    "theme": {
        "themes": {
            "dark": {"dark": True, "colors": {"background": "#0b0f18", "surface": "#111725", "primary": "#f0be28"}},
            "light": {"dark": False, "colors": {"background": "#ffffff", "surface": "#f5f7fa", "primary": "#8a6200"}},
        }
    },
    "defaults": {"VBtn": {"style": "text-transform: none; letter-spacing: 0"}},
}
# What the page becomes when the connection closes.
LOST = """<div class="tv-lost" role="alert"><p>The server of this page has ended, or cannot be reached.</p>
<p>When it runs again, <a href="index.html">load the page again</a>: the view comes back as it was. A server that was
started anew has a new address, which it prints.</p></div>"""
# The picture begins with the shape of the view, so that nothing of that is cut off.
ASK_PICTURE = (
    "picture_height = String(Math.round(Number(picture_width) * trame.refs.stage.aspect())); show_picture = true"
)
SAVE_SCENE = f"trigger('scene_saved', [trame.refs.stage.camera()]){SAVED}"


def build_layout(explorer: Explorer, stage: Stage) -> None:
    """Build the page of an explorer."""
    explorer.server.enable_module(MODULE)
    with VAppLayout(explorer.server, theme=("theme",), vuetify_config=VUETIFY) as layout:
        layout.root.classes = "tv-app"
        with v3.VMain(classes="tv-main"):
            with html.Div(classes="tv-column"):
                with html.Div(classes="tv-stage-area"):
                    StageView(stage, ref="local_view", context_name=explorer.server.name)
                    _header(explorer.session.has_scene_file)
                    build_card()
                    build_legend()
                    _readout()
                    _busy()
                    if isinstance(explorer.session, RecordedSession):
                        build_contents()
                if isinstance(explorer.session, RecordedSession):
                    build_playbar()
            build_panel(pages_of(explorer.session))
            build_help(has_pad=explorer.session.takes_drawings or isinstance(explorer.session, LabSession))
            build_picture_dialog()
            _message()
    explorer.ui = layout


def pages_of(session: Session) -> list[Page]:
    """The pages of the panel beside a session."""
    if isinstance(session, LabSession):
        return [
            Page("data", "Data", build_data_page, above=build_drive),
            Page("train", "Train", build_train_page),
            Page("test", "Test", _guided_test),
            Page("layers", "Layers", _guided_layers),
        ]
    if isinstance(session, RecordedSession):
        return [
            Page("run", "Run", lambda: build_run_page(session)),
            Page("test", "Test", build_test_page, shown="evaluation"),
            Page("layers", "Layers", build_layers_page),
        ]
    return [Page("input", "Input", lambda: build_input_page(session)), Page("layers", "Layers", build_layers_page)]


def _guided_test() -> None:
    build_guide("test")
    build_comparison()
    build_test_page()


def _guided_layers() -> None:
    build_guide("layers")
    build_layers_page()


def _header(has_scene_file: bool) -> None:
    with html.Header(classes="tv-header"):
        with html.Div(classes="tv-brand"):
            html.Span("tensorview", classes="tv-brand__name")
            html.H1("{{ model_title }}", classes="tv-brand__model", raw_attrs=['data-testid="model-title"'])
        with html.Div(classes="tv-tools", role="toolbar", raw_attrs=['role="toolbar" aria-label="View"']):
            for test_id, icon, label, action in TOOLS:
                _tool(test_id, icon, label, action)
            for test_id, icon, label, state in SWITCHES:
                _tool(test_id, icon, label, f"{state} = !{state}", pressed=state)
            _tool(
                "toggle-theme",
                "mdi-theme-light-dark",
                "Dark or light",
                "theme = theme === 'dark' ? 'light' : 'dark'",
            )
            _tool("save-picture", "mdi-camera-outline", "Take a picture", ASK_PICTURE)
            if has_scene_file:
                _tool("save-scene", "mdi-content-save-outline", "Save this view as a scene file", SAVE_SCENE)
            _tool("help", "mdi-help-circle-outline", "Help", "show_help = true")


def _tool(test_id: str, icon: str, label: str, action: str, pressed: str = "") -> None:
    attributes = [f'data-testid="{test_id}"', f'aria-label="{label}"', f'title="{label}"']
    options: dict[str, Any] = {}
    if pressed:
        attributes.append(f":aria-pressed=\"{pressed} ? 'true' : 'false'\"")
        options["active"] = (pressed,)
    v3.VBtn(icon=icon, variant="text", density="comfortable", click=action, raw_attrs=attributes, **options)


def _readout() -> None:
    html.Div(
        "{{ readout ? readout.text : '' }}",
        v_show="readout",
        classes="tv-readout",
        raw_attrs=[
            'data-testid="readout"',
            'role="status"',
            ':data-layer="readout && readout.layer"',
            ':data-channel="readout && readout.channel"',
            ':data-row="readout && readout.row"',
            ':data-column="readout && readout.column"',
            ':data-value="readout && readout.value"',
        ],
    )


def _busy() -> None:
    with html.Div(v_if="busy", classes="tv-busy", raw_attrs=['data-testid="busy"', 'role="status"']):
        v3.VProgressLinear(indeterminate=True, color="primary", raw_attrs=['aria-label="Working"'])
        html.Span("{{ busy }}")


def _message() -> None:
    """A sentence that goes by itself; sooner, and also under a resting pointer, where the panel says the same."""
    v3.VSnackbar(
        "{{ message }}",
        model_value=("!!message",),
        update_modelValue="message = ''",
        timeout=("message === failure ? 5000 : 9000",),
        location="bottom left",
        raw_attrs=['data-testid="message"', ":class=\"{ 'tv-message--repeats': message === failure }\""],
    )
