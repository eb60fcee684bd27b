"""A node that holds an arm where it is: `python examples/hold.py`.

When enabled, it takes the next joint state as the target and sends it as a trajectory of one point, again and again,
until it is disabled or the joint states stop coming. The only line that is not plain rclpy is the import below.

    ros2 service call /hold/enable std_srvs/srv/SetBool "{data: true}"
"""

import robot_bridge.ros.standin  # noqa: F401, I001 - real rclpy where it is installed, else rosbridge

import rclpy
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint


class Hold(Node):
    """Parameters: `rate` (Hz), `max_age` (s) of a joint state, `command_topic`."""

    def __init__(self):
        super().__init__("hold")
        rate = self.declare_parameter("rate", 20.0).value
        self.max_age = Duration(seconds=self.declare_parameter("max_age", 0.1).value)
        topic = self.declare_parameter("command_topic", "joint_trajectory").value
        self.target = None
        self.enabled = False
        self.last_seen = None
        self.commands = self.create_publisher(JointTrajectory, topic, 1)
        self.create_subscription(JointState, "joint_states", self.on_state, qos_profile_sensor_data)
        self.create_service(SetBool, "~/enable", self.on_enable)
        self.timer = self.create_timer(1.0 / rate, self.on_timer)

    def on_state(self, message):
        self.last_seen = self.get_clock().now()
        if self.enabled and self.target is None:
            self.target = message
            self.get_logger().info(f"holding {len(message.name)} joints")

    def on_enable(self, request, response):
        self.enabled, self.target = request.data, None
        response.success, response.message = True, "holding from the next joint state" if request.data else "disabled"
        return response

    def on_timer(self):
        if self.target is None:
            return
        if self.get_clock().now() - self.last_seen > self.max_age:
            self.enabled, self.target = False, None
            self.get_logger().error("joint states stopped: disabled")
            return
        point = JointTrajectoryPoint(positions=self.target.position)
        point.time_from_start = Duration(seconds=2.0 * self.timer.timer_period_ns / 1e9).to_msg()
        self.commands.publish(JointTrajectory(joint_names=self.target.name, points=[point]))


def main():
    rclpy.init()
    node = Hold()
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
