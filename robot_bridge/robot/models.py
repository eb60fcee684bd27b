"""Runs the models of a bundle: LiteRT's and ONNX's. Each takes one moment, without its batch dimension."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np

from robot_bridge.errors import UserError

Shape = tuple[int | None, ...]
TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64}
"""Numbers that an ONNX model may take and give."""


class Runnable(Protocol):
    """A model that is loaded."""

    def __call__(self, *values: np.ndarray) -> np.ndarray:
        """The output, for the values of its inputs."""


class LiteRtModel:
    """A LiteRT model with named inputs and one output, all of float32."""

    def __init__(self, name: str, content: bytes, inputs: Mapping[str, Shape], output: str, size: Shape) -> None:
        """Shapes are those of the tensors, batch dimension included.

        Raises:
            UserError: it is none, or has other tensors.
        """
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter = Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
            (key,) = self._interpreter.get_signature_list()
            signature = self._interpreter.get_signature_runner(key)
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{name} is no LiteRT model ({str(error).splitlines()[0]}): export it again") from None
        into, out = signature.get_input_details(), signature.get_output_details()
        found = {name: tuple(int(n) for n in detail["shape"]) for name, detail in (into | out).items()}
        expected = {**inputs, output: size}
        if found != expected:
            raise UserError(f"{name} has {found}, but policy.json says {expected}: export the bundle again")
        self._inputs = [into[name]["index"] for name in inputs]
        self._output = out[output]["index"]

    def __call__(self, *values: np.ndarray) -> np.ndarray:
        for index, value in zip(self._inputs, values, strict=True):
            self._interpreter.set_tensor(index, value[None])
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)[0]


class OnnxModel:
    """An ONNX model, of whose tensors one is the input and one the output; both of float32 or float64."""

    def __init__(self, name: str, content: bytes) -> None:
        """
        Raises:
            UserError: it is no ONNX model that lies in one file, or there is no runtime for it here.
        """
        try:
            import onnxruntime
        except ImportError:
            raise UserError(
                f"{name} needs onnxruntime, which is not here: pip install 'onnxruntime>=1.20,<1.33'"
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, (os.cpu_count() or 1) // 2)  # the rest is the loop's
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's kinds of them are not public
            raise UserError(_why_not(name, str(error))) from None
        self.inputs: dict[str, Any] = {tensor.name: tensor for tensor in self._session.get_inputs()}
        self.outputs: dict[str, Any] = {tensor.name: tensor for tensor in self._session.get_outputs()}

    def run(self, into: str, values: np.ndarray, out: str) -> np.ndarray:
        """The output tensor of that name, for the input tensor of that name."""
        return self._session.run([out], {into: values.astype(TYPES[self.inputs[into].type])})[0]


class OnnxPolicy:
    """An ONNX model as a policy: values of any shape that its input's can hold -> its output's numbers, as a row."""

    def __init__(self, model: OnnxModel, into: str, shape: tuple[int, ...], out: str) -> None:
        self._model, self._into, self._shape, self._out = model, into, shape, out

    def __call__(self, *values: np.ndarray) -> np.ndarray:
        return self._model.run(self._into, values[0].reshape(self._shape), self._out).astype(np.float32).reshape(-1)


def _why_not(name: str, error: str) -> str:
    """What to say of a model that onnxruntime does not load."""
    if "external" in error.lower() or "model_path must not be empty" in error:
        return (
            f"{name} keeps its weights in another file: write them into one, such as by "
            "torch.onnx.export(…, external_data=False) or onnx.save_model(onnx.load(FILE), OTHER)"
        )
    return f"{PurePath(name).name} is no ONNX model that onnxruntime can run ({' '.join(error.split())[-160:]})"
