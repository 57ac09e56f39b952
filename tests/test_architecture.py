"""Data flows one way: which folder may import which, and who may import the heavy libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import tensorview

ROOT = Path(tensorview.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
MOST_LINES = 400

# What each folder may import of ours, besides itself and the leaves. The top of the package ("") may import all.
LEAVES = {"errors", "classes"}
MAY_IMPORT = {
    "opening": set(),
    "capture": set(),
    "scene": {"capture"},
    "stage": {"capture", "scene"},
    "runs": {"capture"},
    "callbacks": {"opening", "runs"},
    "training": {"opening", "capture", "runs"},
    "app": {"opening", "capture", "scene", "stage", "runs", "training", "models", "scenes", "scene_file"},
}
ONLY_IN = {
    "vtk": {"stage"},
    "vtkmodules": {"stage"},
    "pyvista": set(),
    "trame": {"app"},
    "trame_client": {"app"},
    "trame_common": {"app"},
    "trame_server": {"app"},
    "trame_vtk": {"app"},
    "trame_vuetify": {"app"},
    "wslink": {"app"},
    "aiohttp": {"app"},
}


class Import(NamedTuple):
    """An import statement: where it stands, the absolute dotted name, and whether it runs when the file is imported."""

    file: Path
    line: int
    name: str
    at_import: bool

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.name}"


def imports(file: Path, source: str | None = None) -> Iterator[Import]:
    """Every import of a file; what only a type checker reads is left out."""
    package = ("tensorview", *file.relative_to(ROOT).parent.parts)

    def walk(node: ast.AST, at_import: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, at_import)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            for alias in node.names:
                yield Import(file, node.lineno, f"{module}.{alias.name}", at_import)
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from walk(child, at_import and not inside)

    yield from walk(ast.parse(source or file.read_text(encoding="utf-8")), True)


def folder(file: Path) -> str:
    parts = file.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else ""


EVERY = [found for file in FILES for found in imports(file)]


def test_imports_are_found_wherever_they_stand():
    source = """
import os.path
from ..errors import SceneError
from . import mesh
if TYPE_CHECKING:
    import trame
def f():
    from vtkmodules.vtkCommonCore import vtkPoints
"""
    found = [(i.name, i.at_import) for i in imports(ROOT / "scene" / "x.py", source)]
    assert found == [
        ("os.path", True),
        ("tensorview.errors.SceneError", True),
        ("tensorview.scene.mesh", True),
        ("vtkmodules.vtkCommonCore.vtkPoints", False),
    ]


def test_every_folder_is_in_the_table():
    assert {folder(file) for file in FILES} - {""} <= set(MAY_IMPORT)


def test_folders_import_in_one_direction_only():
    wrong = []
    for found in EVERY:
        here, parts = folder(found.file), found.name.split(".")
        if not here or parts[0] != "tensorview":
            continue
        there = parts[1] if len(parts) > 1 else ""
        if there not in LEAVES | {here} | MAY_IMPORT[here]:
            wrong.append(str(found))
    assert wrong == []


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_heavy_library_is_imported_in_its_folder_only(library):
    assert [
        str(found)
        for found in EVERY
        if found.name.split(".")[0] == library and folder(found.file) not in ONLY_IN[library]
    ] == []


def test_torchvision_is_imported_through_the_shim_and_never_when_a_file_is_imported():
    wrong = [
        str(found)
        for found in EVERY
        if found.name.split(".")[0] == "torchvision" and (found.at_import or folder(found.file) != "opening")
    ]
    assert wrong == []


def test_leaves_import_nothing_of_ours():
    leaves = [found for found in EVERY if found.file.stem in LEAVES and folder(found.file) == ""]
    assert [str(found) for found in leaves if found.name.startswith("tensorview")] == []


def test_the_doors_of_the_package_import_nothing_heavy():
    heavy = {"torch", "numpy", "PIL", "matplotlib", "safetensors", "sklearn", *ONLY_IN}
    doors = [found for found in EVERY if found.file.name in ("__init__.py", "cli.py") and folder(found.file) == ""]
    assert [str(found) for found in doors if found.at_import and found.name.split(".")[0] in heavy] == []


def loaded_by(statement: str) -> set[str]:
    """Top-level packages in `sys.modules` of a fresh Python after a statement."""
    command = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.split())


def test_importing_the_package_loads_no_heavy_library():
    loaded = loaded_by("import tensorview")
    assert "tensorview" in loaded
    assert not loaded & {"torch", "torchvision", "numpy", "PIL", "matplotlib", "sklearn", *ONLY_IN}


def test_the_command_line_says_its_help_without_torch():
    assert not loaded_by("import tensorview.cli") & {"torch", "torchvision", *ONLY_IN}


def test_opening_capturing_and_scenes_load_neither_a_window_nor_a_server():
    loaded = loaded_by("import tensorview.opening, tensorview.capture, tensorview.scene")
    assert "torch" in loaded
    assert not loaded & {"torchvision", "matplotlib", *ONLY_IN}


def test_scenes_are_plain_arrays_and_need_no_torch():
    assert not loaded_by("import tensorview.scene") & {"torch", *ONLY_IN}


def test_the_stage_loads_no_server():
    loaded = loaded_by("import tensorview.stage.stage")
    assert "vtkmodules" in loaded
    assert not loaded & {name for name, folders in ONLY_IN.items() if "app" in folders}


def test_files_stay_small():
    lengths = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert {name: count for name, count in lengths.items() if count > MOST_LINES} == {}
