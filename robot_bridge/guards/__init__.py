"""What stands between a policy's wish and a robot: limits, a motion that can always be stopped, and the guards.

Pure NumPy: no clock, no transport, no thread. `limits` <- `motion` <- `guards` <- `decision`.
"""
