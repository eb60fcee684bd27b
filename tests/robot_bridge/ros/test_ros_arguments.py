"""`--ros-args` and parameter files are read as rcl reads them: its numbers, its wildcards."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("roslibpy", reason="the robot extra is not installed")

from robot_bridge.errors import UserError
from robot_bridge.ros.arguments import Arguments
from robot_bridge.ros.parameter_files import covers


def given(text: str):
    (value,) = Arguments.parse(["--ros-args", "-p", f"x:={text}"]).parameters_of("arm", "/").values()
    return value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-7", -7),
        ("010", 8),
        ("0x1F", 31),
        ("1e-3", 0.001),
        ("5E6", 5e6),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("12:30:00", "12:30:00"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("null", "null"),
        ("yes", True),
        ("off", False),
        ("'yes'", "yes"),
        ('"1"', "1"),
        ("[1e-5, 2.0]", [1e-5, 2.0]),
        ("[y, no]", [True, False]),
        ("[]", []),
        ("ws://robot:9090", "ws://robot:9090"),
    ],
)
def test_values(text, value):
    assert given(text) == value
    assert type(given(text)) is type(value)


@pytest.mark.parametrize("text", ["[1, 2.5]", "[[1], [2]]", "[1, a]", "&a 1", "[1"])
def test_what_is_no_parameter_is_refused(text):
    with pytest.raises(UserError, match="-p x:="):
        given(text)


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("/**", ["/arm", "/left/arm", "/a/b/c"], []),
        ("/*", ["/arm"], ["/left/arm"]),
        ("arm", ["/arm"], ["/left/arm", "/armature"]),
        ("/**/arm", ["/arm", "/left/arm", "/a/b/arm"], ["/left/armature"]),
        ("/*/arm", ["/left/arm"], ["/arm", "/a/b/arm"]),
        ("/left/*", ["/left/arm"], ["/left", "/left/arm/tool", "/right/arm"]),
        ("left/arm", ["/left/arm"], ["/arm"]),
    ],
)
def test_names_of_nodes(pattern, inside, outside):
    assert all(covers(pattern, name) for name in inside)
    assert not any(covers(pattern, name) for name in outside)


def test_a_file_has_later_values_nested_nodes_and_texts_as_names(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text(
        "/**:\n  ros__parameters: {a: 1, y: 2, gains: {p: 1e-2}}\n  arm:\n    ros__parameters: {a: 3}\n"
        "other:\n  ros__parameters: {a: 4}\n",
        encoding="utf-8",
    )
    arguments = Arguments.parse(["--ros-args", "--params-file", str(file)])
    assert arguments.parameters_of("arm", "/left") == {"a": 3, "y": 2, "gains.p": 0.01}
    assert arguments.parameters_of("leg", "/") == {"a": 1, "y": 2, "gains.p": 0.01}
    file.write_text("a: &x {ros__parameters: {b: 1}}\nc: *x\n", encoding="utf-8")
    with pytest.raises(UserError, match="anchors and aliases are not allowed"):
        Arguments.parse(["--ros-args", "--params-file", str(file)])


def test_rules_for_topics_or_services_only_and_for_loggers():
    text = "-r rosservice://a:=b -r arm:rostopic://c:=d --log-level arm.gripper:=debug --log-level info --enclave /x"
    arguments = Arguments.parse(["--ros-args", *text.split()])
    assert [tuple(rule) for rule in arguments.remaps] == [(None, "service", "a", "b"), ("arm", "topic", "c", "d")]
    assert arguments.log_levels == [("arm.gripper", "debug"), (None, "info")]
