"""The kitchen in slices of its control step, for simulations in real time in which commands come at any moment."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from lapo_tf.envs.kitchen import FRAME_SKIP, MAX_SPEED, KitchenEnv, completed

SLICES = 4  # of 0.02 s in a control step of 0.08 s


class SlicedKitchen(KitchenEnv):
    """`KitchenEnv`, stepped in `SLICES` slices. With one and the same action in all of them it is the same.

    The set-point of a control step stays anchored in the reading at its beginning, while the velocity may change.
    """

    slice_dt = 0.002 * FRAME_SKIP / SLICES
    _slice = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self._slice = 0
        return super().reset(seed=seed, options=options)

    def slice(self, action: np.ndarray | None) -> tuple[np.ndarray, float, bool, bool]:
        """One slice: observation [60], reward, whether all is done, whether this ended a control step.

        Without an action the servos keep their set-points: an action of zeros would set them to the reading again and
        again, and the arm would sink slowly under its weight.
        """
        if self._slice == 0:
            self._anchor = self._reading[:9].copy()
        if action is not None:
            velocity = MAX_SPEED * np.clip(action, -1.0, 1.0)
            self.data.ctrl[:] = np.clip(self._anchor + velocity * self.dt, self._position_low, self._position_high)
        mujoco.mj_step(self.model, self.data, nstep=FRAME_SKIP // SLICES)
        self._slice = (self._slice + 1) % SLICES
        observation = self._observe()
        if self._slice:
            return observation, 0.0, False, False
        done = [task for task, at in zip(self._left, completed(self._reading, self._left), strict=True) if at]
        self._left = [task for task in self._left if task not in done]
        return observation, float(len(done)), not self._left, True
