"""Small ONNX models whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto
from onnx import helper as h
from onnx import numpy_helper as nh

WEIGHTS = np.float32([[0.1, 0.0], [0.0, -0.2], [0.3, 0.1]])
"""Of three numbers of an observation, for two of an action."""
GROWTH = 0.05
"""By which each action of a chunk is above the one before."""


def answer(history: np.ndarray, chunk: int) -> np.ndarray:
    """What a model says of [k, 3], in float64: from the newest observation, and 0.01 times the oldest. [chunk, 2]."""
    first = history[-1] @ WEIGHTS.astype(np.float64) + 0.01 * history[0, 0]
    return first + GROWTH * np.arange(chunk)[:, None]


def write(
    path: Path,
    *,
    history: int = 1,
    chunk: int = 1,
    flat: bool = False,
    dynamic: bool = False,
    double: bool = False,
    extra: str = "",
    nan: bool = False,
) -> Path:
    """A model that says `answer`.

    Args:
        path: of the file.
        history, chunk: of the policy.
        flat: tensors are [batch, history * 3] and [batch, chunk * 2].
        dynamic: no dimension but the last is given.
        double: of float64.
        extra: "input", or "output": another one.
        nan: it says NaN.
    """
    kind, number = (TensorProto.DOUBLE, np.float64) if double else (TensorProto.FLOAT, np.float32)
    into: list[int | str | None] = [history, 3] if history > 1 else [3]
    out: list[int | str | None] = [chunk, 2] if chunk > 1 else [2]
    if flat:
        into, out = [history * 3], [chunk * 2]
    if dynamic:
        into, out = ["k" if len(into) > 1 else into[0], *into[1:]], ["n" if len(out) > 1 else out[0], *out[1:]]
    growth = GROWTH * np.arange(chunk)[:, None] + np.zeros(2)
    values = {
        "W": WEIGHTS.astype(number),
        "growth": (growth * (np.nan if nan else 1.0)).astype(number),
        "newest": np.array(history - 1),
        "oldest": np.array(0),
        "steps": np.array([-1, history, 3]),
        "first": np.array([0]),
        "share": np.array(0.01, number),
        "row": np.array([-1, 1, 2]),
        "shape": np.array([-1, *[int(n) for n in ([chunk * 2] if flat else [chunk, 2] if chunk > 1 else [2])]]),
    }
    node = h.make_node
    nodes = [
        node("Reshape", ["obs", "steps"], ["seen"]),
        node("Gather", ["seen", "newest"], ["last"], axis=1),
        node("Gather", ["seen", "oldest"], ["start"], axis=1),
        node("Gather", ["start", "first"], ["number"], axis=1),
        node("Mul", ["number", "share"], ["little"]),
        node("MatMul", ["last", "W"], ["plain"]),
        node("Add", ["plain", "little"], ["sum"]),
        node("Reshape", ["sum", "row"], ["rows"]),
        node("Add", ["rows", "growth"], ["planned"]),
        node("Reshape", ["planned", "shape"], ["actions"]),
    ]
    inputs = [h.make_tensor_value_info("obs", kind, ["batch", *into])]
    outputs = [h.make_tensor_value_info("actions", kind, ["batch", *out])]
    if extra == "input":
        inputs.append(h.make_tensor_value_info("image", kind, ["batch", 3, 64, 64]))
    if extra == "output":
        nodes.append(node("Identity", ["plain"], ["value"]))
        outputs.append(h.make_tensor_value_info("value", kind, ["batch", 2]))
    graph = h.make_graph(nodes, "policy", inputs, outputs, [nh.from_array(v, name) for name, v in values.items()])
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), path)
    return path
