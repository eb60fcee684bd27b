"""Names and signatures are rclpy's, and a file written for rclpy runs on the stand-in.

The signatures below are those of rclpy in Humble (docs.ros.org/en/humble/p/rclpy), written down by hand; `...` stands
for some default that is an object. Ours may have more keyword arguments, all of them listed here.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from importlib import import_module

import pytest
from places import ROOT

pytest.importorskip("roslibpy", reason="the robot extra is not installed")

from robot_bridge.interfaces.sensor_msgs.msg import JointState
from robot_bridge.interfaces.std_srvs.srv import SetBool
from robot_bridge.interfaces.trajectory_msgs.msg import JointTrajectory
from ros_hub import Hub, HubTransport

import robot_bridge.ros as ours
from robot_bridge.ros import standin

NODE = """node_name, *, context=None, cli_args=None, namespace=None, use_global_arguments=True, enable_rosout=True,
    start_parameter_services=True, parameter_overrides=None, allow_undeclared_parameters=False,
    automatically_declare_parameters_from_overrides=False"""
CLIENT_QOS = "goal_service_qos_profile=..., result_service_qos_profile=..., cancel_service_qos_profile=..."

RCLPY = {
    "rclpy": {
        "init": "*, args=None, context=None, domain_id=None, signal_handler_options=None",
        "ok": "*, context=None",
        "shutdown": "*, context=None, uninstall_handlers=None",
        "try_shutdown": "*, context=None, uninstall_handlers=None",
        "create_node": NODE,
        "get_global_executor": "",
        "get_default_context": "*, shutting_down=False",
        "spin": "node, executor=None",
        "spin_once": "node, *, executor=None, timeout_sec=None",
        "spin_until_future_complete": "node, future, executor=None, timeout_sec=None",
    },
    "rclpy.node": {
        "Node": NODE,
        "Node.create_publisher": """self, msg_type, topic, qos_profile, *, callback_group=None, event_callbacks=None,
            qos_overriding_options=None, publisher_class=...""",
        "Node.create_subscription": """self, msg_type, topic, callback, qos_profile, *, callback_group=None,
            event_callbacks=None, qos_overriding_options=None, raw=False""",
        "Node.create_client": "self, srv_type, srv_name, *, qos_profile=..., callback_group=None",
        "Node.create_service": "self, srv_type, srv_name, callback, *, qos_profile=..., callback_group=None",
        "Node.create_timer": "self, timer_period_sec, callback, callback_group=None, clock=None",
        "Node.create_guard_condition": "self, callback, callback_group=None",
        "Node.create_rate": "self, frequency, clock=None",
        "Node.destroy_publisher": "self, publisher",
        "Node.destroy_subscription": "self, subscription",
        "Node.destroy_client": "self, client",
        "Node.destroy_service": "self, service",
        "Node.destroy_timer": "self, timer",
        "Node.destroy_guard_condition": "self, guard",
        "Node.destroy_rate": "self, rate",
        "Node.destroy_node": "self",
        "Node.get_name": "self",
        "Node.get_namespace": "self",
        "Node.get_fully_qualified_name": "self",
        "Node.get_clock": "self",
        "Node.get_logger": "self",
        "Node.resolve_topic_name": "self, topic, *, only_expand=False",
        "Node.resolve_service_name": "self, service, *, only_expand=False",
        "Node.get_topic_names_and_types": "self, no_demangle=False",
        "Node.get_service_names_and_types": "self",
        "Node.get_node_names": "self",
        "Node.count_publishers": "self, topic_name",
        "Node.get_publishers_info_by_topic": "self, topic_name, no_mangle=False",
        "Node.get_subscriptions_info_by_topic": "self, topic_name, no_mangle=False",
        "Node.get_node_names_and_namespaces": "self",
        "Node.count_subscribers": "self, topic_name",
        "Node.declare_parameter": "self, name, value=None, descriptor=None, ignore_override=False",
        "Node.declare_parameters": "self, namespace, parameters, ignore_override=False",
        "Node.undeclare_parameter": "self, name",
        "Node.has_parameter": "self, name",
        "Node.get_parameter": "self, name",
        "Node.get_parameters": "self, names",
        "Node.get_parameter_or": "self, name, alternative_value=None",
        "Node.get_parameters_by_prefix": "self, prefix",
        "Node.set_parameters": "self, parameter_list",
        "Node.set_parameters_atomically": "self, parameter_list",
        "Node.add_on_set_parameters_callback": "self, callback",
        "Node.remove_on_set_parameters_callback": "self, callback",
        "Node.describe_parameter": "self, name",
        "Node.describe_parameters": "self, names",
        "Node.set_descriptor": "self, name, descriptor, alternative_value=None",
        "Node.add_waitable": "self, waitable",
        "Node.remove_waitable": "self, waitable",
    },
    "rclpy.context": {
        "Context.init": "self, args=None, *, domain_id=None",
        "Context.ok": "self",
        "Context.shutdown": "self",
        "Context.try_shutdown": "self",
        "Context.on_shutdown": "self, callback",
        "Context.get_domain_id": "self",
    },
    "rclpy.executors": {
        "SingleThreadedExecutor": "*, context=None",
        "MultiThreadedExecutor": "num_threads=None, *, context=None",
        "Executor.add_node": "self, node",
        "Executor.remove_node": "self, node",
        "Executor.get_nodes": "self",
        "Executor.create_task": "self, callback, *args, **kwargs",
        "Executor.spin": "self",
        "Executor.spin_once": "self, timeout_sec=None",
        "Executor.spin_until_future_complete": "self, future, timeout_sec=None",
        "Executor.spin_once_until_future_complete": "self, future, timeout_sec=None",
        "Executor.shutdown": "self, timeout_sec=None",
        "Executor.wake": "self",
        "ExternalShutdownException": None,
        "ShutdownException": None,
        "TimeoutException": None,
    },
    "rclpy.task": {
        "Future": "*, executor=None",
        "Future.done": "self",
        "Future.cancel": "self",
        "Future.cancelled": "self",
        "Future.result": "self",
        "Future.exception": "self",
        "Future.set_result": "self, result",
        "Future.set_exception": "self, exception",
        "Future.add_done_callback": "self, callback",
        "Task": "handler, args=None, kwargs=None, executor=None",
    },
    "rclpy.time": {
        "Time": "*, seconds=0, nanoseconds=0, clock_type=...",
        "Time.to_msg": "self",
        "Time.from_msg": "msg, clock_type=...",
        "Time.seconds_nanoseconds": "self",
    },
    "rclpy.duration": {
        "Duration": "*, seconds=0, nanoseconds=0",
        "Duration.to_msg": "self",
        "Duration.from_msg": "msg",
    },
    "rclpy.clock": {
        "Clock.now": "self",
        "Clock.sleep_until": "self, until, context=None",
        "Clock.sleep_for": "self, rel_time, context=None",
        "Clock.create_jump_callback": "self, threshold, *, pre_callback=None, post_callback=None",
        "ROSClock.set_ros_time_override": "self, time",
        "JumpThreshold": "*, min_forward, min_backward, on_clock_change=True",
        "ClockType": None,
    },
    "rclpy.timer": {
        "Timer": "callback, callback_group, timer_period_ns, clock, *, context=None",
        "Timer.cancel": "self",
        "Timer.reset": "self",
        "Timer.is_ready": "self",
        "Timer.is_canceled": "self",
        "Timer.time_since_last_call": "self",
        "Timer.time_until_next_call": "self",
        "Rate.sleep": "self",
        "Rate.destroy": "self",
    },
    "rclpy.publisher": {"Publisher.publish": "self, msg", "Publisher.get_subscription_count": "self"},
    "rclpy.subscription": {"Subscription.destroy": "self"},
    "rclpy.client": {
        "Client.call": "self, request, timeout_sec=None",
        "Client.call_async": "self, request",
        "Client.remove_pending_request": "self, future",
        "Client.service_is_ready": "self",
        "Client.wait_for_service": "self, timeout_sec=None",
    },
    "rclpy.service": {"Service.destroy": "self"},
    "rclpy.guard_condition": {"GuardCondition.trigger": "self"},
    "rclpy.callback_groups": {
        "MutuallyExclusiveCallbackGroup": "",
        "ReentrantCallbackGroup": "",
        "CallbackGroup.can_execute": "self, entity",
    },
    "rclpy.parameter": {
        "Parameter": "name, type_=None, value=None",
        "Parameter.from_parameter_msg": "param_msg",
        "Parameter.to_parameter_msg": "self",
        "Parameter.get_parameter_value": "self",
    },
    "rclpy.qos": {
        "QoSProfile": "**kwargs",
        "HistoryPolicy": None,
        "QoSHistoryPolicy": None,
        "ReliabilityPolicy": None,
        "DurabilityPolicy": None,
        "LivelinessPolicy": None,
        "QoSPresetProfiles": None,
        "qos_profile_sensor_data": None,
        "qos_profile_system_default": None,
        "qos_profile_services_default": None,
        "qos_profile_parameters": None,
        "qos_profile_parameter_events": None,
        "qos_profile_action_status_default": None,
        "InvalidQoSProfileException": None,
    },
    "rclpy.logging": {
        "get_logger": "name",
        "set_logger_level": "name, level, detailed_error=False",
        "get_logger_effective_level": "name",
        "LoggingSeverity": None,
    },
    "rclpy.action": {
        "ActionClient": f"""node, action_type, action_name, *, callback_group=None, {CLIENT_QOS},
            feedback_sub_qos_profile=..., status_sub_qos_profile=...""",
        "ActionClient.send_goal": "self, goal, **kwargs",
        "ActionClient.send_goal_async": "self, goal, feedback_callback=None, goal_uuid=None",
        "ActionClient.server_is_ready": "self",
        "ActionClient.wait_for_server": "self, timeout_sec=None",
        "ActionClient.destroy": "self",
        "ActionServer": f"""node, action_type, action_name, execute_callback, *, callback_group=None, goal_callback=...,
            handle_accepted_callback=..., cancel_callback=..., {CLIENT_QOS}, feedback_pub_qos_profile=...,
            status_pub_qos_profile=..., result_timeout=900""",
        "ActionServer.register_execute_callback": "self, execute_callback",
        "ActionServer.register_goal_callback": "self, goal_callback",
        "ActionServer.register_cancel_callback": "self, cancel_callback",
        "ActionServer.destroy": "self",
        "GoalResponse": None,
        "CancelResponse": None,
    },
    "rclpy.action.client": {
        "ClientGoalHandle.cancel_goal": "self",
        "ClientGoalHandle.cancel_goal_async": "self",
        "ClientGoalHandle.get_result": "self",
        "ClientGoalHandle.get_result_async": "self",
    },
    "rclpy.action.server": {
        "ServerGoalHandle.execute": "self, execute_callback=None",
        "ServerGoalHandle.publish_feedback": "self, feedback",
        "ServerGoalHandle.succeed": "self",
        "ServerGoalHandle.abort": "self",
        "ServerGoalHandle.canceled": "self",
        "ServerGoalHandle.destroy": "self",
    },
    "rclpy.lifecycle": {
        "LifecycleNode": "node_name, *, enable_communication_interface=True, **kwargs",
        "Node": None,
        "State": "label, state_id",
        "TransitionCallbackReturn": None,
        "LifecyclePublisher": None,
        "LifecycleNode.trigger_configure": "self",
        "LifecycleNode.trigger_activate": "self",
        "LifecycleNode.trigger_deactivate": "self",
        "LifecycleNode.trigger_cleanup": "self",
        "LifecycleNode.trigger_shutdown": "self",
        "LifecycleNode.on_configure": "self, state",
        "LifecycleNode.on_error": "self, state",
        "LifecycleNode.create_lifecycle_publisher": "self, *args, **kwargs",
        "LifecycleNode.add_managed_entity": "self, entity",
        "SimpleManagedEntity": None,
    },
    "rclpy.exceptions": {
        "NotInitializedException": None,
        "InvalidNodeNameException": None,
        "InvalidNamespaceException": None,
        "InvalidTopicNameException": None,
        "InvalidServiceNameException": None,
        "InvalidHandle": None,
        "ParameterNotDeclaredException": None,
        "ParameterAlreadyDeclaredException": None,
        "ParameterUninitializedException": None,
        "ParameterImmutableException": None,
        "InvalidParameterException": None,
        "InvalidParameterValueException": None,
        "InvalidParameterTypeException": None,
        "ROSInterruptException": None,
    },
    "rclpy.serialization": {"serialize_message": "message", "deserialize_message": "serialized_message, message_type"},
    "rclpy.signals": {"SignalHandlerOptions": None},
    "rclpy.wait_for_message": {"wait_for_message": "msg_type, node, topic, *, qos_profile=1, time_to_wait=-1"},
    "rclpy.parameter_client": {
        "AsyncParameterClient": "node, remote_node_name, qos_profile=..., callback_group=None",
        "AsyncParameterClient.list_parameters": "self, prefixes=None, depth=None, callback=None",
        "AsyncParameterClient.set_parameters": "self, parameters, callback=None",
        "AsyncParameterClient.load_parameter_file": "self, parameter_file, use_wildcard=False, callback=None",
        "AsyncParameterClient.wait_for_services": "self, timeout_sec=None",
    },
    "rclpy.impl.rcutils_logger": {"RcutilsLogger": None},
    "rclpy.impl.logging_severity": {"LoggingSeverity": None},
    "rclpy.topic_endpoint_info": {"TopicEndpointInfo": None, "TopicEndpointTypeEnum": None},
    "rclpy.utilities": {"ok": "*, context=None", "get_default_context": "*, shutting_down=False"},
}

EXAMPLE = ROOT / "examples" / "hold.py"

EXTENSIONS = {
    "init": {"url", "token", "transport", "connect_timeout"},
    "Context.init": {"url", "token", "transport", "connect_timeout"},
    "Timer": {"autostart"},  # Jazzy's
}


def expected(text: str) -> inspect.Signature:
    return inspect.signature(eval(f"lambda {' '.join(text.split())}: None"))


CASES = [(module, name, text) for module, entries in RCLPY.items() for name, text in entries.items()]


@pytest.mark.parametrize(("module", "name", "text"), CASES)
def test_signature(module, name, text):
    thing = import_module(module.replace("rclpy", "robot_bridge.ros", 1))
    for part in name.split("."):
        thing = getattr(thing, part)
    if text is None:
        return
    have = dict(inspect.signature(thing).parameters)
    for extension in EXTENSIONS.get(name, ()):
        parameter = have.pop(extension)
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.default is not inspect.Parameter.empty
    want = expected(text).parameters
    assert [(p.name, p.kind) for p in have.values()] == [(p.name, p.kind) for p in want.values()]
    for parameter in want.values():
        default = have[parameter.name].default
        if parameter.default is not ...:
            assert default == parameter.default, parameter.name
        else:
            assert default is not inspect.Parameter.empty, parameter.name


# The stand-in ---------------------------------------------------------------------------------------------------------


def forget() -> None:
    """Undo what the stand-in did to the import system, and import it anew next time."""
    roots = ("rclpy", "sensor_msgs", "std_srvs", "trajectory_msgs", "control_msgs")
    roots += ("message_filters", "tf2_ros", "tf2_geometry_msgs", "example_interfaces")
    sys.meta_path[:] = [
        f for f in sys.meta_path if type(f).__name__ != "StandInFinder" and getattr(f, "prefix", 1) != ""
    ]
    for name in list(sys.modules):
        if name.startswith(tuple(f"{root}." for root in roots)) or name in roots:
            del sys.modules[name]


@pytest.fixture
def clean_imports():
    forget()
    yield
    forget()


def test_the_stand_in_is_the_same_modules(clean_imports):
    specs = {name: import_module(name).__spec__ for name in ("robot_bridge.ros", "robot_bridge.ros.node")}
    assert standin.install()
    import rclpy
    import rclpy.action.client
    from control_msgs.action import FollowJointTrajectory
    from rclpy.node import Node
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import JointState as Standing

    assert rclpy is ours
    assert Node is ours.Node
    assert QoSProfile(depth=1).depth == 1
    assert Standing is JointState
    assert FollowJointTrajectory.Goal().path_tolerance == []
    import message_filters
    from example_interfaces.srv import AddTwoInts
    from tf2_geometry_msgs import do_transform_pose
    from tf2_ros import TransformException
    from tf2_ros.buffer import Buffer
    from tf2_ros.transform_listener import TransformListener

    assert message_filters.TimeSynchronizer is ours.message_filters.TimeSynchronizer
    assert (Buffer, TransformListener) == (ours.tf2_ros.Buffer, ours.tf2_ros.TransformListener)
    assert issubclass(ours.tf2_ros.LookupException, TransformException)
    assert callable(do_transform_pose)
    assert AddTwoInts.Request(a=2, b=3).b == 3
    assert {name: import_module(name).__spec__ for name in specs} == specs
    with pytest.raises(ImportError):
        import rclpy.nonsense
    with pytest.raises(ImportError):
        from sensor_msgs.msg import Nonsense  # noqa: F401


def test_a_real_rclpy_wins(clean_imports, tmp_path, monkeypatch):
    (tmp_path / "rclpy").mkdir()
    (tmp_path / "rclpy" / "__init__.py").write_text("real = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = list(sys.meta_path)
    assert not standin.install()
    assert sys.meta_path == before
    import rclpy

    assert rclpy.real


def test_the_example_is_plain_rclpy():
    """But for its first import: it uses only names that are listed above, and none of our own arguments."""
    tree = ast.parse(EXAMPLE.read_text())
    ours_only = set().union(*EXTENSIONS.values())
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword):
            assert node.arg not in ours_only
        if isinstance(node, ast.ImportFrom) and node.module.startswith("rclpy"):
            assert {alias.name for alias in node.names} <= set(RCLPY[node.module])
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rclpy":
            assert node.attr in RCLPY["rclpy"]
    imported = [node.names[0].name for node in ast.walk(tree) if isinstance(node, ast.Import)]
    assert imported == ["robot_bridge.ros.standin", "rclpy"]


def test_the_example_holds_an_arm(clean_imports, capsys):
    standin.install()
    spec = importlib.util.spec_from_file_location("hold", EXAMPLE)
    hold = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hold)
    hub = Hub()
    transport = HubTransport(hub)
    ours.init(args=["--ros-args", "-p", "rate:=50.0"], transport=transport)
    try:
        node = hold.Hold()
        tester = ours.create_node("tester")
        commands = []
        tester.create_subscription(JointTrajectory, "joint_trajectory", commands.append, 10)
        states = tester.create_publisher(JointState, "joint_states", 1)
        executor = ours.executors.SingleThreadedExecutor()
        executor.add_node(node)
        executor.add_node(tester)
        tester.create_timer(0.01, lambda: states.publish(JointState(name=["a", "b"], position=[0.1, 0.2])))
        future = tester.create_client(SetBool, "/hold/enable").call_async(SetBool.Request(data=True))
        for _ in range(500):
            executor.spin_once(timeout_sec=0.1)
            if len(commands) >= 3:
                break
        assert future.result().success
        assert commands[-1].joint_names == ["a", "b"]
        assert list(commands[-1].points[0].positions) == [0.1, 0.2]
        assert commands[-1].points[0].time_from_start.nanosec == 40_000_000
        tester.destroy_node()  # the joint states stop
        for _ in range(50):
            executor.spin_once(timeout_sec=0.02)
            if node.target is None:
                break
        assert not node.enabled
        assert "joint states stopped: disabled" in capsys.readouterr().err
        executor.shutdown(timeout_sec=1)
    finally:
        ours.try_shutdown()
        hub.stop()
