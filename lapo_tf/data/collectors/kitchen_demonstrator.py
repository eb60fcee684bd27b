"""A scripted, closed-loop demonstrator for the seven elements of the Franka kitchen.

It sees what a policy sees, the noisy observation of `lapo_tf.envs.kitchen`, and works as a person with a joystick does:
it moves the hand in front of an element's handle, straight at it, grasps it, works it along its joint and lets go. A
*skill* per element is a generator of targets for the arm (`lapo_tf.data.collectors.kitchen_arm`); it goes on when the
observation says that the hand is there or that the element has moved. Pace, unsteadiness and the places passed on the
way differ from episode to episode.

Lengths in metres, angles in radians.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco is compiled and has no type stubs)

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from lapo_tf.data.collectors.kitchen_arm import CLOSED, OPEN, Arm, Posture, Scene, Style, Target, facing
from lapo_tf.envs import MIXED_TASKS
from lapo_tf.envs.kitchen import ELEMENT_GOALS, ELEMENT_INDICES, completed
from lapo_tf.errors import unknown

ATTEMPTS = 3  # at an element
WORK_LIMIT = 50  # steps for which a handle is worked in an attempt
SETTLE = 4  # steps after the last element

USUAL_ORDER = (
    *("microwave", "kettle", "top burner", "bottom burner", "light switch"),
    *("slide cabinet", "hinge cabinet"),
)
"""Microwave, kettle, light switch and slide cabinet as in all 19 recorded demonstrations of D4RL's kitchen-complete,
the burners between. The hinge cabinet comes last, because its open door stands in the slide cabinet's way."""
ELEMENTS_PER_EPISODE = 4
SWAPPED = 0.1  # share of episodes in which two neighbours are to change places

FAST, SLOW = 0.5, 0.2  # m/s
AHEAD = 0.1  # distance from which the hand goes straight at a handle
KNOB_TURNED = -0.72  # rad
KETTLE_POST = np.array([-0.092, 0.0, 0.185])  # left post of its handle, in the kettle's frame
STRETCHED = np.array([-1.66, -1.75, 1.89, -1.57, -0.86, 1.18, 2.5])  # rad, the arm's posture where the kettle goes
KETTLE_CARRIED, KETTLE_DOWN = np.array([-0.23, 0.75, 1.69]), np.array([-0.23, 0.75, 1.62])

Steps = Generator[Target | Posture, None, None]
Place = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Habit:
    """How the arm is held at an element, much as in the recorded demonstrations.

    Attributes:
        facing: orientation of the hand.
        posture: comfortable joint angles at the handle, so that the arm does not end in a posture from which the rest
            of the way is out of reach.
        exit: a place to pass afterwards, so as not to push an opened door shut on the way to the next element.
    """

    facing: np.ndarray
    posture: np.ndarray
    exit: np.ndarray | None = None


# fmt: off
HABITS: dict[str, Habit] = {
    "bottom burner": Habit(facing(), np.array([-1.35, -1.21, 1.5, -2.32, 0.0, 2.0, 1.5])),
    "top burner": Habit(facing(), np.array([-1.27, -0.95, 1.35, -2.22, -0.12, 1.98, 1.4])),
    "light switch": Habit(facing(yaw=-0.15, pitch=0.2), np.array([-1.36, -1.55, 1.32, -2.09, -0.2, 1.7, 1.65])),
    "slide cabinet": Habit(facing(yaw=-0.5, pitch=0.4), np.array([-1.68, -1.23, 0.95, -1.95, -0.5, 1.8, 1.58])),
    "hinge cabinet": Habit(
        facing(pitch=0.3), np.array([-1.38, -1.19, 1.28, -1.46, -0.36, 1.41, 1.52]), np.array([-0.4, 0.15, 2.25])
    ),
    "microwave": Habit(
        facing(yaw=0.25), np.array([-1.34, -1.75, 2.02, -1.23, -0.99, 1.02, 2.65]), np.array([-0.5, 0.1, 1.95])
    ),
    "kettle": Habit(facing(yaw=-0.35), np.array([-0.87, -1.74, 1.93, -2.22, -0.13, 1.21, 2.07])),
}
# fmt: on


def _fixed(place: np.ndarray) -> Place:
    return lambda: place


def draw_elements(rng: np.random.Generator) -> tuple[str, ...]:
    """Four of the seven elements, in their usual order, in some episodes with two neighbours swapped.

    The observation does not tell what comes next, so an order drawn at random leaves a policy little to go by.
    Never the four of kitchen-mixed together: D4RL's data hold parts of that task only.
    """
    while True:
        elements = [USUAL_ORDER[i] for i in sorted(rng.permutation(len(USUAL_ORDER))[:ELEMENTS_PER_EPISODE])]
        if set(elements) != set(MIXED_TASKS):
            break
    if rng.random() < SWAPPED:
        i = int(rng.integers(ELEMENTS_PER_EPISODE - 1))
        if elements[i : i + 2] != list(USUAL_ORDER[-2:]):
            elements[i], elements[i + 1] = elements[i + 1], elements[i]
    return tuple(elements)


class Demonstrator:
    """Does a list of elements, one after the other, in a way of its own."""

    def __init__(self, model: mujoco.MjModel, elements: Sequence[str], rng: np.random.Generator) -> None:
        """
        Args:
            model: the kitchen's, for where its parts are (`KitchenEnv.model`).
            elements: names of `ELEMENT_GOALS` in the order to do them.
            rng: draws the episode's style and its noise.
        """
        self._skills: dict[str, Callable[[], Steps]] = {
            "bottom burner": lambda: self._knob("bottom burner", "knob2_site"),
            "top burner": lambda: self._knob("top burner", "knob4_site"),
            "light switch": self._light_switch,
            "slide cabinet": self._slide_cabinet,
            "hinge cabinet": self._hinge_cabinet,
            "microwave": self._microwave,
            "kettle": self._kettle,
        }
        for element in elements:
            if element not in self._skills:
                raise unknown("kitchen element", element, ELEMENT_GOALS)
        self._rng, self._style = rng, Style.draw(rng)
        self._scene = Scene(model)
        self._arm = Arm(model, self._scene, self._style, rng)
        self._facing = facing()
        self._plan = self._all(elements)

    def act(self, observation: np.ndarray) -> np.ndarray | None:
        """The action [9] in [-1, 1] for an observation [60], once a step; None when all is done."""
        self._scene.see(observation[9:30])
        self._arm.feel(observation[:9])
        target = next(self._plan, None)
        return None if target is None else self._arm.act(target, observation[:9])

    def _all(self, elements: Sequence[str]) -> Steps:
        for number, element in enumerate(elements, 1):
            habit = HABITS[element]
            for _ in range(ATTEMPTS):
                self._facing, self._arm.posture = habit.facing, habit.posture
                yield from self._skills[element]()
                if self._done(element):
                    break
            if habit.exit is not None and number < len(elements):
                yield from self._go(_fixed(habit.exit), 0.18)
        place = self._arm.hand.position
        for _ in range(SETTLE):
            yield Target(place, self._facing, OPEN, SLOW)

    def _done(self, element: str) -> bool:
        assert self._scene.objects is not None
        return bool(completed(np.concatenate([np.zeros(9), self._scene.objects]), [element])[0])

    # What skills are made of.

    def _go(
        self,
        position: Place,
        near: float,
        *,
        fingers: float = OPEN,
        speed: float = FAST,
        rotation: np.ndarray | None = None,
        limit: int = 60,
    ) -> Steps:
        """Move until within `near` of a place, which may move itself, or for `limit` steps."""
        for _ in range(limit):
            place = position()
            if np.linalg.norm(place - self._arm.hand.position) < near:
                return
            yield Target(place, self._facing if rotation is None else rotation, fingers, speed)

    def _approach(self, handle: Place, *, fingers: float = OPEN) -> Steps:
        """Come to a place before a handle, more or less, then straight at it: forward only once in line with it."""
        forward = self._facing[:, 2]
        off = self._style.carelessness * self._rng.standard_normal(3) - AHEAD * forward
        joints = self._arm.solve(handle() + off, self._facing, self._arm.posture)
        for _ in range(60):
            if np.abs(joints - self._arm.joints).max() < 0.12:
                break
            yield Posture(joints, fingers)

        def ahead() -> np.ndarray:
            away = handle() - self._arm.hand.position
            beside = float(np.linalg.norm(away - (away @ forward) * forward))
            return handle() - min(AHEAD, 3.0 * max(0.0, beside - 0.018)) * forward

        yield from self._go(ahead, 0.022, fingers=fingers)

    def _grasp(self, handle: Place) -> Steps:
        yield from self._approach(handle)
        for _ in range(5):
            yield Target(handle(), self._facing, CLOSED, SLOW)

    def _leave(self, fingers: float = OPEN) -> Steps:
        """Let go and draw back, out of the handle the way the hand came in."""
        place, rotation = self._arm.hand.position, self._arm.hand.rotation
        for _ in range(3 if fingers == OPEN else 0):
            yield Target(place, rotation, fingers, SLOW)
        behind = place - 0.15 * rotation[:, 2]
        yield from self._go(_fixed(behind), 0.06, fingers=fingers, rotation=rotation)

    def _work(self, joint: int, site: str, until: float, lead: float, shift: np.ndarray) -> Steps:
        """Move a handle along its joint (a qpos index): the hand goes `lead` ahead of it, `shift` [3] off its site."""
        for _ in range(WORK_LIMIT):
            value = self._scene.value(joint)
            if np.sign(lead) * (value - until) >= 0:
                return
            yield Target(self._scene.site(site, joint, value + lead) + shift, self._facing, CLOSED, FAST)

    # One skill for each element.

    def _microwave(self) -> Steps:
        low = np.array([0.0, 0.0, -0.012])
        yield from self._grasp(lambda: self._scene.site("microhandle_site") + low)
        yield from self._work(ELEMENT_INDICES["microwave"][0], "microhandle_site", -0.68, -0.28, low)
        yield from self._leave()

    def _kettle(self) -> Steps:
        yield from self._grasp(lambda: self._scene.on_body("kettleroot", KETTLE_POST))
        kettle = np.array([self._scene.value(joint) for joint in ELEMENT_INDICES["kettle"][:3]])
        off = self._arm.hand.position - kettle
        lifted = np.array([kettle[0], kettle[1], 1.70])
        self._arm.posture = STRETCHED
        for place, near, limit in ((lifted, 0.03, 12), (KETTLE_CARRIED, 0.06, 40), (KETTLE_DOWN, 0.03, 8)):
            yield from self._go(_fixed(place + off), near, fingers=CLOSED, limit=limit)
        yield from self._leave()

    def _knob(self, element: str, site: str) -> Steps:
        front = np.array([0.0, -0.04, 0.0])

        def fin() -> np.ndarray:
            return self._scene.site(site) + front

        yield from self._grasp(fin)
        for _ in range(WORK_LIMIT):
            value = self._scene.value(ELEMENT_INDICES[element][0])
            if value <= KNOB_TURNED:
                break
            yield Target(fin(), facing(roll=0.8 - value), CLOSED, SLOW)
        yield from self._leave()

    def _light_switch(self) -> Steps:
        right = np.array([0.06, 0.0, 0.0])
        yield from self._approach(lambda: self._scene.site("light_site") + right, fingers=CLOSED)
        yield from self._work(ELEMENT_INDICES["light switch"][0], "light_site", -0.6, -0.6, right / 3)
        yield from self._leave(fingers=CLOSED)

    def _slide_cabinet(self) -> Steps:
        low, left = np.array([0.0, 0.0, -0.08]), np.array([-0.06, 0.0, 0.0])
        yield from self._approach(lambda: self._scene.site("slide_site") + low + left, fingers=CLOSED)
        yield from self._work(ELEMENT_INDICES["slide cabinet"][0], "slide_site", 0.3, 0.11, low)
        yield from self._leave(fingers=CLOSED)

    def _hinge_cabinet(self) -> Steps:
        low = np.array([0.0, 0.0, -0.12])
        yield from self._grasp(lambda: self._scene.site("hinge_site2") + low)
        yield from self._work(ELEMENT_INDICES["hinge cabinet"][1], "hinge_site2", 1.15, 0.4, low)
        yield from self._leave()
