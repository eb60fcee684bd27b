"""The policy bundle of a trained run, for `robot_bridge`.

The bundle is described in `robot_bridge.robot.bundle`, whose runtime tries it here before it is written. Besides the
action the model gives the scores of `lapo_tf.runs.novelty`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lapo_tf import runtime
from lapo_tf.data import OfflineDataset
from lapo_tf.data.split import split
from lapo_tf.runs.conversion import MAX_DIFFERENCE, compare, onnx_policy, to_litert, write_onnx, write_saved_model
from lapo_tf.runs.novelty import MARGIN, has_cvae, novelty_function
from lapo_tf.runs.run import Rollout, Run
from lapo_tf.tasks.names import Commanded, Names, Observed, recorded_names, told_names
from lapo_tf.tasks.task import HELD_OUT, SCORE, Task
from robot_bridge.robot.bundle import Policy
from robot_bridge.robot.description import DESCRIPTION as JSON
from robot_bridge.robot.description import (
    MODEL,
    NOVELTY,
    ActionEntry,
    Description,
    NoveltyScore,
    ObservationEntry,
    Recorded,
)
from robot_bridge.robot.novelty import NOVEL, fit_whitening, held_out_scores, varying
from robot_bridge.robot.starts import start_entries

COMPARED = 1000  # observations of the data that the trained and the exported policy are compared on
HELD_OUT_STEPS = 2000  # at most so many are tried where there is no simulator
QUANTILES = (0.001, 0.01, 0.5, 0.99, 0.999)
SAVED_MODEL, ONNX = "saved_model", "policy.onnx"


def export(
    run: Run,
    out: Path,
    *,
    dataset: str | None = None,
    trial_episodes: int = 10,
    offline: bool = False,
    control_rate: float | None = None,
    saved_model: bool = False,
    onnx: bool = False,
    progress: bool = False,
) -> Policy:
    """Write the bundle of a run and return it, loaded.

    Args:
        run: from `lapo_tf.runs.run.load_run`.
        out: the bundle's folder; its files are replaced.
        dataset: the training data, if not where the run found it.
        trial_episodes: of the exported policy in the task's simulator; 0 leaves the score unmeasured and the CVAE's
            novelty out. A run that is judged on held-out episodes has these in place of a trial.
        offline: do without the simulator, as for a run that is judged on held-out episodes; where none were held out,
            the CVAE's novelty is left out.
        control_rate: Hz, of a task without a simulator whose data do not say it.
        saved_model, onnx: write `out/saved_model` and `out/policy.onnx`, too.
        progress: show a bar of the trial.

    Raises:
        UserError: the data cannot be had, or the exported model is not the policy.
    """
    agent, config = run.agent, run.config
    offline = offline or run.folder.criterion() == HELD_OUT
    unseen = (run.data().get("held_out") or {}).get("episodes")
    data = run.task.load_dataset(
        dataset or config.dataset or run.data()["id"],
        layout=config.layout,
        max_episode_steps=config.max_episode_steps,
        offline=offline,
        progress=progress,
    )
    names = names_of(run, data, control_rate, offline)
    observations = data.observations[data.index]
    varies = varying(observations)
    held_out = held_out_scores(observations, np.repeat(np.arange(len(data.episodes)), data.episodes[:, 1]), varies)
    scores = [
        NoveltyScore(
            "observation",
            max(float(np.quantile(held_out, NOVEL)), 1e-6),
            f"{NOVEL:.1%} quantile of {len(held_out):,} transitions in {len(data.episodes)} episodes held out in turn",
        )
    ]
    with_cvae = has_cvae(agent) and bool(unseen if offline else trial_episodes)
    if with_cvae:
        scores.append(NoveltyScore("action", 1.0, "not calibrated"))
    out.mkdir(parents=True, exist_ok=True)
    some = observations[np.random.default_rng(0).permutation(len(observations))[:COMPARED]]
    expected = agent.act(some)
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as temporary:
        unfinished = Path(temporary)
        whitening = fit_whitening(observations, varies)
        novelty = novelty_function(agent, whitening.mean, whitening.matrix, with_cvae)
        write_saved_model(agent, novelty, unfinished / SAVED_MODEL)
        models = {MODEL: to_litert(unfinished / SAVED_MODEL, "act")}
        models[NOVELTY] = to_litert(unfinished / SAVED_MODEL, "novelty")
        with runtime.silenced():  # LiteRT says that it is there
            policy = Policy(describe(run, data, names, tuple(scores), models), models)
        difference = compare(MODEL, policy.infer, expected, some)
        check = {"observations": len(some), "max_difference": difference, "allowed": MAX_DIFFERENCE}
        description = replace(policy.description, check=check)
        if offline and unseen:
            description = with_held_out(split(data, unseen)[1], Policy(description, models))
        elif trial_episodes and not offline:
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


def names_of(run: Run, data: OfflineDataset, control_rate: float | None, offline: bool) -> Names:
    """What the numbers of a run's observations and actions are called: as its data say, else as its environment does.

    Raises:
        UserError: the data do not say how many steps a second they have, and there is no environment that does.
    """
    told = told_names(data) or run.data().get("names") or {}  # the data first: their names may have been corrected
    if offline or told.get("channels"):
        return recorded_names(told, (data.obs_dim, data.act_dim), data.summary.id, control_rate)
    env = run.task.make_env()
    names = run.task.names(env)
    env.close()
    return names


def describe(
    run: Run, data: OfflineDataset, names: Names, novelty: tuple[NoveltyScore, ...], models: dict[str, bytes]
) -> Description:
    """What `policy.json` says before the trial."""
    observations = data.observations[data.index]
    low, high = observations.min(axis=0), observations.max(axis=0)
    quantiles = np.quantile(observations, QUANTILES, axis=0).T
    scaling = run.agent.spec.scaling
    values = run.folder.read()
    return Description(
        task=run.task.name,
        control_rate=names.control_rate,
        observations=tuple(
            ObservationEntry(
                o.name,
                o.unit,
                float(low[i]),
                float(high[i]),
                tuple(quantiles[i].tolist()),
                o.constant,
                o.scale,
                recorded(o),
            )
            for i, o in enumerate(names.observations)
        ),
        actions=tuple(
            ActionEntry(
                a.joint,
                a.quantity,
                a.unit,
                a.scale,
                float(scaling.act_low[i]),
                float(scaling.act_high[i]),
                recorded(a),
            )
            for i, a in enumerate(names.actions)
        ),
        novelty=novelty,
        sha256={name: hashlib.sha256(model).hexdigest() for name, model in models.items()},
        data={name: value for name, value in values["data"].items() if name != "names"},
        source={
            "run": str(run.path),
            "agent": run.config.agent,
            "step": run.step,
            "seed": run.config.seed,
            "versions": values.get("versions", {}),
        },
        environment=environment(run.task),
        start=start_entries(
            data.observations[data.episodes[:, 0]] / [o.scale for o in names.observations],
            [o.name for o in names.observations],
            [o.unit for o in names.observations],
            {a.joint for a in names.actions} | {o.recorded.get("joint") for o in names.observations},
        ),
    )


def recorded(entry: Observed | Commanded) -> Recorded | None:
    """Where a number was recorded, as bundles say it."""
    return Recorded(**entry.recorded) if entry.recorded else None


def environment(task: Task) -> dict[str, Any]:
    """How the bundle's reader makes a task's environment, see `Description.environment`; empty where there is none."""
    if task.env_id is None:
        return {}
    module = "lapo_tf.envs:" if task.env_id.startswith("lapo/") else ""  # registers it
    bounds = {"score_min": task.score_min, "score_max": task.score_max}
    more = {name: getattr(task, name) for name in ("env_options", "wrapper", "max_episode_steps", "success")}
    return {"id": module + task.env_id} | bounds | {name: value for name, value in more.items() if value}


def with_trial(run: Run, policy: Policy, episodes: int, progress: bool) -> Description:
    """The description with the bundle's score in the simulator, the CVAE's threshold, and the shares of alarms."""
    novelty: list[np.ndarray] = []

    def act(rows: np.ndarray) -> np.ndarray:
        actions = [policy.infer(row) for row in rows]
        novelty.extend(policy.novelty(row, action) for row, action in zip(rows, actions, strict=True))
        return np.stack(actions)

    rollout: Rollout = run.rollout(episodes, seed=0, parallel=1, progress=progress, policy=act)
    normalized = {
        "normalized_score": float(rollout.scores.mean()),
        "normalized_score_std": float(rollout.scores.std()),
    }
    return replace(
        policy.description,
        novelty=calibrated(policy, np.stack(novelty), "trial steps"),
        score={
            **(normalized if run.task.criterion == SCORE else {}),
            "return": float(rollout.returns.mean()),
            **run.task.success_numbers(rollout.returns, rollout.infos),
            "scores": rollout.scores.tolist(),
            "episodes": episodes,
            "seeds": [int(seed) for seed in rollout.seeds],
        },
    )


def with_held_out(held_out: OfflineDataset, policy: Policy) -> Description:
    """The description with the CVAE's threshold and the shares of alarms on episodes that training has not seen."""
    rows = held_out.observations[held_out.index]
    rows = rows[:: -(-len(rows) // HELD_OUT_STEPS)]
    novelty = [policy.novelty(row, policy.infer(row)) for row in rows]
    return replace(policy.description, novelty=calibrated(policy, np.stack(novelty), "held-out steps"))


def calibrated(policy: Policy, novelty: np.ndarray, what: str) -> tuple[NoveltyScore, ...]:
    """A policy's scores of novelty with the CVAE's threshold, if there is one, and the shares of alarms.

    Args:
        policy: whose thresholds so far are the units of `novelty`.
        novelty: scores [steps, 1 or 2] of observations, and of the policy's own actions there.
        what: the steps are, in words.
    """
    seen, scores = novelty.astype(np.float64), list(policy.description.novelty)
    if len(scores) > 1:
        familiar = seen[seen[:, 0] <= 1.0, 1]
        if len(familiar):
            threshold = max(MARGIN * float(np.quantile(familiar, NOVEL)), 1e-6)
            how = f"{MARGIN} x the {NOVEL:.1%} quantile of {len(familiar):,} {what} with familiar observations"
            scores[1] = replace(scores[1], threshold=threshold, calibration=how)
            seen[:, 1] /= threshold
    alarms = (seen > 1.0).mean(axis=0)
    return tuple(replace(s, alarms=round(float(a), 4)) for s, a in zip(scores, alarms, strict=True))
