"""The documentation is true: its code runs, its commands parse, and everything a user can say is described."""

from __future__ import annotations

import argparse
import dataclasses
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tensorview as tv
from tensorview.cli import PLAYGROUND, make_parser

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *ROOT.glob("models/*.md")])
FOR_USERS = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path: Path, language: str) -> list[str]:
    return [body for found, body in FENCED.findall(text(path)) if found == language]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def section(page: str, title: str) -> str:
    """What stands under a heading, up to the next of its level or above."""
    start = re.search(rf"^(#+) {re.escape(title)}$", page, re.MULTILINE)
    assert start is not None, f"no heading {title!r}"
    rest = page[start.end() :]
    end = re.search(rf"^#{{1,{len(start[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def first_cells(part: str) -> list[str]:
    """The first cell of every row of the tables in a part, but for their heads."""
    rows = [line.strip().strip("|").split("|") for line in part.splitlines() if line.startswith("|")]
    ruled = [i for i, row in enumerate(rows) if set("".join(row).strip()) <= set("-: ")]
    heads = {i for rule in ruled for i in (rule - 1, rule)}
    return [row[0].strip() for i, row in enumerate(rows) if i not in heads]


def quoted(part: str) -> set[str]:
    """What stands in `code` in the first cells of the tables in a part."""
    return {word for cell in first_cells(part) for word in re.findall(r"`([^`]+)`", cell)}


# Code and commands -------------------------------------------------------------------------------------------------


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the files that the examples name."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pixels = np.full((60, 80), 255, np.uint8)
    pixels[15:45, 38:43] = 20
    for name in ("photo.png", "digit.png"):
        Image.fromarray(pixels).save(name)
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.mark.gl
@pytest.mark.parametrize("page", [p for p in FOR_USERS if blocks(p, "python")], ids=name_of)
def test_the_python_of_a_page_runs_from_top_to_bottom(page: Path, workplace: Path) -> None:
    namespace: dict[str, object] = {"__name__": "docs"}
    for block in blocks(page, "python"):
        file = re.match(r"# (\w+\.py)\n", block)
        if file:
            (workplace / file[1]).write_text(block, encoding="utf-8")
        exec(compile(block, name_of(page), "exec"), namespace)


def test_the_scene_file_of_the_pages_opens(workplace: Path) -> None:
    (written,) = blocks(DOCS / "pictures.md", "toml")
    (workplace / "view.toml").write_text(written, encoding="utf-8")
    scene = tv.load_scene("view.toml").scene
    assert scene.look.open == {"conv1", "conv2"}
    assert scene.camera.position == (120.0, 60.0, 130.0)


def commands() -> list[str]:
    lines = [line for page in FOR_USERS for block in blocks(page, "sh") for line in block.splitlines()]
    plain = [line.split("#")[0].strip() for line in lines if line.startswith("tensorview")]
    return sorted({line for line in plain if "[options]" not in line})


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_pages_parses(line: str) -> None:
    words = shlex.split(line)[1:]
    if words == ["--version"]:
        return
    if not words or words[0].startswith("-"):
        words = ["explore", PLAYGROUND, *words]
    given = make_parser().parse_args(words)
    assert callable(given.run)


def test_the_pages_have_commands() -> None:
    assert len(commands()) >= 8


# The command line --------------------------------------------------------------------------------------------------


def subcommands() -> dict[str, argparse.ArgumentParser]:
    (action,) = (a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def groups(parser: argparse.ArgumentParser) -> dict[str, set[str]]:
    """The options of every group of a parser that is not argparse's own."""
    own = {"options", "optional arguments", "positional arguments"}
    titled = {g.title: {f for a in g._group_actions for f in a.option_strings} for g in parser._action_groups}
    return {title: flags for title, flags in titled.items() if title and title not in own}


def test_every_command_is_described_with_the_groups_of_its_options() -> None:
    part = section(text(DOCS / "cli.md"), "Commands")
    rows = {re.findall(r"`(\w+)`", line)[0]: line for line in part.splitlines() if line.startswith("| `")}
    described = {name: set(re.findall(r"\(#(\w+)\)", row)) for name, row in rows.items()}
    assert described == {name: set(groups(parser)) for name, parser in subcommands().items()}


def test_every_option_is_described_where_it_belongs_and_no_other() -> None:
    page = text(DOCS / "cli.md")
    expected: dict[str, set[str]] = {}
    for parser in subcommands().values():
        for title, flags in groups(parser).items():
            assert expected.setdefault(title, flags) == flags
    found = {title: described_flags(section(page, title.capitalize())) for title in expected}
    assert found == expected
    head = page[: page.index("\n## ")]
    assert described_flags(head) == {f for a in make_parser()._actions for f in a.option_strings}


def described_flags(part: str) -> set[str]:
    return {flag for code in quoted(part) for flag in FLAG.findall(code)}


@pytest.mark.parametrize("page", FOR_USERS, ids=name_of)
def test_no_page_names_an_option_that_does_not_exist(page: Path) -> None:
    parsers = [make_parser(), *subcommands().values()]
    known = {flag for parser in parsers for action in parser._actions for flag in action.option_strings}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text(page)))
    assert named - known == set()


# What else can be said ---------------------------------------------------------------------------------------------


def test_every_public_name_is_shown_in_code_that_runs() -> None:
    code = "\n".join(blocks(DOCS / "python.md", "python"))
    assert [name for name in tv.__all__ if not re.search(rf"\btv\.{name}\b", code)] == []


def test_every_public_name_is_explained_and_no_other() -> None:
    page = text(DOCS / "python.md")
    headed = set(re.findall(r"^### `tv\.(\w+)", page, re.MULTILINE))
    errors = {word.removeprefix("tv.") for word in quoted(section(page, "Errors"))}
    assert headed | errors | {"TensorviewError"} == set(tv.__all__)


def test_every_choice_about_a_scene_is_named() -> None:
    part = section(text(DOCS / "python.md"), "`tv.Look(...)`")
    named = re.findall(r"`(\w+)`", part.split("```")[0])
    assert named == [field.name for field in dataclasses.fields(tv.Look)]


def test_every_key_of_the_page_is_named() -> None:
    from tensorview.app.overlays import KEYS

    keys = {key for keys, _ in KEYS for key in keys.split(" or ")}
    assert keys <= set(re.findall(r"<kbd>(.+?)</kbd>", text(DOCS / "playground.md")))


def test_every_key_of_a_scene_file_is_described_and_no_other() -> None:
    part = section(text(DOCS / "pictures.md"), "Keys")
    fields = {field.name for field in dataclasses.fields(tv.SceneFile)} - {"source"}
    camera = {field.name for field in dataclasses.fields(tv.Camera)}
    assert quoted(part) - {"[camera]"} == fields | camera | {"version"}


def test_every_attribute_that_a_model_can_have_is_described() -> None:
    from tensorview.opening import convention

    assert convention.__doc__ is not None
    said = set(re.findall(r"^    (\w+)  ", convention.__doc__, re.MULTILINE))
    assert quoted(section(text(DOCS / "models.md"), "What a model says about itself")) == said


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads(text(ROOT / "pyproject.toml"))["project"]
    needed = {re.match(r"[\w-]+", line)[0] for line in project["dependencies"]}  # type: ignore[index]
    page = text(DOCS / "dependencies.md")
    packages, extras = page.split("Optional:")
    assert quoted(packages) == needed
    assert quoted(extras) == set(project["optional-dependencies"])


# Links -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCED.sub("", text(page))):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        assert aim.exists(), target
        if anchor:
            assert anchor in anchors(aim), target


def anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", FENCED.sub("", text(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_page_and_picture_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        for target in LINK.findall(text(page)):
            aim = (page.parent / target.partition("#")[0]).resolve()
            if "://" not in target and aim.is_file() and aim not in reached:
                reached.add(aim)
                waiting += [aim] if aim.suffix == ".md" else []
    wanted = {*DOCS.glob("*.md"), *(DOCS / "pictures").glob("*.png")}
    assert wanted - reached == set()


def test_the_page_on_security_names_everything_that_is_downloaded():
    from tensorview.training.downloads import _SOURCES

    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8").partition("## What leaves the machine")[2]
    assert [source.title for source in _SOURCES.values() if source.title not in page] == []
