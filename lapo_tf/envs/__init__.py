"""Environments that no package offers, registered with gymnasium when this package is imported.

Entry points are strings, so MuJoCo is loaded only when an environment is made.
"""

import os

from gymnasium.envs.registration import register

if drawing := os.environ.get("MUJOCO_GL"):
    # `import mujoco` with MUJOCO_GL=osmesa loads Mesa's LLVM, and the process crashes when TensorFlow uses its own; a
    # value that does not work here fails. gymnasium loads its own renderer; see `lapo_tf.runs.film`.
    os.environ["MUJOCO_GL"] = "disable"
    import mujoco  # noqa: F401

    os.environ["MUJOCO_GL"] = drawing

COMPLETE_TASKS = ("microwave", "kettle", "light switch", "slide cabinet")
"""Sub-tasks of D4RL's kitchen-complete and kitchen-partial."""
MIXED_TASKS = ("microwave", "kettle", "bottom burner", "light switch")
"""Sub-tasks of D4RL's kitchen-mixed."""
MAZE_MAX_STEPS = {"umaze": 300, "medium": 600, "large": 800}
"""Steps after which D4RL ends an episode of Maze2d."""
ANTMAZE_MAX_STEPS = {"umaze": 700, "medium": 1000, "large": 1000}
"""Steps after which D4RL ends an episode of AntMaze."""

for name, tasks in {"Complete": COMPLETE_TASKS, "Partial": COMPLETE_TASKS, "Mixed": MIXED_TASKS}.items():
    register(
        f"lapo/Kitchen{name}-v0",
        entry_point="lapo_tf.envs.kitchen:KitchenEnv",
        max_episode_steps=280,
        kwargs={"tasks_to_complete": tasks},
    )
for maze, steps in MAZE_MAX_STEPS.items():
    register(
        f"lapo/Maze2d{maze.capitalize()}-v0",
        entry_point="lapo_tf.envs.maze2d:Maze2dEnv",
        max_episode_steps=steps,
        kwargs={"maze": maze},
    )
for maze, steps in ANTMAZE_MAX_STEPS.items():
    register(
        f"lapo/AntMaze{maze.capitalize()}-v0",
        entry_point="lapo_tf.envs.antmaze:AntMazeEnv",
        max_episode_steps=steps,
        kwargs={"maze": maze},
    )
for goal in ("forward", "backward", "jump"):
    register(
        f"lapo/Walker2d{goal.capitalize()}-v0",
        entry_point="lapo_tf.envs.walker2d:Walker2dGoalEnv",
        max_episode_steps=1000,
        kwargs={"goal": goal},
    )
register("lapo/ToyNavigation-v0", entry_point="lapo_tf.envs.toy:ToyNavigationEnv", max_episode_steps=1)
