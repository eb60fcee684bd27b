"""Curves that grow while a training runs: a Keras callback for notebooks, which also writes files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import keras
from matplotlib.figure import Figure

from lapo_tf.plots.curves import judged_by, plot_curves
from lapo_tf.progress import in_notebook

WIDTH, HEIGHT = 5.2, 3.0  # of a panel, inches
DPI = 144  # a notebook shows two dots as one pixel, so that screens of high density have theirs


class LiveCurve(keras.callbacks.Callback):
    """Redraws metrics over gradient steps at every evaluation: in place in Jupyter, elsewhere in the file `path`.

    Give the same object to a resumed training, and the curve goes on.
    """

    def __init__(self, *metrics: str, path: Path | str | None = None) -> None:
        """
        Args:
            metrics: columns of `metrics.csv`, one panel each; default: what the policy is judged by.
            path: a picture to write, too; its ending tells the format.
        """
        super().__init__()
        self.metrics = metrics
        self.path = None if path is None else Path(path)
        self.rows: list[dict[str, float]] = []
        """One per evaluation so far: `step` and the metrics."""
        self._shown: Any = None  # where Jupyter shows it

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._shown = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        # What a resumed or a new training does again is drawn once.
        self.rows = [row for row in self.rows if row["step"] < epoch] + [{"step": epoch, **(logs or {})}]
        if self.path is not None or in_notebook():
            figure = self.draw()
            if self.path is not None:
                figure.savefig(self.path, dpi=DPI)
            if in_notebook():
                self._show(figure)

    def draw(self) -> Figure:
        """The curves so far."""
        metrics = self.metrics or (judged_by(self.rows[-1]),)
        figure = Figure((WIDTH * len(metrics), HEIGHT), layout="constrained")
        for metric, ax in zip(metrics, figure.subplots(1, len(metrics), squeeze=False)[0], strict=True):
            plot_curves(self.rows, metric, ax)
            ax.plot(self.rows[-1]["step"], self.rows[-1][metric], "o", color=ax.lines[-1].get_color())
        return figure

    def _show(self, figure: Figure) -> None:
        from IPython.display import Image, display

        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=DPI)
        image = Image(picture.getvalue(), width=round(figure.get_figwidth() * DPI / 2))
        if self._shown is None:
            self._shown = display(image, display_id=True)
        else:
            self._shown.update(image)
