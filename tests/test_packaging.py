"""What is installed is what stands in the repository, and nothing more is needed."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = {"tensorview": "tensorview", "models": "tensorview/models", "scenes": "tensorview/scenes"}
MOST_BYTES = 2 * 2**20
PACKAGES = {"PIL": "pillow", "vtkmodules": "vtk", "sklearn": "scikit-learn"}  # modules whose package has another name
SCRIPTS = ("tests", "benchmarks", "tools", "examples")
FRAMEWORKS = {"lightning", "pytorch-lightning", "transformers"}  # whoever uses the callback for one has it
STANDARD = {*sys.stdlib_module_names, "tomllib"}  # of the newest Python


def source_files() -> dict[str, Path]:
    """Every file of the package by the name that it has when it is installed."""
    return {
        f"{installed}/{path.relative_to(ROOT / folder).as_posix()}": path
        for folder, installed in SOURCES.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".tmp"
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy so that nothing is left behind."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for folder in SOURCES:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "*.tmp"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", "."]
    built = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = (copy / "dist").glob("*.whl")
    return found


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == set(source_files())


def test_the_wheel_holds_weights_samples_scenes_and_the_page(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    expected = {
        "tensorview/py.typed",
        "tensorview/app/web/stage.js",
        "tensorview/app/web/page.css",
        "tensorview/models/lenet5.safetensors",
        "tensorview/models/digits.npz",
        "tensorview/scenes/lenet5.toml",
    }
    assert expected <= held
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in held)


def test_the_installed_package_opens_what_it_ships(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    script = f"""
import sys
sys.path.insert(0, {str(site)!r})
import tensorview
assert tensorview.__file__.startswith({str(site)!r}), tensorview.__file__
opened = tensorview.load_scene("lenet5-open")
print(opened.subject.title, len(opened.scene.layers))
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert ran.stdout == "LeNet-5 13\n", ran.stderr


def test_no_file_of_the_repository_is_large() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    sizes = {
        name: (ROOT / name).stat().st_size for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()
    }
    assert sizes
    assert {name: size for name, size in sizes.items() if size > MOST_BYTES} == {}


def test_every_import_is_of_a_declared_package() -> None:
    declared = packages_of("dependencies", "torchvision", "onnx", "keras")
    files = [path for path in source_files().values() if path.suffix == ".py"]
    callbacks = {path for path in files if path.parent.name == "callbacks"}
    assert needed_by([path for path in files if path not in callbacks]) - declared == set()
    assert needed_by(list(callbacks)) - declared == FRAMEWORKS


def test_every_import_of_the_tests_and_scripts_is_of_a_declared_package() -> None:
    declared = packages_of("dependencies", "test")
    files = [path for folder in SCRIPTS for path in (ROOT / folder).rglob("*.py")]
    own = {path.stem.replace("_", "-") for path in files} | {*SCRIPTS}
    assert needed_by(files) - declared - own == set()


def packages_of(*groups: str) -> set[str]:
    """Names of the packages that are asked for: by the package itself, or by an extra."""
    extras = PROJECT["optional-dependencies"]
    lines = [line for group in groups for line in (PROJECT[group] if group in PROJECT else extras[group])]
    return {Requirement(line).name for line in lines}


def needed_by(files: list[Path]) -> set[str]:
    """Names of the packages that files import, but for Python's own and ours."""
    foreign = {module for path in files for module in imported(path)} - STANDARD - {"tensorview"}
    return {PACKAGES.get(module, module.replace("_", "-")) for module in foreign}


def imported(path: Path) -> set[str]:
    """The first part of every module that a file imports from elsewhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_every_dependency_is_pinned_to_a_version_that_it_allows() -> None:
    pins = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            (exact,) = pin.specifier
            assert exact.operator == "==", line
            pins[pin.name] = exact.version
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    for wanted in map(Requirement, [*PROJECT["dependencies"], *extras]):
        if wanted.marker is None or wanted.marker.evaluate({"python_version": "3.11"}):
            assert wanted.specifier.contains(pins[wanted.name]), wanted


def test_the_newest_change_is_of_this_version() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)", changes, re.MULTILINE)
    assert newest is not None
    assert newest[1] == PROJECT["version"]
