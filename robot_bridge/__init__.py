"""Run a learned policy on a robot, over rosbridge.

Imports neither TensorFlow nor `lapo_tf`, but for `robot_bridge.own_policy`, where it converts a SavedModel.
"""
