"""Run a learned policy on a robot, over rosbridge. Never imports TensorFlow or `lapo_tf`."""
