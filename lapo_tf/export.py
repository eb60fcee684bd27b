"""Make a policy bundle of a trained run: `python -m lapo_tf.export runs/kitchen-complete/lapo/seed0 --out policy/`.

The bundle is described in `robot_bridge.robot.bundle`, whose runtime tries it here before it is written. Besides the
action the model gives two scores of how unlike the training data a moment is:

    observation   whitened distance: sqrt(mean over whitened dimensions of the squared observation). Its threshold is
                  the 99.9 % quantile over episodes held out in turn (5 folds), none of which its statistics have seen.
    action        for agents with a CVAE: reconstruction error of the policy's action plus the posterior's divergence
                  from the prior. Its threshold is the same quantile over trial episodes in the simulator, which the
                  CVAE has never seen, as far as their observations are not novel themselves.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro

from lapo_tf import runtime
from lapo_tf.errors import UserError, command

if TYPE_CHECKING:
    from lapo_tf.agents import Agent
    from lapo_tf.data import OfflineDataset
    from lapo_tf.runs.run import Rollout, Run
    from robot_bridge.robot.bundle import Description, NoveltyScore, Policy

DESCRIPTION = """Make a policy bundle of a trained run, for python -m robot_bridge.run.

The exported model is run beside the trained one on the data's observations, and refused if they differ."""

MAX_DIFFERENCE = 1e-5
"""Largest difference of an action, in the action's own units, between the trained and the exported policy."""
COMPARED = 1000  # observations of the data they are compared on
QUANTILES = (0.001, 0.01, 0.5, 0.99, 0.999)
NOVEL = 0.999  # quantile of the held-out scores beyond which a moment is novel
FOLDS = 5
SAVED_MODEL, ONNX = "saved_model", "policy.onnx"
RIDGE = 0.01  # added to the correlation matrix, so that directions without variance do not blow up noise
MARGIN = 1.5  # on the CVAE's threshold: few trial episodes see few of the scores that are normal


@dataclass(frozen=True)
class Args:
    """Options of the command."""

    run: tyro.conf.Positional[Path]
    """The run folder, e.g. runs/kitchen-complete/lapo/seed0."""
    out: Path = Path("policy")
    """Folder of the bundle."""
    checkpoint: str = "best"
    """Which weights: best (of the evaluations during training), last, or a step."""
    dataset: str | None = None
    """The training data, where it is not where the run found it."""
    trial_episodes: int = 10
    """Episodes of the exported policy in the task's simulator: its score, and the action score's threshold."""
    saved_model: bool = False
    """Write a TensorFlow SavedModel, too."""
    onnx: bool = False
    """Write policy.onnx, too (needs: pip install 'lapo-tf[onnx]')."""


# Novelty --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Whitening:
    """score(s) = sqrt(mean(((s - mean) @ matrix)²)); the matrix is [obs, live], of dimensions that vary in the data."""

    mean: np.ndarray
    matrix: np.ndarray

    def score(self, observations: np.ndarray) -> np.ndarray:
        """Scores [N] of raw observations [N, obs]."""
        return np.sqrt(np.mean(((observations - self.mean) @ self.matrix) ** 2, axis=1))


def fit_whitening(observations: np.ndarray, live: np.ndarray) -> Whitening:
    """Fit to raw observations [N, obs], of which the dimensions `live` are used."""
    values = observations[:, live].astype(np.float64)
    mean, std = values.mean(0), np.maximum(values.std(0), 1e-9)
    correlation = np.atleast_2d(np.cov(((values - mean) / std).T)) + RIDGE * np.eye(len(live))
    matrix = np.zeros((observations.shape[1], len(live)))
    matrix[live] = np.linalg.inv(np.linalg.cholesky(correlation)).T / std[:, None]
    full = np.zeros(observations.shape[1])
    full[live] = mean
    return Whitening(full, matrix)


def held_out_scores(observations: np.ndarray, episode: np.ndarray, live: np.ndarray) -> np.ndarray:
    """The score [N] of every observation by statistics that have not seen its episode."""
    folds = min(FOLDS, int(episode.max()) + 1)
    if folds < 2:
        raise UserError("the data set has a single episode: expected two or more, as novelty is calibrated on others")
    scores = np.zeros(len(observations))
    for fold in range(folds):
        out = episode % folds == fold
        scores[out] = fit_whitening(observations[~out], live).score(observations[out])
    return scores


def has_cvae(agent: Agent) -> bool:
    """Whether the agent models actions with a conditional VAE."""
    return all(hasattr(agent, name) for name in ("encoder", "target_decoder"))


# The exported graph ---------------------------------------------------------------------------------------------------


def novelty_function(agent: Agent, whitening: Whitening, with_cvae: bool) -> Any:
    """The graph `observation` [1, obs], `action` [1, act] -> `novelty` [1, 1 or 2], all raw."""
    import tensorflow as tf

    mean, matrix = whitening.mean.astype(np.float32), whitening.matrix.astype(np.float32)
    scaling = agent.spec.scaling

    def novelty(observation: Any, action: Any) -> Any:
        scores = [tf.sqrt(tf.reduce_mean(tf.matmul(observation - mean, matrix) ** 2, -1, keepdims=True))]
        if with_cvae:
            networks: Any = agent
            states, actions = agent.scale_observation(observation), (action - scaling.act_mean) / scaling.act_std
            mode, log_var = tf.split(networks.encoder(tf.concat([states, actions], -1)), 2, axis=-1)
            decoded = networks.target_decoder(tf.concat([states, mode], -1))
            divergence = 0.5 * tf.reduce_sum(mode**2 + tf.exp(log_var) - log_var - 1.0, -1, keepdims=True)
            scores.append(tf.reduce_sum((decoded - actions) ** 2, -1, keepdims=True) + divergence)
        return {"novelty": tf.concat(scores, -1)}

    inputs = (("observation", agent.spec.obs_dim), ("action", agent.spec.act_dim))
    return tf.function(novelty, input_signature=[tf.TensorSpec([1, n], tf.float32, name=name) for name, n in inputs])


def write_saved_model(agent: Agent, novelty: Any, folder: Path) -> None:
    """A SavedModel with the endpoints `serve`, raw observations [batch, obs] -> raw actions; `act`, the same for one
    observation, by name; and `novelty`."""
    import keras
    import tensorflow as tf

    def spec(batch: int | None) -> list[Any]:
        return [tf.TensorSpec([batch, agent.spec.obs_dim], tf.float32, name="observation")]

    archive = keras.export.ExportArchive()
    archive.track(agent)
    archive.add_endpoint("serve", agent._raw_action, spec(None))
    archive.add_endpoint("act", tf.function(lambda observation: {"action": agent._raw_action(observation)}, spec(1)))
    archive.add_endpoint("novelty", novelty)
    archive.write_out(str(folder), verbose=False)


def to_litert(saved_model: Path, endpoint: str) -> bytes:
    """An endpoint as a LiteRT model.

    By way of a SavedModel, because converting the function itself loses Keras 3's weights without a word.
    """
    import tensorflow as tf

    try:
        return tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=[endpoint]).convert()
    except Exception as error:  # the converter raises its own and MLIR's kinds
        raise UserError(f"LiteRT cannot hold this policy ({str(error).splitlines()[0][:200]})") from error


def compare(name: str, infer: Any, expected: np.ndarray, observations: np.ndarray) -> float:
    """The largest difference of actions; `infer` gives one for one observation.

    Raises:
        UserError: it is above `MAX_DIFFERENCE`, or an action is not finite, or they do not depend on the observation
            although the policy's do.
    """
    actions = np.stack([infer(observation) for observation in observations])
    if not np.isfinite(actions).all():
        raise UserError(f"the exported {name} gives NaN or infinite actions: not written; report it with the run")
    difference = float(np.abs(actions - expected).max())
    if difference > MAX_DIFFERENCE:
        constant = np.ptp(actions, axis=0).max() == 0.0 < np.ptp(expected, axis=0).max()
        why = "its actions are all the same, so its weights were lost" if constant else "its actions are others"
        raise UserError(
            f"the exported {name} differs from the trained policy by up to {difference:.2g} "
            f"(at most {MAX_DIFFERENCE:g} is right): {why}; not written"
        )
    return difference


# The bundle -----------------------------------------------------------------------------------------------------------


def export(
    run: Run,
    out: Path,
    *,
    dataset: str | None = None,
    trial_episodes: int = 10,
    saved_model: bool = False,
    onnx: bool = False,
    progress: bool = False,
) -> Policy:
    """Write the bundle of a run and return it, loaded.

    Args:
        run: from `lapo_tf.runs.run.load_run`.
        out: the bundle's folder; its files are replaced.
        dataset: the training data, if not where the run found it.
        trial_episodes: see `Args`; 0 leaves the score unmeasured and the CVAE's novelty out.
        saved_model, onnx: write `out/saved_model` and `out/policy.onnx`, too.
        progress: show a bar of the trial.

    Raises:
        UserError: the data cannot be had, or the exported model is not the policy.
    """
    import tensorflow as tf

    from robot_bridge.robot.bundle import DESCRIPTION as JSON
    from robot_bridge.robot.bundle import MODEL, NOVELTY, NoveltyScore, Policy

    agent, data = run.agent, run.task.load_dataset(dataset or run.config.dataset or run.data()["id"], progress=progress)
    observations = data.observations[data.index]
    varies = np.flatnonzero(np.ptp(observations, axis=0) > 1e-6 * np.maximum(1.0, np.abs(observations).max(axis=0)))
    if not len(varies):  # the toy task: its one observation never changes
        varies = np.arange(observations.shape[1])
    held_out = held_out_scores(observations, np.repeat(np.arange(len(data.episodes)), data.episodes[:, 1]), varies)
    scores = [
        NoveltyScore(
            "observation",
            max(float(np.quantile(held_out, NOVEL)), 1e-6),
            f"{NOVEL:.1%} quantile of {len(held_out):,} transitions in {len(data.episodes)} episodes held out in turn",
        )
    ]
    with_cvae = has_cvae(agent) and trial_episodes > 0
    if with_cvae:
        scores.append(NoveltyScore("action", 1.0, "not calibrated"))
    out.mkdir(parents=True, exist_ok=True)
    some = observations[np.random.default_rng(0).permutation(len(observations))[:COMPARED]]
    expected = agent.act(some)
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as temporary:
        unfinished = Path(temporary)
        novelty = novelty_function(agent, fit_whitening(observations, varies), with_cvae)
        write_saved_model(agent, novelty, unfinished / SAVED_MODEL)
        models = {MODEL: to_litert(unfinished / SAVED_MODEL, "act")}
        models[NOVELTY] = to_litert(unfinished / SAVED_MODEL, "novelty")
        with runtime.silenced():  # LiteRT says that it is there
            policy = Policy(describe(run, data, tuple(scores), models), models)
        difference = compare(MODEL, policy.infer, expected, some)
        check = {"observations": len(some), "max_difference": difference, "allowed": MAX_DIFFERENCE}
        description = replace(policy.description, check=check)
        if trial_episodes:
            description = with_trial(run, Policy(description, models), trial_episodes, progress)
        for name, model in models.items():
            (unfinished / name).write_bytes(model)
        (unfinished / JSON).write_text(description.to_json())
        if saved_model:
            loaded = tf.saved_model.load(str(unfinished / SAVED_MODEL))
            compare("SavedModel", lambda o: loaded.serve(o[None]).numpy()[0], expected, some)
        else:
            shutil.rmtree(unfinished / SAVED_MODEL)
        if onnx:
            write_onnx(agent, unfinished / ONNX)
            compare("ONNX model", onnx_policy(unfinished / ONNX), expected, some)
        for path in sorted(unfinished.iterdir()):  # policy.json before the model it describes: a mix does not load
            if (out / path.name).is_dir():
                shutil.rmtree(out / path.name)
            os.replace(path, out / path.name)
    return Policy.load(out)


def describe(
    run: Run, data: OfflineDataset, novelty: tuple[NoveltyScore, ...], models: dict[str, bytes]
) -> Description:
    """What `policy.json` says before the trial."""
    from lapo_tf.envs.names import names_of
    from robot_bridge.robot.bundle import ActionEntry, Description, ObservationEntry

    env = run.task.make_env()
    names = names_of(run.task.env_id, env)
    env.close()
    observations = data.observations[data.index]
    low, high = observations.min(axis=0), observations.max(axis=0)
    quantiles = np.quantile(observations, QUANTILES, axis=0).T
    scaling = run.agent.spec.scaling
    values = run.folder.read()
    return Description(
        task=run.task.name,
        control_rate=names.control_rate,
        observations=tuple(
            ObservationEntry(o.name, o.unit, float(low[i]), float(high[i]), tuple(quantiles[i].tolist()), o.constant)
            for i, o in enumerate(names.observations)
        ),
        actions=tuple(
            ActionEntry(a.joint, a.quantity, a.unit, a.scale, float(scaling.act_low[i]), float(scaling.act_high[i]))
            for i, a in enumerate(names.actions)
        ),
        novelty=novelty,
        sha256={name: hashlib.sha256(model).hexdigest() for name, model in models.items()},
        data=values["data"],
        source={
            "run": str(run.path),
            "agent": run.config.agent,
            "step": run.step,
            "seed": run.config.seed,
            "versions": values.get("versions", {}),
        },
    )


def with_trial(run: Run, policy: Policy, episodes: int, progress: bool) -> Description:
    """The description with the bundle's score in the simulator, the CVAE's threshold, and the shares of alarms."""
    novelty: list[np.ndarray] = []

    def act(rows: np.ndarray) -> np.ndarray:
        actions = [policy.infer(row) for row in rows]
        novelty.extend(policy.novelty(row, action) for row, action in zip(rows, actions, strict=True))
        return np.stack(actions)

    rollout: Rollout = run.rollout(episodes, seed=0, parallel=1, progress=progress, policy=act)
    seen = np.stack(novelty).astype(np.float64)  # in units of the thresholds so far
    scores = list(policy.description.novelty)
    if len(scores) > 1:
        familiar = seen[seen[:, 0] <= 1.0, 1]
        if len(familiar):
            threshold = max(MARGIN * float(np.quantile(familiar, NOVEL)), 1e-6)
            how = f"{MARGIN} x the {NOVEL:.1%} quantile of {len(familiar):,} trial steps with familiar observations"
            scores[1] = replace(scores[1], threshold=threshold, calibration=how)
            seen[:, 1] /= threshold
    alarms = (seen > 1.0).mean(axis=0)
    return replace(
        policy.description,
        novelty=tuple(replace(s, alarms=round(float(a), 4)) for s, a in zip(scores, alarms, strict=True)),
        score={
            "normalized_score": float(rollout.scores.mean()),
            "normalized_score_std": float(rollout.scores.std()),
            "return": float(rollout.returns.mean()),
            "scores": rollout.scores.tolist(),
            "episodes": episodes,
            "seeds": [int(seed) for seed in rollout.seeds],
        },
    )


# ONNX -----------------------------------------------------------------------------------------------------------------


def write_onnx(agent: Agent, path: Path) -> None:
    """An ONNX model `observation` [1, obs] -> `action` [1, act]; ONNX has no op for broadcasts of unknown batches."""
    try:
        import tf2onnx
    except ImportError as error:
        raise UserError(f"--onnx needs {error.name}: pip install 'lapo-tf[onnx]'") from None
    import tensorflow as tf

    signature = [tf.TensorSpec([1, agent.spec.obs_dim], tf.float32, name="observation")]
    function = tf.function(lambda observation: {"action": agent._raw_action(observation)}, input_signature=signature)
    tf2onnx.convert.from_function(function, signature, opset=17, output_path=str(path))


def onnx_policy(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The ONNX model as a function of one observation."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda observation: session.run(["action"], {"observation": observation[None]})[0][0]


@command
def main() -> None:
    """The command."""
    from lapo_tf.cli import parse

    args = parse(Args, description=DESCRIPTION)
    if args.trial_episodes < 0:
        raise UserError(f"--trial-episodes is {args.trial_episodes}: expected 0 or more")
    runtime.quiet()
    runtime.configure("xla")
    from lapo_tf.runs.run import load_run

    run = load_run(args.run, args.checkpoint)
    if run.note:
        print(run.note)
    policy = export(
        run,
        args.out,
        dataset=args.dataset,
        trial_episodes=args.trial_episodes,
        saved_model=args.saved_model,
        onnx=args.onnx,
        progress=True,
    )
    d = policy.description
    print(f"policy       {d.task}, {run.config.agent}, step {run.step:,}; {d.control_rate:g} Hz")
    print(f"checked      {d.check['observations']} observations, largest difference {d.check['max_difference']:.2g}")
    if d.score:
        score = f"{d.score['normalized_score']:.1f} ± {d.score['normalized_score_std']:.1f}"
        print(f"score        {score} over {d.score['episodes']} episodes, exported model, seeds from 0")
    for novelty in d.novelty:
        alarms = "" if novelty.alarms is None else f"; {novelty.alarms:.1%} of the trial's steps are above"
        print(f"novelty      {novelty.name}: threshold {novelty.threshold:.3g} ({novelty.calibration}){alarms}")
    print(f"bundle       {args.out}; next: python -m robot_bridge.demo --policy {args.out}")


if __name__ == "__main__":
    main()
