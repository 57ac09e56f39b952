"""A training loop becomes a run: a directory of what the network did at every recorded step, and its metrics."""

from .checkpoints import CheckpointRun
from .contents import CONTENTS
from .evaluation import Evaluation
from .recorder import Recorder
from .run import Metrics, Run
from .watch import watch

__all__ = ["CONTENTS", "CheckpointRun", "Evaluation", "Metrics", "Recorder", "Run", "watch"]
