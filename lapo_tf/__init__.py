"""lapo_tf: LAPO, offline reinforcement learning from mixed data, in TensorFlow and Keras 3.

from lapo_tf import evaluate, load_run, load_task, train
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Both must be set before TensorFlow and Keras are imported for the first time.
if (_backend := os.environ.get("KERAS_BACKEND", "tensorflow")) != "tensorflow":
    print(f"lapo_tf: Keras runs on TensorFlow here, not on {_backend} (KERAS_BACKEND)", file=sys.stderr)
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if not os.environ.get("MINARI_DATASETS_PATH", "x").strip():  # empty: as if it were not set
    del os.environ["MINARI_DATASETS_PATH"]

if TYPE_CHECKING:
    from lapo_tf.runs.evaluation import evaluate
    from lapo_tf.runs.run import load_run
    from lapo_tf.tasks import load_task
    from lapo_tf.training.start import train

__all__ = ["evaluate", "load_run", "load_task", "train"]

_HOMES = {"evaluate": "runs.evaluation", "load_run": "runs.run", "load_task": "tasks", "train": "training.start"}


def __getattr__(name: str) -> Any:
    """The names above, on demand: importing TensorFlow takes seconds, which `--help` need not wait for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lapo_tf' has no attribute '{name}'")
    import_module("lapo_tf.runtime").quiet()
    globals()[name] = getattr(import_module(f"lapo_tf.{_HOMES[name]}"), name)
    return globals()[name]
