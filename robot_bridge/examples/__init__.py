"""Nodes to read and to start from; each runs on ROS 2 as it does without."""
