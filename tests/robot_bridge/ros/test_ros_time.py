"""Time, clocks, timers, rates and loggers of the rclpy-shaped layer."""

from __future__ import annotations

import re
import threading
import time

import pytest
from robot_bridge.interfaces.builtin_interfaces.msg import Duration as DurationMsg
from robot_bridge.interfaces.builtin_interfaces.msg import Time as TimeMsg
from robot_bridge.interfaces.std_msgs.msg import String
from ros_hub import Hub, HubTransport

import robot_bridge.ros as rclpy
from robot_bridge.ros.clock import Clock, ClockChange, ClockType, JumpThreshold, ROSClock
from robot_bridge.ros.duration import Duration, Infinite
from robot_bridge.ros.logging import LoggingSeverity, get_logger, set_logger_level
from robot_bridge.ros.node import Node
from robot_bridge.ros.parameter import Parameter
from robot_bridge.ros.time import Time


@pytest.fixture
def hub():
    hub = Hub()
    yield hub
    rclpy.try_shutdown()
    hub.stop()


@pytest.fixture
def transport(hub):
    return HubTransport(hub)


@pytest.fixture
def node(transport):
    rclpy.init(args=[], transport=transport)
    return Node("test", start_parameter_services=False)


# Time and durations ---------------------------------------------------------------------------------------------------


def test_durations():
    assert Duration(seconds=1.5, nanoseconds=1).nanoseconds == 1_500_000_001
    assert Duration(seconds=1) == Duration(nanoseconds=10**9)
    assert Duration(seconds=-1) < Duration() <= Duration()
    assert Duration(seconds=2) > Duration(seconds=1)
    assert Duration(seconds=1) != 10**9
    assert repr(Duration(nanoseconds=5)) == "Duration(nanoseconds=5)"
    with pytest.raises(OverflowError):
        Duration(seconds=10**10)
    with pytest.raises(TypeError):
        Duration(5)
    assert Duration(seconds=-0.5).to_msg() == DurationMsg(sec=-1, nanosec=500_000_000)
    assert Duration.from_msg(DurationMsg(sec=-1, nanosec=500_000_000)) == Duration(seconds=-0.5)
    with pytest.raises(TypeError):
        Duration.from_msg(TimeMsg())
    assert Infinite.nanoseconds == 2**63 - 1
    assert len({Duration(seconds=1), Duration(nanoseconds=10**9)}) == 1


def test_times():
    a = Time(seconds=1, nanoseconds=5)
    assert a.nanoseconds == 10**9 + 5
    assert a.seconds_nanoseconds() == (1, 5)
    assert a.clock_type is ClockType.SYSTEM_TIME
    assert (a - Time(seconds=1)).nanoseconds == 5
    assert (Time(seconds=1) - a).nanoseconds == -5
    assert a + Duration(seconds=1) == Time(seconds=2, nanoseconds=5)
    assert a - Duration(seconds=1) == Time(nanoseconds=5)
    assert Time(seconds=1) < a <= a
    assert a != Time()
    assert repr(Time(nanoseconds=7)) == "Time(nanoseconds=7, clock_type=SYSTEM_TIME)"
    assert a.to_msg() == TimeMsg(sec=1, nanosec=5)
    back = Time.from_msg(TimeMsg(sec=1, nanosec=5))
    assert (back.nanoseconds, back.clock_type) == (a.nanoseconds, ClockType.ROS_TIME)
    for wrong, error in [
        (lambda: Time(seconds=-1), ValueError),
        (lambda: Time(nanoseconds=-1), ValueError),
        (lambda: Time(seconds=10**10), OverflowError),
        (lambda: Time(clock_type=1), TypeError),
        (lambda: a + 1, TypeError),
        (lambda: a - Duration(seconds=2), ValueError),
        (lambda: Time(nanoseconds=2**63 - 1) + Duration(nanoseconds=1), OverflowError),
        (lambda: Time.from_msg(DurationMsg()), TypeError),
    ]:
        with pytest.raises(error):
            wrong()


@pytest.mark.parametrize(
    "use",
    [lambda a, b: a - b, lambda a, b: a < b, lambda a, b: a == b, lambda a, b: a >= b, lambda a, b: a != b],
    ids=["-", "<", "==", ">=", "!="],
)
def test_times_of_different_clocks_do_not_mix(use):
    with pytest.raises(TypeError, match="different clock types"):
        use(Time(seconds=1), Time(seconds=1, clock_type=ClockType.ROS_TIME))


# Clocks ---------------------------------------------------------------------------------------------------------------


def test_clocks():
    before = time.time_ns()
    now = Clock().now()
    assert before <= now.nanoseconds <= time.time_ns()
    assert now.clock_type is Clock().clock_type is ClockType.SYSTEM_TIME
    before = time.monotonic_ns()
    assert before <= Clock(clock_type=ClockType.STEADY_TIME).now().nanoseconds <= time.monotonic_ns()
    ros = Clock(clock_type=ClockType.ROS_TIME)
    assert isinstance(ros, ROSClock)
    assert abs(ros.now().nanoseconds - time.time_ns()) < 10**9
    with pytest.raises(TypeError):
        Clock(clock_type="STEADY")


def test_simulated_time_and_jumps():
    clock = ROSClock()
    jumps = []
    threshold = JumpThreshold(min_forward=Duration(seconds=10), min_backward=Duration(seconds=-1))
    handle = clock.create_jump_callback(
        threshold, pre_callback=lambda: jumps.append("pre"), post_callback=lambda j: jumps.append(j)
    )
    clock.set_ros_time_override(Time(seconds=5))
    assert not clock.ros_time_is_active
    assert clock.now().nanoseconds > 10**18
    clock._set_ros_time_is_active(True)
    assert clock.now().nanoseconds == 0
    assert [type(jump).__name__ for jump in jumps] == ["str", "TimeJump"]
    assert jumps[1].clock_change is ClockChange.ROS_TIME_ACTIVATED
    for seconds in (5, 14, 24, 23.5, 22):
        clock.set_ros_time_override(Time(seconds=seconds, clock_type=ClockType.ROS_TIME))
    assert clock.now().nanoseconds == 22 * 10**9
    assert [jump.delta.nanoseconds // 10**8 for jump in jumps[3::2]] == [100, -15]
    handle.unregister()
    clock._set_ros_time_is_active(False)
    assert len(jumps) == 6
    for wrong in ({"min_forward": Duration(), "min_backward": None}, {"min_forward": None, "min_backward": Duration()}):
        with pytest.raises(ValueError, match="non-zero"):
            JumpThreshold(**wrong)
    with pytest.raises(ValueError, match="At least one"):
        JumpThreshold(min_forward=None, min_backward=None, on_clock_change=False)
    with pytest.raises(ValueError, match="must be callable"):
        clock.create_jump_callback(threshold)


def test_sleeping(node):
    clock = node.get_clock()
    start = time.monotonic()
    assert clock.sleep_for(Duration(seconds=0.05))
    assert 0.05 <= time.monotonic() - start < 0.5
    with pytest.raises(ValueError, match="clock type"):
        clock.sleep_until(Time(seconds=1))
    steady = Clock(clock_type=ClockType.STEADY_TIME)
    threading.Timer(0.1, rclpy.shutdown).start()
    assert not steady.sleep_for(Duration(seconds=30))
    assert time.monotonic() - start < 5


def test_use_sim_time(node, transport, hub):
    assert node.get_parameter("use_sim_time").value is False
    assert node.set_parameters([Parameter("use_sim_time", value=True)])[0].successful
    clock = node.get_clock()
    assert clock.now().nanoseconds == 0
    ticks = []
    node.create_timer(0.5, lambda: ticks.append(clock.now().nanoseconds // 10**6))

    def tick(ms):
        transport.inject("/clock", {"clock": {"sec": ms // 1000, "nanosec": ms % 1000 * 10**6}})
        hub.settle()
        for _ in range(3):
            rclpy.spin_once(node, timeout_sec=0)

    for ms in (100, 400, 500, 999, 1000, 3300, 3499, 3500):
        tick(ms)
    assert ticks == [500, 1000, 3300, 3500]  # late once, then back on the grid
    tick(200)  # the simulation was reset
    tick(600)
    assert ticks == [500, 1000, 3300, 3500]
    tick(700)
    assert ticks[-1] == 700
    assert clock.now() == Time(nanoseconds=700 * 10**6, clock_type=ClockType.ROS_TIME)
    node.set_parameters([Parameter("use_sim_time", value=False)])
    assert clock.now().nanoseconds > 10**18
    assert not hub.subscriptions["/clock"]


# Timers ---------------------------------------------------------------------------------------------------------------


class FakeMonotonic:
    def __init__(self, monkeypatch):
        self.ns = 10**12
        monkeypatch.setattr("robot_bridge.ros.clock.time.monotonic_ns", lambda: self.ns)


def test_a_stalled_timer_fires_once_and_returns_to_its_grid(node, monkeypatch):
    now = FakeMonotonic(monkeypatch)
    start, fired = now.ns, []
    timer = node.create_timer(0.01, lambda: fired.append((now.ns - start) // 10**6))
    for ms in (5, 10, 12, 20, 57, 58, 60, 69, 70):
        now.ns = start + ms * 10**6
        rclpy.spin_once(node, timeout_sec=0)
    assert fired == [10, 20, 57, 60, 70]
    assert timer.time_since_last_call() == 0
    assert timer.time_until_next_call() == 10**7


def test_cancel_reset_and_change_of_period(node, monkeypatch):
    now = FakeMonotonic(monkeypatch)
    fired = []
    timer = node.create_timer(1.0, lambda: fired.append(1))
    timer.cancel()
    assert timer.is_canceled()
    assert timer.time_until_next_call() is None
    now.ns += 5 * 10**9
    rclpy.spin_once(node, timeout_sec=0)
    assert fired == []
    timer.reset()
    assert not timer.is_ready()
    now.ns += 10**9
    assert timer.is_ready()
    timer.timer_period_ns = 2 * 10**9
    rclpy.spin_once(node, timeout_sec=0)
    assert fired == [1]
    assert timer.time_until_next_call() == 2 * 10**9
    assert node.destroy_timer(timer)
    now.ns += 10**10
    rclpy.spin_once(node, timeout_sec=0)
    assert fired == [1]


def test_setting_the_system_time_moves_no_timer(node, monkeypatch):
    fired = []
    node.create_timer(0.05, lambda: fired.append(1))
    monkeypatch.setattr("robot_bridge.ros.clock.time.time_ns", lambda: 5)
    rclpy.spin_once(node, timeout_sec=2)
    assert fired == [1]


def test_timers_keep_their_rate(node):
    fired = []
    timer = node.create_timer(0.02, lambda: fired.append(time.monotonic()))
    while len(fired) < 11:
        rclpy.spin_once(node, timeout_sec=1)
    timer.cancel()
    assert abs(fired[-1] - fired[0] - 0.2) < 0.1  # a grid: errors do not add up


# Logging --------------------------------------------------------------------------------------------------------------


def lines(capsys) -> list[str]:
    return [re.sub(r"\[\d+\.\d{9}\]", "[t]", line) for line in capsys.readouterr().err.splitlines()]


def test_loggers(node, capsys, hub):
    logger = node.get_logger()
    assert logger is get_logger("test")
    assert logger.info("hello")
    assert logger.warn("careful")
    assert not logger.debug("secret")
    logger.get_child("part").error("broken")
    assert lines(capsys) == [
        "[INFO] [t] [test]: hello",
        "[WARN] [t] [test]: careful",
        "[ERROR] [t] [test.part]: broken",
    ]
    logs = [m for topic, m in hub.published if topic == "/rosout"]
    assert [(m["name"], m["level"], m["msg"]) for m in logs] == [
        ("test", 20, "hello"),
        ("test", 30, "careful"),
        ("test.part", 40, "broken"),
    ]
    assert logs[0]["function"] == "test_loggers"
    assert logs[0]["file"] == __file__
    assert logs[0]["line"] > 0
    with pytest.raises(TypeError):
        logger.info("x %d", 3)
    with pytest.raises(TypeError, match="message is int: expected str"):
        logger.info(5)
    with pytest.raises(TypeError):
        logger.info("x", twice=True)


def test_log_levels(capsys):
    logger, child = get_logger("levels"), get_logger("levels.child")
    logger.set_level(LoggingSeverity.ERROR)
    assert child.get_effective_level() is LoggingSeverity.ERROR
    assert not child.warning("no")
    set_logger_level("levels.child", LoggingSeverity.DEBUG)
    assert child.debug("yes")
    assert logger.is_enabled_for(LoggingSeverity.FATAL)
    assert lines(capsys) == ["[DEBUG] [t] [levels.child]: yes"]
    with pytest.raises(ValueError, match="must not be empty"):
        logger.get_child("")


def test_log_filters(capsys):
    logger = get_logger("filters")
    clock = ROSClock()
    clock._set_ros_time_is_active(True)
    for n in range(6):
        clock.set_ros_time_override(Time(seconds=n))
        logger.info(f"once {n}", once=True)
        logger.info(f"rest {n}", skip_first=True)
        logger.info(f"throttled {n}", throttle_duration_sec=2.0, throttle_time_source_type=clock)
        logger.info(f"both {n}", throttle_duration_sec=2.0, throttle_time_source_type=clock, skip_first=True)
    out = [line.rpartition(": ")[2] for line in lines(capsys)]
    assert [text for text in out if "once" in text] == ["once 0"]
    assert [text for text in out if "rest" in text] == [f"rest {n}" for n in range(1, 6)]
    assert [text for text in out if "throttled" in text] == ["throttled 0", "throttled 2", "throttled 4"]
    assert [text for text in out if "both" in text] == ["both 2", "both 4"]  # throttled first, then skipped
    with pytest.raises(TypeError, match="needs throttle_duration_sec"):
        logger.info("x", throttle_time_source_type=clock)
    with pytest.raises(ValueError, match="filters cannot be changed"):
        [logger.info("x", once=once) for once in (True, False)]
    problem = None
    for severity in (LoggingSeverity.INFO, LoggingSeverity.WARN):
        try:
            logger.log("x", severity)
        except ValueError as error:
            problem = str(error)
    assert problem == "Logger severity cannot be changed between calls."


def test_no_rosout(node, hub):
    quiet = Node("quiet", enable_rosout=False, start_parameter_services=False)
    quiet.get_logger().info("nothing")
    assert not any(m.get("name") == "quiet" for topic, m in hub.published if topic == "/rosout")
    publisher = quiet.create_publisher(String, "chat", 1)
    assert publisher.topic == "/chat"
