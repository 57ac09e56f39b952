"""Every example runs, in a folder of its own, and leaves what it says."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

FOLDER = Path(__file__).parent.parent / "examples"
PICTURES = {
    "capture_values": {},
    "figure": {"figure.png": (2400, 1350)},
    "compare_encodings": {f"{name}.png": (1280, 720) for name in ("kind", "sequential", "signed", "fixed")},
    "scene_file": {"view.png": (1280, 720)},
    "explore_own_model": {},
    "watch_training": {},
}
SAYS = {
    "capture_values": "(('0', '1'),",
    "scene_file": "LeNet-5 says 8",
    "figure": "figure.png is written",
    "watch_training": "81 steps are recorded",
}
ARGUMENTS = {"explore_own_model": ["--no-browser", "--once"], "watch_training": ["--no-browser"]}


def test_every_example_is_run_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(PICTURES)


@pytest.mark.gl
@pytest.mark.parametrize("name", PICTURES)
def test_it_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *ARGUMENTS.get(name, [])])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    assert SAYS.get(name, "") in capsys.readouterr().out
    assert {path.name for path in tmp_path.glob("*.png")} == set(PICTURES[name])
    for file, size in PICTURES[name].items():
        with Image.open(tmp_path / file) as picture:
            assert picture.size == size
            assert len(picture.getcolors(2**24)) > 50


def test_the_pictures_of_the_docs_are_all_made_by_the_tool(tmp_path: Path) -> None:
    tool = runpy.run_path(str(FOLDER.parent / "tools" / "make_pictures.py"))
    kept = {path.stem for path in tool["FOLDER"].glob("*.png")}
    assert set(tool["PICTURES"]) <= kept
    assert all(path.stat().st_size < 400_000 for path in tool["FOLDER"].glob("*.png"))
