"""A robot config as a whole."""

from __future__ import annotations

import re
from collections.abc import Sequence

from robot_bridge.draft.joints import REVIEW, joint_lines, named_joints, yaml_text
from robot_bridge.draft.limits import effort_lines, limit_lines
from robot_bridge.draft.topics import controllers, input_lines, output_lines, rate_lines
from robot_bridge.draft.urdf import UrdfJoint
from robot_bridge.errors import UserError
from robot_bridge.robot.description import Description

NUMBERED = re.compile(r"(observation|action)_\d+")


def draft(
    policy: Description,
    urdf: dict[str, UrdfJoint] | None = None,
    urdf_name: str = "",
    joints: Sequence[str] | None = None,
) -> str:
    """A robot config for a policy, as YAML with comments; `REVIEW` marks what the recordings do not say.

    Args:
        policy: of the bundle.
        urdf: joints of the robot's URDF, whose limits are taken; without it, or of joints without limits, the data's.
        urdf_name: its file, for comments and messages.
        joints: the robot's names of the joints, in the order of actions, in place of those that were recorded.

    Raises:
        UserError: numbers without names, a joint that the URDF lacks, or one of which no limits are known.
    """
    names = [entry.name.rpartition("/")[0] for entry in policy.observations if entry.constant is None]
    if all(map(NUMBERED.fullmatch, names)) or (
        not joints and all(NUMBERED.fullmatch(action.joint) for action in policy.actions)
    ):
        raise UserError(
            "the policy's numbers have no names, so no topic can be found for them: import the recordings with a "
            "layout (python -m lapo_tf.data import bag --help), then train and export again"
        )
    moved = named_joints(policy, joints)
    outputs = controllers(moved)
    efforts = {controller.kind == "effort" for controller in outputs}
    if len(efforts) > 1:
        raise UserError("the policy commands efforts and other quantities: a robot config has one or the other")
    lines = [
        f"# A robot for the policy of {policy.task}, made of its recordings by python -m robot_bridge.init.",
        "# Read all of it before anything moves; what the recordings do not say is marked REVIEW. Then compare it with",
        "# the robot: python -m robot_bridge.check.",
        f"name: {yaml_text(policy.task)}",
        *joint_lines(moved),
        *rate_lines(policy.control_rate),
        *input_lines(policy, moved),
        *output_lines(outputs),
        *(effort_lines(moved, urdf, urdf_name) if efforts == {True} else limit_lines(policy, moved, urdf, urdf_name)),
        "guards:                # all are on; each can be set to monitor or off under modes:",
        "  speed: 0.1           # of the policy's speed: raise it as trust grows",
        "  hold_timeout: 0.5    # s until a hold becomes a fault",
        *([] if efforts == {True} else ["  max_lead: 0.1        # rad or m between commanded and measured position"]),
        f"{REVIEW} whose topic is it? std_msgs/msg/Bool; delete the line if you have none",
        "dead_man: {topic: /dead_man, max_age: 0.2}",
        "# workspace:           # a box that points of the arm stay in; needs MuJoCo on the robot's computer",
        f"#   model: {urdf_name or 'arm.urdf'}    # beside this file",
        f"#   joints: {yaml_text([joint.robot for joint in moved])}",
        "#   points: [tool0]",
        "#   low: [0.2, -0.5, 0.05]",
        "#   high: [0.8, 0.5, 0.9]",
    ]
    return "\n".join(lines) + "\n"
