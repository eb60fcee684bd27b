"""A policy bundle: a learned policy as one folder, and all that a robot needs to know to run it.

    policy.tflite     raw observation [1, obs] -> raw action [1, act]; scaling and bounds are inside
    novelty.tflite    raw observation, action -> scores [1, k] of how unlike the training data they are
    policy.json       the layout of both by name, units, rate, task, score, provenance, thresholds, checksums

`python -m lapo_tf.export RUN` writes it. Running it takes numpy and `ai-edge-litert`, nothing else.

`python -m robot_bridge.bundle` writes one of a model of one's own, which `Model` describes. There may be `policy.onnx`
in place of `policy.tflite`, for which one needs `onnxruntime`; and `novelty.npz`, a `Whitening`, or no novelty at all.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from robot_bridge.errors import UserError
from robot_bridge.robot.description import DESCRIPTION, MODEL, NOVELTY, ONNX_MODEL, WHITENING, Description, Model
from robot_bridge.robot.models import LiteRtModel, OnnxModel, OnnxPolicy, Runnable
from robot_bridge.robot.novelty import Whitening

# How far beyond the data's extremes a number may lie before `Policy.outside` names it: a multiple of their distance
# (finer differences are the novelty scores' business), and for numbers that never changed in the data a share of their
# size (float32 rounding and a little noise).
RANGE_SLACK = 1.0
CONSTANT_SLACK = 1e-3


class Policy:
    """A loaded bundle. Its methods may be called from one thread at a time."""

    def __init__(self, description: Description, models: dict[str, bytes]) -> None:
        """
        Args:
            description: says what the models are.
            models: contents of the bundle's files, by name.

        Raises:
            UserError: they are not what the description says.
        """
        self.description = d = description
        obs, act = len(d.observations), len(d.actions)
        self.seen = (obs,) if d.model.history == 1 else (d.model.history, obs)
        """Shape of what `infer` takes."""
        self._planned = (act,) if d.model.chunk == 1 else (d.model.chunk, act)
        self._policy = _policy(d.model, models[d.model.file], self.seen, self._planned)
        self._scores: Runnable | Whitening | None = None
        if NOVELTY in models:
            inputs = {"observation": (1, obs), "action": (1, act)}
            self._scores = LiteRtModel(NOVELTY, models[NOVELTY], inputs, "novelty", (1, len(d.novelty)))
        elif WHITENING in models:
            self._scores = Whitening.from_bytes(models[WHITENING])
        self._thresholds = np.array([score.threshold for score in d.novelty], np.float32)
        self._constants = {i: e.constant for i, e in enumerate(d.observations) if e.constant is not None}
        low, high = (np.array([getattr(e, end) for e in d.observations]) for end in ("low", "high"))
        size = np.maximum(1.0, np.maximum(np.abs(low), np.abs(high)))
        slack = np.maximum(RANGE_SLACK * (high - low), CONSTANT_SLACK * size)
        self._low, self._high = low - slack, high + slack
        self._bounds = [np.array([getattr(a, end) for a in d.actions], np.float32) for end in ("low", "high")]

    @staticmethod
    def load(folder: Path | str) -> Policy:
        """Load a bundle, verifying its checksums, version and shapes.

        Raises:
            UserError: there is none, or it is damaged.
        """
        folder = Path(folder)
        description = Description.read(folder)
        novelty = () if not description.novelty else (WHITENING,) if WHITENING in description.sha256 else (NOVELTY,)
        models = {}
        for name in (description.model.file, *novelty):
            try:
                models[name] = (folder / name).read_bytes()
            except FileNotFoundError:
                raise UserError(f"{folder} has no {name}: export the bundle again") from None
            found, said = hashlib.sha256(models[name]).hexdigest(), str(description.sha256.get(name))
            if found != said:
                raise UserError(
                    f"{folder / name} has sha256 {found[:12]}…, but {DESCRIPTION} says {said[:12]}…: "
                    "it was changed or cut short; copy or export the bundle again"
                )
        return Policy(description, models)

    def infer(self, observation: np.ndarray) -> np.ndarray:
        """The raw action [act], float32, for a raw observation [obs].

        A policy with a history takes [history, obs], oldest first; one with chunks gives [chunk, act], first one first.

        Raises:
            ValueError: the observation has another shape.
        """
        actions, (low, high) = self.raw(observation), self._bounds
        if self.description.model.normalised:
            actions = low + 0.5 * (actions + 1.0) * (high - low)
        return actions if self.description.model.bounded else np.clip(actions, low, high)

    def raw(self, observation: np.ndarray) -> np.ndarray:
        """What the model itself says: perhaps normalised, perhaps beyond the bounds; otherwise as `infer`."""
        return self._policy(self._checked(observation, self.seen)).reshape(self._planned)

    def repeated(self, observation: np.ndarray) -> np.ndarray:
        """What `infer` takes at the beginning, when there is no other observation [obs] yet."""
        return np.broadcast_to(observation, self.seen)

    def novelty(self, observation: np.ndarray, action: np.ndarray) -> np.ndarray:
        """The novelty scores [k] of an observation [obs] and an action [act], in units of their thresholds.

        Above 1 is unlike the training data. A bundle without scores says 0.
        """
        values = self._checked(observation, (len(self.description.observations),))
        if self._scores is None:
            return np.zeros(1, np.float32)
        if isinstance(self._scores, Whitening):
            return self._scores.score(values[None]) / self._thresholds
        return self._scores(values, np.asarray(action, np.float32)) / self._thresholds

    def _checked(self, observation: np.ndarray, expected: tuple[int, ...]) -> np.ndarray:
        values = np.asarray(observation, np.float32)
        if values.shape != expected:
            raise ValueError(f"observation of shape {values.shape}: expected {expected}")
        return values

    def observation(self) -> np.ndarray:
        """A new observation [obs], float64: the task's constants in place, NaN where the robot has to fill in."""
        values = np.full(len(self.description.observations), np.nan)
        for index, constant in self._constants.items():
            values[index] = constant
        return values

    def outside(self, observation: np.ndarray) -> list[str]:
        """Names of the numbers that lie beyond the training data's extremes by more than `RANGE_SLACK`."""
        beyond = (observation < self._low) | (observation > self._high)
        return [self.description.observations[i].name for i in np.flatnonzero(beyond)]


def _policy(model: Model, content: bytes, seen: tuple[int, ...], planned: tuple[int, ...]) -> Runnable:
    """The policy's model, loaded: what is `seen` -> what is `planned`, or as many numbers in a row."""
    if model.file == ONNX_MODEL:
        return OnnxPolicy(OnnxModel(ONNX_MODEL, content), model.input, model.shape or (1, *seen), model.output)
    return LiteRtModel(MODEL, content, {model.input: (1, *seen)}, model.output, (1, *planned))
