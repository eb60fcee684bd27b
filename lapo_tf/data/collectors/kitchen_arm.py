"""The arm of the kitchen's scripted demonstrator: targets for the hand in, smooth joint-velocity actions out.

A hand that is to move gets a twist towards its target, limited in speed and acceleration, with a slow random wander on
top; damped least squares make joint velocities of it. The set-point leads the wanted joint angles by what damping and
gravity cost, and the action is what brings the environment's set-point, noisy reading + 0.16 a, exactly there. (The
recorded demonstrations do much the same: their set-points carry half of the sensor noise, not all of it.)

Lengths in metres, angles in radians, speeds per second; a control step takes 0.08 s.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco is compiled and has no type stubs)

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from lapo_tf.envs.kitchen import FRAME_SKIP, MAX_SPEED, ROBOT_START

OPEN, CLOSED = 0.04, 0.0  # finger positions
FINGER_STEP = 0.008  # change of the fingers' set-point in a control step

HAND_ACCELERATION = 1.5
TURN_SPEED = 1.5
TURN_ACCELERATION = 4.0
JOINT_SPEED = 1.0  # at which actions come near 1
JOINT_ACCELERATION = 4.0
BRAKING = 0.7  # share of an acceleration that is planned for stopping
GAIN = 4.0  # 1/s, of speed over distance close to a target
WINDUP = 0.12  # by which the wanted joint angles may leave the measured ones, where something holds the arm

DAMPING = 0.03  # of the least squares
TURN_WEIGHT = 0.4  # of orientation (m/rad) beside position in the least squares
POSTURE_GAIN = 1.0  # 1/s, towards the comfortable posture, as far as that does not move the hand
SMOOTHING = 0.5  # weight of a step's new joint velocities
WANDER_MEMORY = 0.9  # of the random wander, from one step to the next


@dataclass(frozen=True)
class Target:
    """Where the hand shall be: position [3], orientation [3, 3], finger opening, and how fast it may go."""

    position: np.ndarray
    rotation: np.ndarray
    fingers: float
    speed: float


@dataclass(frozen=True)
class Posture:
    """Where the arm shall be: joint angles [7] and finger opening."""

    joints: np.ndarray
    fingers: float


@dataclass(frozen=True)
class Style:
    """How the person of one episode moves.

    Attributes:
        pace: factor on speeds.
        wander: standard deviation of the hand's slow random velocity.
        carelessness: standard deviation of places passed on the way.
    """

    pace: float
    wander: float
    carelessness: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Style:
        return cls(float(rng.uniform(0.9, 1.15)), float(rng.uniform(0.01, 0.04)), float(rng.uniform(0.01, 0.03)))


@dataclass(frozen=True)
class Hand:
    """The hand, for given joint angles: position [3], orientation [3, 3], Jacobian [6, 7], and gravity torques [7]."""

    position: np.ndarray
    rotation: np.ndarray
    jacobian: np.ndarray
    gravity: np.ndarray


class Scene:
    """The kitchen as the observations show it: where things are, for smoothed readings of its joints."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model, self._data = model, mujoco.MjData(model)
        self._hand = model.site("end_effector").id
        self._jacobian, self._bias = np.zeros((6, model.nv)), np.zeros(model.nv)
        self.objects: np.ndarray | None = None

    def see(self, objects: np.ndarray) -> None:
        """Take in a noisy reading of the object joints [21]."""
        self.objects = objects.copy() if self.objects is None else self.objects + 0.5 * (objects - self.objects)

    def value(self, joint: int) -> float:
        """Of an object's joint, by its qpos index."""
        assert self.objects is not None
        return float(self.objects[joint - 9])

    def site(self, name: str, joint: int | None = None, value: float = 0.0) -> np.ndarray:
        """Position [3] of a site, or where it would be with qpos[joint] at `value`."""
        self._place()
        if joint is not None:
            self._data.qpos[joint] = value
        mujoco.mj_kinematics(self._model, self._data)
        return self._data.site(name).xpos.copy()

    def on_body(self, name: str, offset: np.ndarray) -> np.ndarray:
        """World position [3] of a point given in a body's frame."""
        self._place()
        mujoco.mj_kinematics(self._model, self._data)
        body = self._data.body(name)
        return body.xpos + body.xmat.reshape(3, 3) @ offset

    def hand(self, joints: np.ndarray) -> Hand:
        """The hand for arm joints [7]."""
        data = self._data
        data.qpos[:7] = joints
        mujoco.mj_kinematics(self._model, data)
        mujoco.mj_comPos(self._model, data)
        mujoco.mj_jacSite(self._model, data, self._jacobian[:3], self._jacobian[3:], self._hand)
        mujoco.mj_rne(self._model, data, 0, self._bias)
        return Hand(
            data.site_xpos[self._hand].copy(),
            data.site_xmat[self._hand].reshape(3, 3).copy(),
            self._jacobian[:, :7].copy(),
            self._bias[:7].copy(),
        )

    def _place(self) -> None:
        self._data.qpos[9:] = self.objects


class Arm:
    """Moves the hand; `hand` is where it is by the latest reading, smoothed."""

    def __init__(self, model: mujoco.MjModel, scene: Scene, style: Style, rng: np.random.Generator) -> None:
        self._scene, self._style, self._rng = scene, style, rng
        self._dt = FRAME_SKIP * model.opt.timestep
        self._stiffness = model.actuator_gainprm[:7, 0].copy()
        self._lag = model.dof_damping[:7] / self._stiffness  # s, by which a joint trails its set-point
        self._low, self._high = (model.jnt_range[:7] + np.array([[0.01, -0.01]])).T
        self._wanted = ROBOT_START[:7].copy()
        self._error = np.zeros(7)  # smoothed reading minus wanted
        self._speed, self._twist = np.zeros(7), np.zeros(6)
        self._wander = np.zeros(3)
        self._fingers = OPEN
        self.posture = self._wanted
        """Joint angles [7] to which the elbow leans where the hand leaves it free."""
        self.hand = scene.hand(self._wanted)

    @property
    def joints(self) -> np.ndarray:
        """Joint angles [7], smoothed."""
        return self._wanted + self._error

    def feel(self, robot: np.ndarray) -> None:
        """Take in a noisy reading [9] of the robot's joints."""
        self._error += 0.25 * (robot[:7] - self._wanted - self._error)
        self._wanted = np.clip(self._wanted, robot[:7] - WINDUP, robot[:7] + WINDUP)
        self.hand = self._scene.hand(self.joints)

    def act(self, target: Target | Posture, robot: np.ndarray) -> np.ndarray:
        """The action [9] for a noisy reading [9] of the robot's joints."""
        speed = self._towards(target) if isinstance(target, Target) else self._travel(target.joints)
        before = self._wanted
        self._wanted = np.clip(before + speed * self._dt, self._low, self._high)
        self._speed = (self._wanted - before) / self._dt
        setpoint = self._wanted + self._lag * self._speed + self.hand.gravity / self._stiffness
        self._fingers += float(np.clip(target.fingers - self._fingers, -FINGER_STEP, FINGER_STEP))
        setpoint = np.concatenate([setpoint, [self._fingers, self._fingers]])
        return np.clip((setpoint - robot) / (MAX_SPEED * self._dt), -1.0, 1.0)

    def solve(self, position: np.ndarray, rotation: np.ndarray, joints: np.ndarray) -> np.ndarray:
        """Joint angles [7] that bring the hand there, or near it, found from the given ones [7]."""
        for _ in range(60):
            hand = self._scene.hand(joints)
            error = np.concatenate([position - hand.position, _rotation_vector(rotation @ hand.rotation.T)])
            if np.abs(error).max() < 2e-3:
                break
            step = self._dt * self._least_squares(joints, hand.jacobian, 0.5 * error / self._dt, np.zeros(7))
            joints = np.clip(joints + _limited(step, 0.3), self._low, self._high)
        return joints

    def _travel(self, joints: np.ndarray) -> np.ndarray:
        """Joint velocities [7] towards a posture: all joints arrive together."""
        away = joints - self._wanted
        speed = _profile(away, float(np.abs(away).max()), self._style.pace * JOINT_SPEED, JOINT_ACCELERATION)
        speed += np.linalg.pinv(self.hand.jacobian[:3], rcond=0.1) @ self._wandering()
        limit = JOINT_ACCELERATION * self._dt
        speed = self._speed + np.clip(speed - self._speed, -limit, limit)
        self._twist = self.hand.jacobian @ speed
        return speed

    def _towards(self, target: Target) -> np.ndarray:
        """Joint velocities [7] that move the hand in a straight line towards a target."""
        away, turn = target.position - self.hand.position, _rotation_vector(target.rotation @ self.hand.rotation.T)
        pace = self._style.pace
        move = _profile(away, float(np.linalg.norm(away)), pace * target.speed, HAND_ACCELERATION) + self._wandering()
        turn = _profile(turn, float(np.linalg.norm(turn)), pace * TURN_SPEED, TURN_ACCELERATION)
        self._twist[:3] += _limited(move - self._twist[:3], HAND_ACCELERATION * self._dt)
        self._twist[3:] += _limited(turn - self._twist[3:], TURN_ACCELERATION * self._dt)
        rest = POSTURE_GAIN * (self.posture - self._wanted)
        speed = self._least_squares(self._wanted, self.hand.jacobian, self._twist, rest)
        speed *= min(1.0, JOINT_SPEED / float(np.abs(speed).max()))
        return self._speed + SMOOTHING * (speed - self._speed)

    def _least_squares(
        self, joints: np.ndarray, jacobian: np.ndarray, twist: np.ndarray, rest: np.ndarray
    ) -> np.ndarray:
        """Joint velocities [7] for a twist [6], by the joints that can still move that way.

        `rest` [7] is what the joints do beside, as far as it does not move the hand.
        """
        weight = np.array([1.0, 1.0, 1.0, *[TURN_WEIGHT] * 3])
        free = np.ones(7, bool)
        speed = np.zeros(7)
        while free.any():
            weighted = weight[:, None] * jacobian[:, free]
            inverse = weighted.T @ np.linalg.inv(weighted @ weighted.T + DAMPING**2 * np.eye(6))
            speed[:] = 0.0
            speed[free] = inverse @ (weight * twist - weighted @ rest[free]) + rest[free]
            after = joints + speed * self._dt
            blocked = free & ((after > self._high) & (speed > 0) | (after < self._low) & (speed < 0))
            if not blocked.any():
                break
            free &= ~blocked
        return speed

    def _wandering(self) -> np.ndarray:
        """A slow random velocity [3] (an Ornstein-Uhlenbeck process), the unsteadiness of a hand."""
        noise = np.sqrt(1 - WANDER_MEMORY**2) * self._style.wander * self._rng.standard_normal(3)
        self._wander = WANDER_MEMORY * self._wander + noise
        return self._wander


def facing(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Orientation [3, 3] of the hand, columns its axes, the third one pointing forward.

    At zero it points along +y, at the counter, with its fingers left and right. Yaw turns it to the left and pitch up;
    roll turns it about its own axis, clockwise as the arm sees it.
    """
    hand = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    (cz, cx, cy), (sz, sx, sy) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    left = np.array([[cz, -sz, 0.0], [sz, cz, 0.0], [0.0, 0.0, 1.0]])
    up = np.array([[1.0, 0.0, 0.0], [0.0, cx, -sx], [0.0, sx, cx]])
    clockwise = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
    return left @ up @ clockwise @ hand


def _profile(away: np.ndarray, distance: float, speed: float, acceleration: float) -> np.ndarray:
    """Velocity towards something `away`: as fast as allowed, and slow enough to stop there."""
    distance += 1e-9
    return away * min(GAIN, speed / distance, float(np.sqrt(2 * BRAKING * acceleration / distance)))


def _limited(vector: np.ndarray, length: float) -> np.ndarray:
    return vector * min(1.0, length / (float(np.linalg.norm(vector)) + 1e-9))


def _rotation_vector(rotation: np.ndarray) -> np.ndarray:
    """Axis times angle [3] of a rotation matrix."""
    quaternion, vector = np.empty(4), np.empty(3)
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector
