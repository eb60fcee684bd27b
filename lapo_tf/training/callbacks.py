"""Keras callbacks in a training: the one that writes its files, and a check of users'.

What cannot work is refused before it begins; `docs/callbacks.md` says what can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np

from lapo_tf.errors import UserError, unknown
from lapo_tf.training import metrics
from lapo_tf.training.rollout import Episodes
from lapo_tf.training.run_folder import RunFolder

REFUSED = {
    "BackupAndRestore": "a run folder goes on by itself, with resume=True or --resume",
    "SwapEMAWeights": "the agents' optimisers keep no averages of weights; their target networks are such averages",
    "OrbaxCheckpoint": "the run folder has checkpoints of its own; for others take ModelCheckpoint's weights",
}
PER_BATCH = [f"on_{kind}batch_{when}" for kind in ("", "train_", "test_", "predict_") for when in ("begin", "end")]


def check_callbacks(callbacks: Sequence[Any], columns: Iterable[str], log: Callable[[str], None]) -> None:
    """Refuse what would fail or do nothing.

    Args:
        callbacks: of the user.
        columns: names that `logs` will have.
        log: told which methods will not be called.

    Raises:
        UserError: not a Keras callback, or one that cannot work here.
    """
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            raise UserError(f"callbacks hold {callback!r:.60}: expected instances of keras.callbacks.Callback")
        name = type(callback).__name__
        for kind, reason in REFUSED.items():
            if isinstance(callback, getattr(keras.callbacks, kind, ())):
                raise UserError(f"callback {name} cannot work here: {reason}")
        if isinstance(callback, keras.callbacks.ModelCheckpoint):
            if not callback.save_weights_only:
                raise UserError(f"callback {name} saves whole models: expected save_weights_only=True, as for an agent")
            if callback.save_freq != "epoch":
                raise UserError(f"callback {name} saves by batches, which it does not see: expected save_freq='epoch'")
        _check_monitor(callback, name, columns)
        unseen = [method for method in PER_BATCH if _overrides(callback, method)]
        if unseen and not isinstance(callback, _NEED_NO_BATCHES):
            log(f"note: {name}.{unseen[0]} is never called, because many batches are one call of the compiled loop")


_NEED_NO_BATCHES = (keras.callbacks.TensorBoard, keras.callbacks.ModelCheckpoint, keras.callbacks.ProgbarLogger)


def _check_monitor(callback: Any, name: str, columns: Iterable[str]) -> None:
    """What it watches is there, and it knows which way is better."""
    monitor = getattr(callback, "monitor", None)
    if not isinstance(monitor, str) or not getattr(callback, "save_best_only", True):
        return
    if monitor not in columns:
        raise unknown(f"metric for {name}", monitor, columns)
    if getattr(callback, "mode", "max") not in ("min", "max"):
        raise UserError(f"callback {name} cannot tell whether more of {monitor} is better: give mode='max' or 'min'")


def _overrides(callback: keras.callbacks.Callback, method: str) -> bool:
    return method in vars(callback) or getattr(type(callback), method) is not getattr(keras.callbacks.Callback, method)


class RunLogger(keras.callbacks.Callback):
    """Writes `metrics.csv` and `episodes.npz` at every evaluation."""

    def __init__(self, folder: RunFolder, step: int) -> None:
        super().__init__()
        self.folder = folder
        # What a resumed run's newest checkpoint does not know of will be done again.
        self.rows = [row for row in folder.metrics() if row["step"] <= step]
        self.episodes = {k: v[: len(self.rows)] for k, v in folder.episodes().items()}

    def record(self, step: int, episodes: Episodes | None) -> None:
        """Keep an evaluation's episodes, if there were any, for the next `on_epoch_end`."""
        if episodes is None:
            return
        new = {"steps": np.array([step]), "returns": episodes.returns[None], "lengths": episodes.lengths[None]}
        self.episodes = {k: np.concatenate([self.episodes[k], v]) if self.episodes else v for k, v in new.items()}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}  # Keras has sorted it by name
        columns = (*metrics.EVALUATION, *metrics.HELD_OUT, *self.model.metric_names)
        self.rows.append({"step": epoch} | {name: logs[name] for name in columns if name in logs})
        if self.episodes:
            self.folder.write_episodes(self.episodes)
        self.folder.write_metrics(self.rows)
