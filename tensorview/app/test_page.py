"""The panel's page about held-out examples: accuracy, confusion matrix, classes, and what the network says of some."""

from __future__ import annotations

from trame.widgets import html

# A cell's colour: the share of its row, in the hue for right or wrong. Small shares must show, hence the root.
CELL = (
    "`background: color-mix(in srgb, var(${cell.right ? '--tv-good' : '--tv-bad'}) "
    "${Math.round(55 * Math.sqrt(cell.share))}%, transparent)`"
)


def picture_on(sheet: str) -> str:
    """The style of an element that shows the picture of `each` on a sheet, a template expression."""
    return (
        f"`background-image: url(${{{sheet}.picture}});"
        f" background-size: ${{100 * {sheet}.columns}}% ${{100 * {sheet}.rows}}%;"
        f" background-position: ${{100 * each.column / Math.max(1, {sheet}.columns - 1)}}%"
        f" ${{100 * each.row / Math.max(1, {sheet}.rows - 1)}}%`"
    )


def build_test_page() -> None:
    """Build the page; it shows the evaluation of the step that is shown, the last one before it."""
    html.P(
        "Nothing has been tested yet.", v_if="!evaluation", classes="tv-soft", raw_attrs=['data-testid="no-evaluation"']
    )
    with html.Div(
        v_if="evaluation", classes="tv-test", raw_attrs=['data-testid="evaluation"', ':data-step="evaluation.step"']
    ):
        with html.P(classes="tv-test__accuracy"):
            html.B("{{ evaluation.accuracy }}", raw_attrs=['data-testid="held-out-accuracy"'])
            html.Span("{{ evaluation.text }}")
            html.Small("at step {{ evaluation.step.toLocaleString('en') }}")
        _matrix()
        _classes()
        _examples()


def _matrix() -> None:
    html.H3("Confusion matrix")
    html.Small("A row for what it is, a column for what the network says.", classes="tv-soft")
    with html.Table(v_if="evaluation.rows.length", classes="tv-matrix", raw_attrs=['data-testid="confusion"']):
        with html.Tr():
            html.Td("")
            html.Th(
                "{{ name }}",
                v_for="name in evaluation.names",
                key="name",
                raw_attrs=['scope="col"', ':title="name"'],
            )
        with html.Tr(v_for="row in evaluation.rows", key="row.name"):
            html.Th("{{ row.name }}", raw_attrs=['scope="row"', ':title="row.name"'])
            html.Td(
                "{{ cell.count || '' }}",
                v_for="(cell, i) in row.cells",
                key="i",
                style=(CELL,),
                raw_attrs=[':title="cell.title"'],
            )
    html.Img(
        v_if="evaluation.matrix",
        classes="tv-matrix tv-matrix--picture",
        raw_attrs=[':src="evaluation.matrix"', 'alt="Confusion matrix; the brighter, the larger the share of its row"'],
    )


def _classes() -> None:
    html.H3("Recognised of each class")
    with html.Div(
        v_for="(each, i) in evaluation.classes",
        key="i",
        classes="tv-bar",
        raw_attrs=[':data-testid="`class-${i}`"', ':data-share="each.share"'],
    ):
        html.Span("{{ each.name }}", classes="tv-bar__name", raw_attrs=[':title="each.name"'])
        with html.Span(classes="tv-bar__track"):
            html.Span(classes="tv-bar__fill", style=("`width: ${100 * each.share}%`",))
        html.Span("{{ each.text }}", classes="tv-bar__text")


def _examples() -> None:
    html.H3("What the network says of some")
    with html.Div(classes="tv-guesses", raw_attrs=['data-testid="guesses"']):
        with html.Div(
            v_for="(each, i) in evaluation.shown",
            key="i",
            classes="tv-guess",
            raw_attrs=[
                ":class=\"each.right ? 'tv-guess--right' : 'tv-guess--wrong'\"",
                ':data-testid="`guess-${i}`"',
                ':data-right="each.right"',
            ],
        ):
            html.Div(
                classes="tv-guess__picture",
                style=(picture_on("evaluation.sheet"),),
                raw_attrs=['role="img"', ':aria-label="`Example of class ${each.truth}`"'],
            )
            with html.Div(classes="tv-guess__bars"):
                with html.Div(
                    v_for="bar in each.bars",
                    key="bar.name",
                    raw_attrs=[":class=\"{ 'tv-guess__bar': true, 'tv-guess__bar--true': bar.true }\""],
                ):
                    html.Span(classes="tv-guess__fill", style=("`width: ${100 * bar.share}%`",))
                    html.Span("{{ bar.name }}", classes="tv-guess__name")
                    html.Span("{{ bar.text }}", classes="tv-guess__share")
