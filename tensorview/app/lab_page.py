"""The training lab's panel: what drives the training, the data, the hyperparameters and what they do."""

from __future__ import annotations

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from ..training import OPTIMIZERS
from .charts_page import build_charts
from .downloads import SAVED
from .guide import build_guide
from .lab import MOST_CHECKPOINT_BYTES
from .panel import Drop, Pad, build_prediction
from .test_page import picture_on

# (hyperparameter, label)
NUMBERS = (
    ("learning_rate", "Learning rate"),
    ("momentum", "Momentum"),
    ("weight_decay", "Weight decay"),
    ("batch_size", "Batch size"),
    ("label_smoothing", "Label smoothing"),
    ("cycle", "Rate's cycle, epochs"),
    ("every", "Show every … batches"),
)
SAVE = f"trigger('lab_save'){SAVED}"
# A field takes what was typed when it is left or Enter is pressed; the key builds it anew when that was refused.
TYPED = "trigger('lab_set', ['{name}', $event.target.value])"


def build_drive() -> None:
    """Above the pages: start and pause, one step, start anew; how far it is; what is wrong."""
    with html.Section(
        classes="tv-drive", raw_attrs=['aria-label="Training"', 'data-testid="lab"', ':data-state="lab.state"']
    ):
        with html.Div(classes="tv-row tv-drive__buttons"):
            v3.VBtn(
                "Start",
                v_if="lab.state !== 'running'",
                color="primary",
                variant="flat",
                prepend_icon="mdi-play",
                disabled=("!lab.can_start",),
                click="trigger('lab_start')",
                raw_attrs=['data-testid="train-start"'],
            )
            v3.VBtn(
                "Pause",
                v_if="lab.state === 'running'",
                color="primary",
                variant="tonal",
                prepend_icon="mdi-pause",
                click="trigger('lab_pause')",
                raw_attrs=['data-testid="train-pause"'],
            )
            v3.VBtn(
                "One step",
                variant="tonal",
                prepend_icon="mdi-step-forward",
                disabled=("!lab.can_start",),
                click="trigger('lab_step')",
                raw_attrs=['data-testid="train-step"'],
            )
            v3.VBtn(
                "Start anew",
                variant="text",
                click="trigger('lab_reset')",
                raw_attrs=[
                    'data-testid="train-reset"',
                    'title="Fresh weights and a new run; the old one is kept"',
                ],
            )
        html.P("{{ lab.text }}", classes="tv-drive__said", raw_attrs=['data-testid="train-status"', 'role="status"'])
        v3.VProgressLinear(
            v_if="lab.progress !== null",
            model_value=("100 * lab.progress",),
            color="primary",
            raw_attrs=['aria-label="Progress"', 'data-testid="train-progress"'],
        )
        html.P(
            "{{ lab.message }}",
            v_if="lab.message",
            classes="tv-drive__message",
            raw_attrs=['data-testid="train-message"', 'role="alert"'],
        )
        with html.Details(
            v_if="lab.warnings.length", classes="tv-drive__warnings", raw_attrs=['data-testid="train-warnings"']
        ):
            html.Summary(
                "{{ lab.warnings[0] }}{{ lab.warnings.length > 1 ? ` And ${lab.warnings.length - 1} more.` : '' }}"
            )
            html.P("{{ warning }}", v_for="warning in lab.warnings.slice(1)", key="warning")


def build_data_page() -> None:
    """The data, examples of them, the probe and what the network says of it."""
    build_guide("data")
    v3.VSelect(
        model_value=("lab.data",),
        update_modelValue="trigger('lab_data', [$event])",
        label="Data",
        items=("lab_data_items",),
        density="compact",
        variant="outlined",
        hide_details=True,
        raw_attrs=['data-testid="lab-data"'],
    )
    html.P("{{ lab_examples.text }}", classes="tv-soft", raw_attrs=['data-testid="data-text"'])
    with html.Div(
        classes="tv-examples", raw_attrs=['data-testid="examples"', 'role="group"', 'aria-label="Held-out examples"']
    ):
        html.Button(
            v_for="each in lab_examples.shown",
            key="each.index",
            classes="tv-example",
            style=(picture_on("lab_examples.sheet"),),
            click="trigger('lab_probe', [each.index])",
            raw_attrs=[
                'type="button"',
                ':data-testid="`example-${each.place}`"',
                ':data-label="each.name"',
                ':title="each.name"',
                ':aria-label="`Probe: ${each.name}`"',
                ":aria-pressed=\"each.index === lab.probe ? 'true' : 'false'\"",
            ],
        )
    with html.Div(classes="tv-row"):
        v3.VBtn(
            "Others",
            size="small",
            variant="tonal",
            prepend_icon="mdi-dice-5-outline",
            click="trigger('lab_others')",
            raw_attrs=['data-testid="examples-others"'],
        )
        html.Span("or draw one:", v_if="lab.pad", classes="tv-soft")
    with html.Div(v_if="lab.pad", classes="tv-lab-pad"):
        Pad(
            width=("lab.pad[1]",),
            height=("lab.pad[0]",),
            fit=("true",),
            live=("true",),
            hint=("lab.pad_hint",),
            raw_attrs=[
                ':ref="(el) => trame.refs.pad = el"',
                'trigger="lab_drawn"',
                "@ready=\"trigger('lab_pad_ready')\"",
            ],
        )
    build_prediction()


def build_train_page() -> None:
    """The network, the hyperparameters, the curves, and the checkpoint."""
    build_guide("train")
    build_charts("curves.filter((c) => ['loss', 'accuracy'].includes(c.name))")
    v3.VSelect(
        model_value=("lab.architecture",),
        update_modelValue="trigger('lab_architecture', [$event])",
        label="Network (another one starts anew)",
        items=("lab_architecture_items",),
        density="compact",
        variant="outlined",
        hide_details=True,
        raw_attrs=['data-testid="lab-architecture"'],
    )
    with html.Div(classes="tv-hyper"):
        v3.VSelect(
            model_value=("lab.hyper.optimizer",),
            update_modelValue="trigger('lab_set', ['optimizer', $event])",
            label="Optimiser",
            items=("lab_optimizers", [{"title": title(name), "value": name} for name in OPTIMIZERS]),
            density="compact",
            variant="outlined",
            hide_details=True,
            raw_attrs=['data-testid="hyper-optimizer"'],
        )
        for name, label in NUMBERS:
            v3.VTextField(
                model_value=(f"lab.hyper.{name}",),
                key=f"`{name}-${{lab.fields}}`",
                label=label,
                change=TYPED.format(name=name),
                density="compact",
                variant="outlined",
                hide_details=True,
                raw_attrs=[f'data-testid="hyper-{name}"', 'inputmode="decimal"'],
            )
    with html.Dl(classes="tv-facts tv-numbers", raw_attrs=['data-testid="numbers"']):
        with html.Div(v_for="row in lab.numbers", key="row.name"):
            html.Dt("{{ row.label }}")
            html.Dd("{{ row.text }}", raw_attrs=[':data-testid="`number-${row.name}`"'])
    with html.Div(classes="tv-row"):
        v3.VBtn(
            "Save checkpoint",
            size="small",
            variant="tonal",
            prepend_icon="mdi-content-save-outline",
            click=SAVE,
            raw_attrs=['data-testid="checkpoint-save"'],
        )
        Drop(
            MOST_CHECKPOINT_BYTES,
            raw_attrs=[
                'place="lab_load"',
                'accept=".safetensors"',
                'text="Load checkpoint"',
                'label="Load a checkpoint"',
                'drop-text="Drop the checkpoint here"',
                'test-id="checkpoint-load"',
            ],
        )


def build_comparison() -> None:
    """Every network that was tried in this lab, and how well it did."""
    with html.Div(v_if="lab.tried.length > 1", raw_attrs=['data-testid="tried"']):
        html.H3("Networks tried")
        with html.Table(classes="tv-tried"):
            with html.Tr():
                for heading in ("network", "weights", "steps", "held-out"):
                    html.Th(heading, raw_attrs=['scope="col"'])
            with html.Tr(v_for="(each, i) in lab.tried", key="i"):
                html.Td("{{ each.title }}")
                html.Td("{{ each.weights }}")
                html.Td("{{ each.steps }}")
                html.Td("{{ each.accuracy }}")


def title(name: str) -> str:
    """The name of an optimiser as papers write it."""
    return {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}.get(name, name)
