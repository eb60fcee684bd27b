"""A model of one's own before it is in a bundle, an ONNX file or a folder with a SavedModel, and its tensors."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from robot_bridge.errors import UserError
from robot_bridge.robot.description import ONNX_MODEL
from robot_bridge.robot.models import TYPES, OnnxModel


@dataclass(frozen=True)
class Tensor:
    """An input; a dimension that is left open is None."""

    name: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"'{self.name}' [{', '.join('any' if n is None else str(n) for n in self.shape)}]"


@dataclass(frozen=True)
class Fit:
    """How a policy's numbers go through a model.

    Attributes:
        shape: of the input tensor, batch dimension included.
        seen, planned: shapes of what the policy sees and plans: [obs] or [history, obs], [act] or [chunk, act].
        output: name of the output tensor.
    """

    shape: tuple[int, ...]
    seen: tuple[int, ...]
    planned: tuple[int, ...]
    output: str


class Candidate(Protocol):
    """A model that can be tried.

    Attributes:
        name: to name it by in messages.
        inputs, outputs: its tensors.
    """

    name: str
    inputs: list[Tensor]
    outputs: list[str]

    def run(self, values: np.ndarray, output: str) -> np.ndarray:
        """An output, for the values of the only input, batch dimension included."""

    def bundled(self, fit: Fit) -> tuple[dict[str, Any], bytes]:
        """What `robot_bridge.robot.description.Model` says of the bundle's file, and its content."""


def open_model(path: Path) -> Candidate:
    """The model at a path.

    Raises:
        UserError: there is none of a kind that is known, or what runs it is missing.
    """
    if path.is_dir() and (path / "saved_model.pb").is_file():
        return SavedModel(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder without saved_model.pb: expected an .onnx file or a SavedModel's folder")
    if not path.is_file():
        raise UserError(f"no file {path}: expected an .onnx file or a SavedModel's folder")
    return Onnx(path)


class Onnx:
    """An ONNX file, which goes into the bundle as it is."""

    def __init__(self, path: Path) -> None:
        self.name, self._content = str(path), path.read_bytes()
        self._model = OnnxModel(self.name, self._content)
        for kind, tensors in (("input", self._model.inputs), ("output", self._model.outputs)):
            for name, tensor in tensors.items():
                if tensor.type not in TYPES and (kind == "input" or len(tensors) == 1):
                    raise UserError(f"{path}: {kind} '{name}' is a {tensor.type}: expected float or double")
        self.inputs = [
            Tensor(name, tuple(n if isinstance(n, int) else None for n in tensor.shape))
            for name, tensor in self._model.inputs.items()
        ]
        self.outputs = [name for name, tensor in self._model.outputs.items() if tensor.type in TYPES]

    def run(self, values: np.ndarray, output: str) -> np.ndarray:
        try:
            return self._model.run(self.inputs[0].name, values, output)
        except Exception as error:  # onnxruntime's kinds of them are not public
            text = " ".join(str(error).split())[-200:]
            raise UserError(f"{self.name} cannot be run with an input of shape {values.shape} ({text})") from None

    def bundled(self, fit: Fit) -> tuple[dict[str, Any], bytes]:
        entries = {"file": ONNX_MODEL, "input": self.inputs[0].name, "output": fit.output, "shape": fit.shape}
        return entries, self._content


class SavedModel:
    """A folder that TensorFlow or Keras wrote. It becomes a LiteRT model: a robot's computer needs no TensorFlow."""

    def __init__(self, path: Path) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        self.name = str(path)
        try:
            with silenced():
                import tensorflow as tf

                self._loaded: Any = tf.saved_model.load(self.name)
        except ImportError:
            raise UserError(
                f"{path} is a SavedModel, which TensorFlow converts: pip install tensorflow (here, not on the robot's "
                "computer), or bundle an ONNX file"
            ) from None
        except Exception as error:  # of many kinds
            raise UserError(f"{path} cannot be loaded as a SavedModel ({str(error).splitlines()[0][:160]})") from None
        signatures = list(self._loaded.signatures)
        if not signatures:
            raise UserError(f"{path} has no signature: save it with signatures=…, or by Keras' model.export")
        self._tf = tf
        self._signature = "serving_default" if "serving_default" in signatures else signatures[0]
        function = self._loaded.signatures[self._signature]
        specs = function.structured_input_signature[1]
        for name, spec in specs.items():
            if spec.dtype not in (tf.float32, tf.float64):
                raise UserError(f"{path}: input '{name}' is a {spec.dtype.name}: expected float32 or float64")
        self.inputs = [Tensor(name, tuple(spec.shape)) for name, spec in specs.items() if spec.shape.rank is not None]
        self._types = {name: spec.dtype for name, spec in specs.items()}
        self.outputs = list(function.structured_outputs)

    def run(self, values: np.ndarray, output: str) -> np.ndarray:
        try:
            return np.asarray(self._call(self._tf.constant(values))[output])
        except self._tf.errors.InvalidArgumentError as error:
            text = " ".join(str(error).split())[:200]
            raise UserError(f"{self.name} cannot be run with an input of shape {values.shape} ({text})") from None

    def _call(self, values: Any) -> Any:
        name = self.inputs[0].name
        return self._loaded.signatures[self._signature](**{name: self._tf.cast(values, self._types[name])})

    def bundled(self, fit: Fit) -> tuple[dict[str, Any], bytes]:
        tf, module = self._tf, self._tf.Module()

        def act(observation: Any) -> Any:
            answer = self._call(tf.reshape(observation, fit.shape))[fit.output]
            return {"action": tf.reshape(tf.cast(answer, tf.float32), (1, *fit.planned))}

        module.model = self._loaded
        module.act = tf.function(act, [tf.TensorSpec((1, *fit.seen), tf.float32, name="observation")])
        with tempfile.TemporaryDirectory() as folder, silenced():
            try:
                tf.saved_model.save(module, folder, signatures={"act": module.act})
                return {}, tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["act"]).convert()
            except Exception as error:  # the converter raises its own and MLIR's kinds
                raise UserError(
                    f"LiteRT cannot hold {self.name} ({str(error).splitlines()[0][:80]}…): convert it to ONNX "
                    "(python -m tf2onnx.convert --saved-model …) and bundle that"
                ) from None


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Shut stderr for a while, also to native code, whose chatter no log level stops: the descriptor is turned away."""
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
