"""A MuJoCo model as the world of a simulated robot: a twin of an arm, made of its MJCF or URDF.

Its joints are those of the robot's config, by name; a prefix may differ (fr3_joint1, joint1). They are driven as by
good servo drives, whatever actuators the model has: the torque that their acceleration needs, gravity and friction
included, within the forces that the model allows. Velocities are followed, positions too, and efforts come on top of
the compensation of gravity, as on arms with torque control.

What the model lacks (a gripper on a bare arm) stands in as a joint that does exactly what it is told. So do the axes of
a Cartesian output: there is no inverse kinematics. Joints that are tied to others (`equality` of MJCF, `mimic` of URDF)
follow by themselves.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robot_bridge.errors import UserError, unknown
from robot_bridge.guards.kinematics import mimics
from robot_bridge.guards.limits import Array
from robot_bridge.paths import POSES, with_numbers
from robot_bridge.robot.robot import Input, Robot
from robot_bridge.simulation.controller import Reference
from robot_bridge.simulation.graphics import choose_gl, no_drawing
from robot_bridge.simulation.world import Step
from robot_bridge.transport import Message

SIZE = (480, 640)  # height and width of pictures
STEP = 0.01  # s between reports of the state, about
STIFFNESS = 0.1  # of a drive: its natural frequency in radians per time step of the model
OVERSPEED = 2.0  # times the speed that the robot's config allows: drives go no faster, whatever is asked
LEAD = 0.05  # rad or m that a drive's set-point may lead a joint that is held fast, where velocities are commanded


def find_model(name: str) -> Path:
    """The file of a model: a path, or the name of one of MuJoCo Menagerie, whose scene it then is.

    Raises:
        UserError: there is none, or Menagerie cannot be had.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix in (".xml", ".urdf", ".mjcf"):
        raise UserError(f"no such model: {path}; expected a MuJoCo XML or URDF file")
    try:
        import mujoco_menagerie as menagerie
    except ImportError:
        raise UserError(
            f"no such model: {name}; expected a MuJoCo XML or URDF file, or a robot of MuJoCo Menagerie, "
            "which needs: pip install 'lapo-tf[twin]'"
        ) from None
    if name not in menagerie.names():
        raise unknown("model file or robot of MuJoCo Menagerie", name, menagerie.names())
    try:
        robot = menagerie.get(name)
        folder = robot.path()
    except menagerie.MenagerieError as error:
        raise UserError(f"--model {name}: {' '.join(str(error).split())}") from None
    files = {entry.name: folder / entry.file for entry in robot.entry_points}
    return next(files[key] for key in (robot.default_scene, robot.default_model) if key and files[key].is_file())


class Model:
    """A model, simulated."""

    def __init__(
        self,
        path: Path,
        robot: Robot,
        *,
        lock_step: bool = False,
        drawn: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """
        Args:
            path: MJCF, or URDF; meshes of a URDF that are not found are left out.
            robot: names the joints, the topics of objects, and the rate.
            lock_step: steps are whole control steps, of the robot's rate.
            drawn: pictures are wanted.
            say: is told what of the robot the model lacks.

        Raises:
            UserError: no MuJoCo; no such file, it cannot be read, or none of its joints is the robot's.
        """
        if drawn:
            choose_gl()
        try:
            import mujoco
        except ImportError:
            raise UserError("a model needs MuJoCo: pip install 'robot-bridge[workspace]'") from None
        self._mujoco = mujoco
        try:
            self.model: Any = _compiled(mujoco, path)
        except (ValueError, ET.ParseError, OSError) as error:
            raise UserError(f"MuJoCo cannot read {path} ({str(error).splitlines()[0]})") from None
        self.data: Any = mujoco.MjData(self.model)
        self.name, self.max_steps = path.stem, math.inf
        m = self.model
        m.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_ACTUATION  # the drives here take their place
        self.dt = 1.0 / robot.rate
        self._parts = 1 if lock_step else max(1, round(self.dt / STEP))
        self.step_dt = self.ahead = self.dt / self._parts
        self._substeps = max(1, round(self.step_dt / m.opt.timestep))
        m.opt.timestep = self.step_dt / self._substeps
        self._frequency = STIFFNESS / m.opt.timestep
        self._part = 0  # of the present control step
        single = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
        self._joints = {m.joint(i).name: m.joint(i) for i in range(m.njnt) if m.jnt_type[i] in single}
        names = list(robot.joints.values())
        self._robot, axes = robot, set(robot.axes())
        found = _matched(names, list(self._joints), path, say, needed=len(axes) < len(names))
        self._there = np.array([i for i, name in enumerate(found) if name is not None], np.intp)
        """Those of the robot's joints that the model has."""
        mine = [self._joints[name] for name in found if name is not None]
        self._q = np.array([joint.qposadr[0] for joint in mine], np.intp)
        self._v = np.array([joint.dofadr[0] for joint in mine], np.intp)
        self._names = {joint: name for name, joint in zip(names, found, strict=True) if joint is not None}
        self._forces = _forces(mujoco, m, mine)
        self._robot_names, self._missing = names, np.array([name is None for name in found])
        limits = robot.limits
        self._fastest = np.full(len(names), np.inf) if limits is None else OVERSPEED * limits.velocity
        self._standing = np.zeros(len(names)) if limits is None else np.clip(0.0, limits.low, limits.high)
        self._target, self._speed = np.zeros((2, len(names)))  # positions that the drives keep, and their change per s
        self._objects = {source.topic: _body(m, source) for source in robot.inputs if source.type in POSES}
        for source in robot.inputs:
            known = all(name.rpartition("/")[0] in axes for name in source.fields)
            if source.fields and self._objects.get(source.topic) is None and not known:
                say(f"note: nothing in {path.name} stands for {source.topic}: publish it yourself")
        self._pictures = Pictures(mujoco, m) if drawn else None
        self.reset(0)

    # World ------------------------------------------------------------------------------------------------------------

    def reset(self, seed: int) -> None:
        m = self.model
        self._mujoco.mj_resetData(m, self.data)
        if m.nkey:  # of several, the one called home
            names = [m.key(i).name for i in range(m.nkey)]
            self._mujoco.mj_resetDataKeyframe(m, self.data, names.index("home") if "home" in names else 0)
        else:
            for joint in self._joints.values():
                if m.jnt_limited[joint.id]:
                    address = joint.qposadr[0]
                    self.data.qpos[address] = np.clip(self.data.qpos[address], *m.jnt_range[joint.id])
        self._target[:], self._speed[:], self._part = self._standing, 0.0, 0
        self._target[self._there] = self.data.qpos[self._q]
        self._mujoco.mj_forward(m, self.data)

    def step(self, reference: Reference) -> Step:
        before = self._target.copy()
        for k in range(self._substeps):
            self._aim(reference, (self._substeps - 1 - k) * self.model.opt.timestep)
            self._drive(reference)
            self._mujoco.mj_step(self.model, self.data)
        self._speed = (self._target - before) / self.step_dt
        self._part = (self._part + 1) % self._parts
        return Step(ended=self._part == 0)

    def _aim(self, reference: Reference, left: float) -> None:
        """Move the positions that the drives keep by one time step; `left` s are left of the reference's step."""
        h, q, most = self.model.opt.timestep, self.position, self._fastest
        speed, before = np.clip(np.nan_to_num(reference.velocity), -most, most), self._target
        placed, turning = ~np.isnan(reference.position), ~np.isnan(reference.velocity)
        lead = before + speed * h
        lead = np.where(self._missing, lead, np.clip(lead, q - LEAD, q + LEAD))
        self._target = np.where(placed, reference.position - speed * left, np.where(turning, lead, before))
        self._target = np.clip(self._target, before - most * h, before + most * h)
        self._target = np.where(np.isnan(reference.effort), self._target, q)

    def _drive(self, reference: Reference) -> None:
        """The forces of one time step, by the inverse dynamics of the acceleration that each joint needs."""
        data, w, here, there = self.data, self._frequency, self._v, self._there
        speed = np.clip(np.nan_to_num(reference.velocity), -self._fastest, self._fastest)[there]
        error = self._target[there] - data.qpos[self._q]
        acceleration, torque = np.zeros((2, self.model.nv))
        acceleration[here] = 2.0 * w * (speed - data.qvel[here]) + w * w * error
        self._mujoco.mj_mulM(self.model, data, torque, acceleration)
        effort, gravity = reference.effort[there], data.qfrc_bias[here]
        driven = torque[here] + gravity - data.qfrc_passive[here]
        driven = np.where(np.isnan(effort), driven, effort + gravity)
        data.qfrc_applied[here] = np.clip(driven, -self._forces, self._forces)

    @property
    def position(self) -> Array:
        position = self._target.copy()  # of joints that the model lacks
        position[self._there] = self.data.qpos[self._q]
        return position

    def numbers(self) -> dict[str, float]:
        data, numbers = self.data, {}
        for name, joint in self._joints.items():
            told, q, v = self._names.get(name, name), joint.qposadr[0], joint.dofadr[0]
            numbers[f"{told}/position"], numbers[f"{told}/velocity"] = float(data.qpos[q]), float(data.qvel[v])
            numbers[f"{told}/effort"] = float(data.qfrc_applied[v])
        for i, name in enumerate(self._robot_names):
            if self._missing[i]:
                numbers[f"{name}/position"], numbers[f"{name}/velocity"] = float(self._target[i]), float(self._speed[i])
                numbers[f"{name}/effort"] = 0.0
        return numbers

    def message(self, source: Input) -> Message | None:
        body = self._objects.get(source.topic)
        if body is None:
            return self._told_of_axes(source)
        w, x, y, z = self.data.xquat[body].tolist()
        position = dict(zip("xyz", self.data.xpos[body].tolist(), strict=True))
        message: Message = {"position": position, "orientation": {"x": x, "y": y, "z": z, "w": w}}
        for part in reversed(POSES[source.type].split(".")):
            message = {part: message} if part else message
        return message

    def _told_of_axes(self, source: Input) -> Message | None:
        """What an input says of axes that stand in."""
        joints, position = list(self._robot.joints), self.position
        places = {f"{name}/position": position[joints.index(name)] for name in self._robot.axes()}
        if not all(name in places for name in source.fields):
            return None
        said = {path: self._robot.unit(name, source).said(places[name]) for name, path in source.fields.items()}
        return with_numbers({}, said)

    def truth(self) -> tuple[Array, Array] | None:
        velocity = self._speed.copy()
        velocity[self._there] = self.data.qvel[self._v]
        return self.position, velocity

    def score(self, total: float) -> float:
        return total

    @property
    def scene(self) -> Any:
        return self

    def frame(self, *, now: bool) -> Array:
        return self.draw(self.data.qpos) if now else self.data.qpos.copy()

    def draw(self, frame: Array) -> Array:
        if self._pictures is None:
            raise ValueError("made without drawn=True")
        return self._pictures.draw(frame)

    def close(self) -> None:
        if self._pictures is not None:
            self._pictures.close()


class Pictures:
    """Pictures of a model, from where MuJoCo's own viewer looks at first."""

    def __init__(self, mujoco: Any, model: Any) -> None:
        """
        Raises:
            UserError: MuJoCo cannot draw on this machine.
        """
        self._model, self._data, self._mujoco = model, mujoco.MjData(model), mujoco
        try:
            self._renderer = mujoco.Renderer(model, *SIZE)
        except Exception as error:  # each of MuJoCo's backends fails in its own way
            raise no_drawing(error) from None
        self._camera = mujoco.MjvCamera()
        mujoco.mjv_defaultFreeCamera(model, self._camera)

    def draw(self, position: Array) -> Array:
        """The picture [height, width, 3] of joint positions [nq]."""
        self._data.qpos[:] = position
        self._mujoco.mj_forward(self._model, self._data)
        self._renderer.update_scene(self._data, self._camera)
        return self._renderer.render()

    def close(self) -> None:
        """Free the graphics."""
        self._renderer.close()


def _compiled(mujoco: Any, path: Path) -> Any:
    root = ET.fromstring(path.read_bytes())
    if root.tag != "robot":
        return mujoco.MjModel.from_xml_path(str(path))
    tied = mimics(root)
    spec = mujoco.MjSpec.from_string(_readable(root, path.parent))
    for name, (leader, multiplier, offset) in tied.items():
        tie = spec.add_equality(type=mujoco.mjtEq.mjEQ_JOINT, name1=name, name2=leader)
        tie.data[:5] = [offset, multiplier, 0.0, 0.0, 0.0]
    return spec.compile()


def _readable(robot: ET.Element, folder: Path) -> str:
    """A URDF as MuJoCo reads it: links keep their names, meshes have full paths, and those not to be had are gone."""
    for link in robot.iter("link"):
        for part in [*link.findall("visual"), *link.findall("collision")]:
            mesh = part.find("geometry/mesh")
            if mesh is None:
                continue
            found = _mesh(mesh.get("filename", ""), folder)
            if found is None:
                link.remove(part)
            else:
                mesh.set("filename", str(found))
    for joint in robot.iter("joint"):
        for mimic in joint.findall("mimic"):
            joint.remove(mimic)
    for extra in robot.findall("mujoco"):
        robot.remove(extra)
    options = {"fusestatic": "false", "strippath": "false", "discardvisual": "false", "balanceinertia": "true"}
    ET.SubElement(ET.SubElement(robot, "mujoco"), "compiler", options)
    return ET.tostring(robot, encoding="unicode")


def _mesh(name: str, folder: Path) -> Path | None:
    """The file of a URDF's mesh. package:// names a folder of ROS: it is looked for above the URDF."""
    package = name.startswith("package://")
    path = Path(name.removeprefix("package://").removeprefix("file://"))
    if path.suffix.lower() not in (".stl", ".obj"):
        return None
    places = [above / path for above in folder.resolve().parents] if package else [folder.resolve() / path]
    return next((place for place in places if place.is_file()), None)


def _matched(
    names: Sequence[str], known: Sequence[str], path: Path, say: Callable[[str], None], *, needed: bool = True
) -> list[str | None]:
    """The model's joint for each of the robot's: of the same name, or but for a prefix. `needed`: at least one."""
    found: list[str | None] = []
    for name in names:
        near = [k for k in known if name.endswith(("_" + k, "/" + k)) or k.endswith(("_" + name, "/" + name))]
        near = [k for k in near if k not in names]
        found.append(name if name in known else near[0] if len(near) == 1 else None)
    missing = [name for name, joint in zip(names, found, strict=True) if joint is None]
    if needed and len(missing) == len(names):
        there = ", ".join(known) or "none"
        raise UserError(f"{path} has none of the robot's joints {', '.join(names)}; it has: {there}")
    if missing:
        say(f"note: {path.name} lacks {', '.join(missing)}: what is commanded of them is what they do")
    return found


def _forces(mujoco: Any, m: Any, joints: Sequence[Any]) -> Array:
    """What each joint's drive can do at most, N m or N: as the joint says, or else its actuator."""
    forces = np.full(len(joints), np.inf)
    for i, joint in enumerate(joints):
        mine = (m.actuator_trntype == mujoco.mjtTrn.mjTRN_JOINT) & (m.actuator_trnid[:, 0] == joint.id)
        limited = np.flatnonzero(mine & (m.actuator_forcelimited == 1))
        if m.jnt_actfrclimited[joint.id]:
            forces[i] = m.jnt_actfrcrange[joint.id, 1]
        elif len(limited):
            forces[i] = m.actuator_forcerange[limited[0], 1] * abs(m.actuator_gear[limited[0], 0])
    return forces


def _body(m: Any, source: Input) -> int | None:
    """The body that a topic is named after: that of /kettle/pose is `kettle`."""
    bodies = {m.body(i).name: i for i in range(m.nbody)}
    return next((bodies[part] for part in reversed(source.topic.split("/")) if part in bodies), None)
