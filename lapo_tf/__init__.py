"""lapo_tf: LAPO, offline reinforcement learning from mixed data, in TensorFlow and Keras 3."""

import os

# Both must be set before TensorFlow and Keras are imported for the first time.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
