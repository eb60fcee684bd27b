"""A trained agent as a SavedModel, a LiteRT model or an ONNX model, and the comparison of each with the agent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lapo_tf.agents import Agent
from lapo_tf.errors import UserError

MAX_DIFFERENCE = 1e-5
"""Largest difference of an action, in the action's own units, between the trained and the exported policy."""


def write_saved_model(agent: Agent, novelty: Any, folder: Path) -> None:
    """A SavedModel with the endpoints `serve`, raw observations [batch, obs] -> raw actions; `act`, the same for one
    observation, by name; and `novelty`."""

    def spec(batch: int | None) -> list[Any]:
        return [tf.TensorSpec([batch, agent.spec.obs_dim], tf.float32, name="observation")]

    archive = keras.export.ExportArchive()
    archive.track(agent)
    archive.add_endpoint("serve", agent._raw_action, spec(None))
    archive.add_endpoint("act", tf.function(lambda observation: {"action": agent._raw_action(observation)}, spec(1)))
    archive.add_endpoint("novelty", novelty)
    archive.write_out(str(folder), verbose=False)


def to_litert(saved_model: Path, endpoint: str) -> bytes:
    """An endpoint as a LiteRT model.

    By way of a SavedModel, because converting the function itself loses Keras 3's weights without a word.
    """
    try:
        return tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=[endpoint]).convert()
    except Exception as error:  # the converter raises its own and MLIR's kinds
        raise UserError(f"LiteRT cannot hold this policy ({str(error).splitlines()[0][:200]})") from error


def compare(name: str, infer: Any, expected: np.ndarray, observations: np.ndarray) -> float:
    """The largest difference of actions; `infer` gives one for one observation.

    Raises:
        UserError: it is above `MAX_DIFFERENCE`, or an action is not finite, or they do not depend on the observation
            although the policy's do.
    """
    actions = np.stack([infer(observation) for observation in observations])
    if not np.isfinite(actions).all():
        raise UserError(f"the exported {name} gives NaN or infinite actions: not written; report it with the run")
    difference = float(np.abs(actions - expected).max())
    if difference > MAX_DIFFERENCE:
        constant = np.ptp(actions, axis=0).max() == 0.0 < np.ptp(expected, axis=0).max()
        why = "its actions are all the same, so its weights were lost" if constant else "its actions are others"
        raise UserError(
            f"the exported {name} differs from the trained policy by up to {difference:.2g} "
            f"(at most {MAX_DIFFERENCE:g} is right): {why}; not written"
        )
    return difference


def write_onnx(agent: Agent, path: Path) -> None:
    """An ONNX model `observation` [1, obs] -> `action` [1, act]; ONNX has no op for broadcasts of unknown batches."""
    try:
        import tf2onnx
    except ImportError as error:
        raise UserError(f"--onnx needs {error.name}: pip install 'lapo-tf[onnx]'") from None

    signature = [tf.TensorSpec([1, agent.spec.obs_dim], tf.float32, name="observation")]
    function = tf.function(lambda observation: {"action": agent._raw_action(observation)}, input_signature=signature)
    tf2onnx.convert.from_function(function, signature, opset=17, output_path=str(path))


def onnx_policy(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The ONNX model as a function of one observation."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda observation: session.run(["action"], {"observation": observation[None]})[0][0]
