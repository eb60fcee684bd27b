"""Data sets that a script can make, as local Minari data sets: `python -m lapo_tf.collect`.

A data set appears under its id only when it is complete (see `lapo_tf.data.store`).
"""
