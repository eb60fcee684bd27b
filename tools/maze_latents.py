"""Why LAPO's policies leave the goal of maze2d-umaze: what else the same decoder and critics could do.

python tools/maze_latents.py RUN [RUN ...] [--step N]     # last checkpoints, or those of step N; the data set is needed

Prints the values of the goal, and of the corner beside it where the data never are; how long the policy's latents are
beside the prior's; and a Markdown table of scores (20 episodes): the policy, its latents made shorter, and the best of
n latents drawn from the prior, as the critics judge them.
"""

import argparse
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

Policy: TypeAlias = Callable[[np.ndarray], np.ndarray]
EPISODES, SAMPLE = 20, 20_000
GOAL, CORNER = np.array([[1.0, 1.0, 0.0, 0.0]]), np.array([[0.4, 0.4, 0.0, 0.0]])


def best_of(run: Any, count: int, rng: np.random.Generator) -> Policy:
    """A policy: the best by the smaller Q of `count` actions decoded from z ~ N(0, I)."""
    agent = run.agent

    def act(observations: np.ndarray) -> np.ndarray:
        many = np.repeat(observations, count, axis=0)
        scaled = agent.scale_observation(np.float32(many))
        actions = agent.decode(scaled, rng.standard_normal((len(many), agent.latent_dim)).astype(np.float32))
        pairs = np.concatenate([scaled, actions], axis=1)
        values = np.minimum(agent.q1(pairs), agent.q2(pairs)).reshape(len(observations), count)
        best = values.argmax(axis=1) + count * np.arange(len(observations))
        return agent.unscale_action(actions.numpy()[best]).numpy()

    return act


def shortened(run: Any, factor: float) -> Policy:
    """A policy: the run's own with its latents multiplied by `factor`."""
    return lambda observations: run.decode(observations, factor * run.latents(observations))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="run folders")
    parser.add_argument("--step", type=int, help="of the checkpoints; default: the last")
    options = parser.parse_args()
    from lapo_tf import load_run, runtime
    from lapo_tf.data import load_dataset

    runtime.quiet()
    runtime.configure("graph")
    rows = []
    for folder in options.runs:
        run = load_run(folder, options.step)
        name = f"beta {run.config.agent_config.kl_weight:g}, seed {run.config.seed}, {run.step:,}"
        data = load_dataset(run.data()["id"])
        away = np.linalg.norm(data.observations[data.index, :2] - CORNER[0, :2], axis=1).min()
        some = np.random.default_rng(0).choice(data.index, SAMPLE)
        norms = np.linalg.norm(run.latents(data.observations[some]), axis=1)
        print(f"{name}: value of the goal {run.value(GOAL)[0]:.1f}, of the corner {run.value(CORNER)[0]:.1f}")
        prior = np.sqrt(run.agent.latent_dim - 2 / 3)
        print(f"    distance of the data's states from the corner: {away:.2f} or more")
        print(f"    median norm of the policy's latents {np.median(norms):.2f}, of N(0, I) {prior:.2f}", flush=True)
        policies: dict[str, Policy] = {"policy": run.policy}
        policies |= {f"latents x {factor}": shortened(run, factor) for factor in (0.75, 0.5, 0.25, 0.0)}
        policies |= {f"best of {count}": best_of(run, count, np.random.default_rng(0)) for count in (1, 5, 20, 100)}
        scores = {what: run.rollout(EPISODES, policy=policy).scores.mean() for what, policy in policies.items()}
        rows.append(f"| {name} | " + " | ".join(f"{score:.1f}" for score in scores.values()) + " |")
    print("\n| run, step | " + " | ".join(scores) + " |\n|" + "---|" * (len(scores) + 1))
    print("\n".join(rows))


if __name__ == "__main__":
    main()
