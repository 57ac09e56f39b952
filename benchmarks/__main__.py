"""`python -m benchmarks`: every figure of the project as one JSON object."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from time import perf_counter
from typing import Any

IMPORTED = """
import sys, time
started = time.perf_counter()
import tensorview
took = time.perf_counter() - started
heavy = [name for name in ("torch", "vtk", "vtkmodules", "trame", "torchvision") if name in sys.modules]
print(took * 1000, ",".join(heavy))
"""


def importing() -> dict[str, Any]:
    """What `import tensorview` costs and brings in, and how long `tensorview --help` takes, in new processes."""
    milliseconds, heavy = (
        subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)
        .stdout.rstrip("\n")
        .split(" ")
    )
    started = perf_counter()
    subprocess.run([sys.executable, "-m", "tensorview", "--help"], capture_output=True, check=True)
    return {
        "import_ms": round(float(milliseconds), 1),
        "import_brings": heavy,
        "help_ms": round((perf_counter() - started) * 1e3),
    }


def actors() -> dict[str, int]:
    """How many actors the stage has for a small and for a deep network."""
    import torch

    from tensorview.capture import capture as trace_of
    from tensorview.scene import Scene
    from tensorview.stage.stage import Stage

    from .capture import chain, lenet

    x = torch.rand(1, 1, 28, 28)
    return {
        "lenet": Stage(Scene(trace_of(lenet(), x))).actor_count,
        "chain800": Stage(Scene(trace_of(chain(), x))).actor_count,
    }


def memory(predictions: int = 1000) -> dict[str, float]:
    """Resident memory of the process in MiB after 100 and after `predictions` more predictions."""
    import psutil

    from tensorview.app.session import Session
    from tensorview.opening import open_model

    session, process = Session(open_model("lenet5")), psutil.Process()

    def predict(count: int) -> float:
        for k in range(count):
            sample = session.subject.samples[k % 10]
            session.show(*session.run(session.prepare_sample(sample)))
        return round(process.memory_info().rss / 2**20, 1)

    return {"after_100": predict(100), f"after_{predictions}_more": predict(predictions)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--no-browser", action="store_true", help="leave out what needs Chromium")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {**importing()}
    import torch

    torch.set_num_threads(2)
    from . import browser, capture, growth, lab, large, recording, timeline, training, update

    figures |= {"torch": torch.__version__, "threads": 2, "actors": actors(), **capture.measure(), **update.measure()}
    figures |= recording.measure()
    figures |= {**large.measure(), **growth.measure()}
    figures["memory_mib"] = memory()
    figures |= training.measure()
    if not arguments.no_browser:
        figures |= {**browser.measure(), **browser.large(), **timeline.measure(), **lab.measure()}
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
