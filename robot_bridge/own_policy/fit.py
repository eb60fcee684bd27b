"""Whether a model's tensors can hold a policy's observations and actions, and with which history and chunk."""

from __future__ import annotations

import numpy as np

from robot_bridge.errors import UserError, unknown
from robot_bridge.own_policy.models import Candidate, Fit, Tensor


def fit(
    model: Candidate, obs: int, act: int, *, history: int | None, chunk: int | None, output: str | None
) -> tuple[Fit, int, int]:
    """How observations of `obs` and actions of `act` numbers go through a model, its history and its chunk.

    Args:
        model: is run once.
        obs, act: as the file of numbers says.
        history, chunk: None where the model's shapes tell.
        output: None for the only one.

    Raises:
        UserError: they do not.
    """
    if len(model.inputs) != 1:
        listed = ", ".join(map(str, model.inputs)) or "none"
        raise UserError(
            f"{model.name} has the inputs {listed}: expected one, of numbers; a policy of images, or with a state that "
            "it gives back, does not fit: wrap it so that one input holds the history"
        )
    (tensor,) = model.inputs
    history, shape = _input(model.name, tensor, obs, history)
    if output is None and len(model.outputs) != 1:
        raise UserError(f"{model.name} has the outputs {', '.join(model.outputs) or 'none'}: choose one by --output")
    output = output or model.outputs[0]
    if output not in model.outputs:
        raise unknown("output", output, model.outputs)
    answer = model.run(np.zeros(shape, np.float32), output).shape
    chunk = _output(model.name, output, answer, act, chunk)
    seen = (obs,) if history == 1 else (history, obs)
    return Fit(shape, seen, (act,) if chunk == 1 else (chunk, act), output), history, chunk


def _input(name: str, tensor: Tensor, obs: int, history: int | None) -> tuple[int, tuple[int, ...]]:
    """History, and shape of the input."""
    said = f"{name}: the input is {tensor}"
    if len(tensor.shape) not in (2, 3):
        raise UserError(f"{said}: expected [batch, history * observation] or [batch, history, observation]")
    batch, *rest = tensor.shape
    if batch not in (1, None):
        raise UserError(f"{said}: expected a batch of 1, or of any size; export the model again with one of these")
    if len(rest) == 2:
        steps, width = rest
        if width not in (obs, None):
            order = "; is it turned round?" if steps == obs else ""
            raise UserError(f"{said}: its last dimension is {width}, but {obs} observations are named{order}")
        if steps is not None and history not in (steps, None):
            raise UserError(f"{said}: it holds {steps} observations, but --history is {history}")
        history = steps or history or 1
        return history, (1, history, obs)
    (width,) = rest
    if width is not None and history is None and width % obs == 0:
        history = width // obs
    history = history or 1
    if width not in (history * obs, None):
        times = f"{history} x {obs} = {history * obs}" if history > 1 else str(obs)
        raise UserError(f"{said}: it holds {width} numbers, but {times} are named: correct the file, or give --history")
    return history, (1, history * obs)


def _output(name: str, output: str, shape: tuple[int, ...], act: int, chunk: int | None) -> int:
    """The chunk."""
    said = f"{name}: the output '{output}' is {list(shape)} for one observation"
    if len(shape) not in (2, 3) or shape[0] != 1:
        raise UserError(f"{said}: expected [1, actions], [1, chunk * actions] or [1, chunk, actions]")
    if len(shape) == 3 and shape[2] != act:
        order = "; is it turned round?" if shape[1] == act else ""
        raise UserError(f"{said}: its last dimension is {shape[2]}, but {act} actions are named{order}")
    found, rest = divmod(int(np.prod(shape)), act)
    if rest or found == 0:
        raise UserError(f"{said}: {int(np.prod(shape))} numbers, but {act} actions are named")
    if chunk not in (found, None):
        raise UserError(f"{said}: that is a chunk of {found} actions, but --chunk is {chunk}")
    return found
