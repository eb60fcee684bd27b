"""Parameters of the rclpy-shaped layer, as in rclpy."""

from __future__ import annotations

import pytest
from robot_bridge.interfaces.rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterType,
    SetParametersResult,
)
from robot_bridge.interfaces.rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from ros_hub import Hub, HubTransport

import robot_bridge.ros as rclpy
from robot_bridge.ros.exceptions import (
    InvalidParameterException,
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterAlreadyDeclaredException,
    ParameterImmutableException,
    ParameterNotDeclaredException,
    ParameterUninitializedException,
)
from robot_bridge.ros.node import Node
from robot_bridge.ros.parameter import Parameter

Type = Parameter.Type


@pytest.fixture
def hub():
    hub = Hub()
    rclpy.init(args=[], transport=HubTransport(hub))
    yield hub
    rclpy.try_shutdown()
    hub.stop()


@pytest.fixture
def node(hub):
    return Node("test")


def events(hub) -> list[dict]:
    return [m for topic, m in hub.published if topic == "/parameter_events"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, Type.NOT_SET),
        (True, Type.BOOL),
        (3, Type.INTEGER),
        (3.0, Type.DOUBLE),
        ("x", Type.STRING),
        ([b"a"], Type.BYTE_ARRAY),
        ([True, False], Type.BOOL_ARRAY),
        ([1, 2], Type.INTEGER_ARRAY),
        ((1.0, 2.0), Type.DOUBLE_ARRAY),
        (["x"], Type.STRING_ARRAY),
    ],
)
def test_types_follow_from_values(value, kind):
    parameter = Parameter("p", value=value)
    assert parameter.type_ is kind
    assert parameter.value == value
    assert Parameter.from_parameter_msg(parameter.to_parameter_msg()) == parameter
    assert parameter.to_parameter_msg().value.type == kind.value


def test_wrong_values():
    for value in ({}, [1, "x"], object()):
        with pytest.raises(TypeError):
            Parameter("p", value=value)
    with pytest.raises(ValueError, match="do not agree"):
        Parameter("p", Type.DOUBLE, 3)
    with pytest.raises(TypeError):
        Parameter("p", "DOUBLE", 3.0)
    assert Parameter("p", Type.DOUBLE_ARRAY, []).type_ is Type.DOUBLE_ARRAY


def test_declaring(node, hub):
    assert node.declare_parameter("rate", 10.0) == Parameter("rate", value=10.0)
    assert node.has_parameter("rate")
    assert node.get_parameter("rate").value == 10.0
    with pytest.raises(ParameterAlreadyDeclaredException):
        node.declare_parameter("rate", 10.0)
    with pytest.raises(InvalidParameterException):
        node.declare_parameter("", 1)
    with pytest.raises(ParameterNotDeclaredException):
        node.get_parameter("speed")
    with pytest.raises(ParameterNotDeclaredException):
        node.set_parameters([Parameter("speed", value=1)])
    event = events(hub)[-1]
    assert event["node"] == "/test"
    assert [p["name"] for p in event["new_parameters"]] == ["rate"]
    a, b, c = node.declare_parameters("arm", [("a", 1), ("b", 2, ParameterDescriptor(description="two")), ("c", "x")])
    assert (a.name, b.value, c.value) == ("arm.a", 2, "x")
    assert node.describe_parameter("arm.b").description == "two"
    assert {k: p.value for k, p in node.get_parameters_by_prefix("arm").items()} == {"a": 1, "b": 2, "c": "x"}
    node.undeclare_parameter("rate")
    assert not node.has_parameter("rate")
    with pytest.raises(ValueError, match="statically typed"):
        node.declare_parameter("empty", None, ParameterDescriptor())
    for wrong in ([()], [(1, 2)], ["name"], [("a", 1, ParameterDescriptor(), 4)]):
        with pytest.raises(TypeError, match="invalid parameter"):
            node.declare_parameters("", wrong)


def test_a_type_without_a_value(node):
    node.declare_parameter("gain", Type.DOUBLE)
    with pytest.raises(ParameterUninitializedException):
        node.get_parameter("gain")
    assert node.get_parameter_type("gain") is Type.NOT_SET
    assert node.get_parameter_or("gain", Parameter("gain", value=2.0)).value == 2.0
    assert node.get_parameter_or("nothing").type_ is Type.NOT_SET
    assert not node.set_parameters([Parameter("gain", value=1)])[0].successful
    assert node.set_parameters([Parameter("gain", value=1.0)])[0].successful
    assert node.get_parameter_or("gain", Parameter("gain", value=2.0)).value == 1.0
    assert node.get_parameter_types(["gain"]) == [Type.DOUBLE]


def test_another_type_is_refused_with_a_result(node):
    node.declare_parameter("rate", 10.0)
    (result,) = node.set_parameters([Parameter("rate", value=5)])
    assert not result.successful
    assert result.reason == "Wrong parameter type, expected 'Type.DOUBLE' got 'Type.INTEGER'"
    assert node.get_parameter("rate").value == 10.0
    with pytest.warns(UserWarning, match="by its name only"):
        node.declare_parameter("any")
    assert node.set_parameters([Parameter("any", value=5)])[0].successful
    assert node.set_parameters([Parameter("any", value="five")])[0].successful


def test_overrides(hub):
    node = Node("test", parameter_overrides=[Parameter("rate", value=50.0), Parameter("mode", value=3)])
    assert not node.has_parameter("rate")
    assert node.declare_parameter("rate", 10.0).value == 50.0
    with pytest.raises(InvalidParameterTypeException):
        node.declare_parameter("mode", "fast")
    assert node.declare_parameter("mode", "fast", ignore_override=True).value == "fast"
    eager = Node(
        "eager",
        start_parameter_services=False,
        parameter_overrides=[Parameter("rate", value=50.0)],
        automatically_declare_parameters_from_overrides=True,
    )
    assert eager.get_parameter("rate").value == 50.0


def test_ranges_and_read_only(node):
    limits = ParameterDescriptor(floating_point_range=[FloatingPointRange(from_value=0.0, to_value=1.0, step=0.1)])
    node.declare_parameter("margin", 0.1, limits)
    assert node.set_parameters([Parameter("margin", value=0.3)])[0].successful
    (result,) = node.set_parameters([Parameter("margin", value=1.5)])
    assert not result.successful
    assert "out of range" in result.reason
    assert "not a valid step" in node.set_parameters([Parameter("margin", value=0.25)])[0].reason
    whole = ParameterDescriptor(integer_range=[IntegerRange(from_value=0, to_value=9, step=2)])
    node.declare_parameter("n", 4, whole)
    assert [node.set_parameters([Parameter("n", value=n)])[0].successful for n in (2, 3, 9, 10)] == [
        True,
        False,
        True,
        False,
    ]
    with pytest.raises(InvalidParameterValueException):
        node.declare_parameter("m", 11, ParameterDescriptor(integer_range=[IntegerRange(from_value=0, to_value=9)]))
    assert not node.has_parameter("m")
    node.declare_parameter("serial", "A1", ParameterDescriptor(read_only=True))
    assert "read-only" in node.set_parameters([Parameter("serial", value="B2")])[0].reason
    with pytest.raises(ParameterImmutableException):
        node.undeclare_parameter("serial")


def test_callbacks(node, hub):
    log = []

    def check(parameters):
        log.append([p.name for p in parameters])
        return SetParametersResult(successful=all(p.value != 13 for p in parameters), reason="bad luck")

    node.add_on_set_parameters_callback(check)
    node.declare_parameter("n", 1)
    assert node.set_parameters([Parameter("n", value=13)])[0].reason == "bad luck"
    with pytest.raises(InvalidParameterValueException, match="bad luck"):
        node.declare_parameter("m", 13)
    node.declare_parameter("o", 1)
    before = len(events(hub))
    both = [Parameter("n", value=2), Parameter("o", value=13)]
    assert not node.set_parameters_atomically(both).successful
    assert node.get_parameter("n").value == 1
    assert [r.successful for r in node.set_parameters(both)] == [True, False]
    assert node.get_parameter("n").value == 2
    assert len(events(hub)) == before + 1
    assert events(hub)[-1]["changed_parameters"][0]["value"]["integer_value"] == 2
    node.remove_on_set_parameters_callback(check)
    done = []
    node.add_pre_set_parameters_callback(lambda ps: [Parameter(p.name, value=p.value * 2) for p in ps])
    node.add_post_set_parameters_callback(lambda ps: done.extend(p.value for p in ps))
    assert node.set_parameters([Parameter("n", value=13)])[0].successful
    assert done == [26]
    node.add_pre_set_parameters_callback(lambda ps: [])
    assert "cannot be empty" in node.set_parameters([Parameter("n", value=1)])[0].reason
    node._parameters.pre_set.clear()
    node.add_on_set_parameters_callback(lambda ps: True)
    with pytest.raises(TypeError, match="expected SetParametersResult"):
        node.set_parameters([Parameter("n", value=1)])


def test_a_declaration_by_name_or_type_asks_the_callbacks_too(node):
    asked, told = [], []
    node.add_on_set_parameters_callback(lambda ps: asked.extend(ps) or SetParametersResult(successful=True))
    node.add_post_set_parameters_callback(told.extend)
    node.declare_parameter("typed", Parameter.Type.DOUBLE)
    with pytest.warns(UserWarning, match="by its name only"):
        node.declare_parameter("bare")
    assert [p.name for p in asked] == ["typed", "bare"] == [p.name for p in told]
    node.add_on_set_parameters_callback(lambda _: SetParametersResult(successful=False, reason="no more"))
    with pytest.raises(InvalidParameterValueException, match="no more"):
        node.declare_parameter("another", Parameter.Type.DOUBLE)


def test_undeclared_ones_may_be_allowed(hub):
    node = Node("free", allow_undeclared_parameters=True, start_parameter_services=False)
    assert node.get_parameter("x").type_ is Type.NOT_SET
    assert node.set_parameters([Parameter("x", value=1)])[0].successful
    assert node.get_parameter("x").value == 1
    node.set_parameters([Parameter("x")])
    assert not node.has_parameter("x")


def test_parameter_services(node, hub):
    node.declare_parameter("arm.gain", 2.0, ParameterDescriptor(description="loop gain"))
    node.declare_parameter("arm.names", ["a"])
    node.declare_parameter("rate", 10)

    def call(kind, name, **request):
        future = node.create_client(kind, f"/test/{name}").call_async(kind.Request(**request))
        rclpy.spin_until_future_complete(node, future, timeout_sec=5)
        return future.result()

    listed = call(ListParameters, "list_parameters").result
    assert listed.names == ["use_sim_time", "arm.gain", "arm.names", "rate"]
    assert listed.prefixes == ["arm"]
    assert call(ListParameters, "list_parameters", prefixes=["arm"]).result.names == ["arm.gain", "arm.names"]
    assert call(ListParameters, "list_parameters", depth=1).result.names == ["use_sim_time", "rate"]
    with pytest.raises(ValueError, match="greater than or equal"):
        node.list_parameters([], -1)
    with pytest.raises(TypeError):
        node.list_parameters("arm", 0)
    gain, rate = call(GetParameters, "get_parameters", names=["arm.gain", "rate"]).values
    assert (gain.type, gain.double_value) == (ParameterType.PARAMETER_DOUBLE, 2.0)
    assert (rate.type, rate.integer_value) == (ParameterType.PARAMETER_INTEGER, 10)
    assert call(GetParameters, "get_parameters", names=["nothing"]).values == []
    assert list(call(GetParameterTypes, "get_parameter_types", names=["arm.names", "rate"]).types) == [9, 2]
    (descriptor,) = call(DescribeParameters, "describe_parameters", names=["arm.gain"]).descriptors
    assert (descriptor.name, descriptor.type, descriptor.description) == ("arm.gain", 3, "loop gain")
    change = [Parameter("rate", value=20).to_parameter_msg(), Parameter("nothing", value=1).to_parameter_msg()]
    assert [r.successful for r in call(SetParameters, "set_parameters", parameters=change).results] == [True, False]
    assert node.get_parameter("rate").value == 20
    change = [Parameter("rate", value=30).to_parameter_msg(), Parameter("arm.gain", value="x").to_parameter_msg()]
    result = call(SetParametersAtomically, "set_parameters_atomically", parameters=change).result
    assert not result.successful
    assert node.get_parameter("rate").value == 20


def test_descriptors_can_be_replaced(node):
    node.declare_parameter("n", 5)
    with pytest.raises(InvalidParameterValueException):
        node.set_descriptor("n", ParameterDescriptor(integer_range=[IntegerRange(from_value=6, to_value=9)]))
    node.set_descriptor("n", ParameterDescriptor(integer_range=[IntegerRange(from_value=0, to_value=9)]))
    assert not node.set_parameters([Parameter("n", value=10)])[0].successful
