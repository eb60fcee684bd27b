"""Settings of the machine that must be made before TensorFlow runs its first op."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator

from lapo_tf.config import Compile
from lapo_tf.errors import UserError


def cores() -> int:
    """The number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return getattr(os, "process_cpu_count", os.cpu_count)() or 1


def configure(compile: Compile, threads: int | None = None) -> None:
    """Set TensorFlow's threads for the way the loop is compiled.

    XLA splits each product over all cores. Graph mode is faster the other way round, one thread in a product and as
    many products side by side as there are cores (`python -m lapo_tf.benchmark` measures both). Graph mode runs with op
    determinism, so that it repeats to the last bit as XLA does by itself.

    Args:
        threads: cores to use; default: OMP_NUM_THREADS (which Ray sets to a trial's share), or all that this process
            may run on.

    Raises:
        UserError: this process was forked from one in which TensorFlow ran. It would wait for threads that are gone.
    """
    import tensorflow as tf

    share = os.environ.get("OMP_NUM_THREADS", "")
    used = threads or (min(int(share), cores()) if share.isdigit() and int(share) else cores())
    intra, inter = (1, used) if compile == "graph" else (used, 1)
    try:
        tf.config.threading.set_intra_op_parallelism_threads(intra)
        tf.config.threading.set_inter_op_parallelism_threads(inter)
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:  # TensorFlow already runs, as in a notebook: its settings stay
        if _forked:
            raise UserError(
                "this process was forked from one in which TensorFlow ran, where it cannot go on: start processes by "
                "multiprocessing.get_context('spawn')"
            ) from None
        logging.getLogger(__name__).info("TensorFlow already runs: its settings stay as they are")
    if compile == "graph":
        tf.config.experimental.enable_op_determinism()


_forked = False


def _mark_forked() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_mark_forked)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Shut stderr for a while, also to native code, whose chatter no log level stops: the descriptor is turned away."""
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # a notebook's stderr is not the file descriptor
            yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)


def quiet() -> None:
    """Import the libraries whose start-up chatter would bury a command's own lines."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", module=r"gymnasium.*|tensorflow.*|keras.*|minari.*")
    with silenced():
        import lapo_tf.envs  # noqa: F401, isort: skip (it has a say in how MuJoCo is imported)
        import gymnasium_robotics  # noqa: F401
        import tensorflow as tf

        tf.config.list_physical_devices()  # looks for GPUs, loudly
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
