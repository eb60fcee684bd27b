"""A simulated robot on ROS topics."""
