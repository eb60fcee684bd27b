"""Training from a config to a run folder: data, agent, compiled loop, evaluation, checkpoints, callbacks."""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lapo_tf.agents import AGENTS, Agent, AgentSpec, Scaling
from lapo_tf.config import TrainConfig
from lapo_tf.data.bounds import ENVIRONMENT, action_bounds
from lapo_tf.data.dataset import OfflineDataset
from lapo_tf.data.split import SEED, held_out_episodes, split
from lapo_tf.errors import UserError
from lapo_tf.progress import Bar, progress_bar
from lapo_tf.tasks import Task, load_task
from lapo_tf.tasks.names import told_names
from lapo_tf.tasks.task import SCORE, Criterion
from lapo_tf.training import metrics
from lapo_tf.training.callbacks import RunLogger, check_callbacks
from lapo_tf.training.history import data_history
from lapo_tf.training.judges import HeldOut, Simulator
from lapo_tf.training.lock import RunLock
from lapo_tf.training.loop import NonFiniteLossError, TrainingLoop, scaling_of
from lapo_tf.training.options import resolved
from lapo_tf.training.rollout import repeatable
from lapo_tf.training.run_folder import Checkpoints, RunFolder
from lapo_tf.training.signals import handled

SECONDS_PER_CALL = 2.0  # of the compiled loop: the rhythm of the progress bar and of signals


class Interrupted(Exception):
    """A signal such as Ctrl-C: the state was saved. `code` is what the command exits with."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Result:
    """What a finished run has to say."""

    folder: Path
    steps: int
    seconds: float
    score: float
    """Of the last evaluation, by `criterion`."""
    score_std: float | None
    """Standard deviation of the score over the last evaluation's episodes; None where no episodes were run."""
    criterion: Criterion = SCORE
    """What the score is: a normalized score, a return, or a number on held-out episodes."""

    def __str__(self) -> str:
        score = f"{self.criterion.label} {self.score:.3g}"
        if self.score_std is not None:
            score = f"{self.criterion.label} {self.score:.1f} ± {self.score_std:.1f}"
        return f"{score} after {self.steps:,} steps in {self.seconds:,.0f} s: {self.folder}"


def build_agent(config: TrainConfig, values: dict[str, Any]) -> Agent:
    """The agent that `agent` of a run's `config.yaml` describes, with fresh weights."""
    spec = AgentSpec(
        values["obs_dim"], values["act_dim"], Scaling.from_dict(values["scaling"]), config.seed, config.precision
    )
    make: Any = AGENTS[config.agent]
    return make(config.agent_config, spec)


class Trainer:
    """One run, from its first or a later step to its last."""

    def __init__(
        self,
        config: TrainConfig,
        *,
        resume: bool = False,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        dataset: OfflineDataset | None = None,
        other_data: bool = False,
        log: Callable[[str], None] = print,
        progress: bool = True,
        lock: RunLock | None = None,
    ) -> None:
        """
        Args:
            config: the run's options.
            resume: continue the run in `config.folder()` instead of starting one.
            callbacks: Keras callbacks, whose epochs end with an evaluation; see `docs/callbacks.md`.
            dataset: the data, if it is at hand already.
            other_data: let a resumed run go on with other data than it was begun with; `history` in its `config.yaml`
                then keeps both.
            log: what to do with lines for the user.
            progress: show a bar of the steps, and say what the data are.
            lock: of a new run's folder, where the caller holds it already; `close` releases it.
        """
        self.config, self.log = (config := resolved(config)), log
        self.resume, self.progress = resume, progress
        self.folder = RunFolder.open(config.folder()) if resume else RunFolder.create(config.folder())
        self.task: Task = self.folder.task() if resume else load_task(config.task)
        self._lock = RunLock(self.folder.path) if resume else lock
        try:
            self._set_up(dataset, other_data, callbacks)
        except BaseException:
            self.close()
            raise

    def _set_up(
        self, dataset: OfflineDataset | None, other_data: bool, callbacks: Sequence[keras.callbacks.Callback]
    ) -> None:
        """Data, agent, loop and files, in the order in which they need each other."""
        config = self.config
        offline = config.offline or self.task.env_id is None
        data = dataset or self.task.load_dataset(
            config.dataset or self._used_before(),
            layout=config.layout,
            max_episode_steps=config.max_episode_steps,
            data=config.data,
            offline=offline,
        )
        if self.progress:
            self.log(str(data.summary))
            low, high = data.summary.reward_range
            if low == high:
                self.log(f"note: all rewards are {low:g}, so critics learn nothing: see python -m lapo_tf.data relabel")
        told = data.summary.to_dict() | {"checksum": data.checksum()}
        history = data_history(self.folder, told, other_data) if self.resume else []
        if names := told_names(data):
            told["names"] = names
        held_out: OfflineDataset | None = None
        if offline:
            numbers = self._held_out(data, new_data=len(history) > 0)
            told["held_out"] = {"share": config.held_out, "seed": SEED, "episodes": numbers}
            data, held_out = split(data, numbers)
        values = self._agent_values(data, offline)
        self.agent = build_agent(config, values)
        rates = [f"learning_rate_{optimizer.name}" for optimizer in self.agent.optimizer.optimizers]
        judged = [*metrics.EVALUATION]
        if offline:
            judged = [*metrics.HELD_OUT, *(name for name in judged if name.startswith("time/"))]
        check_callbacks(callbacks, [*judged, *self.agent.metric_names, *rates], self.log)
        self.loop = TrainingLoop(
            self.agent,
            data,
            batch_size=config.batch_size or 0,
            seed=config.seed,
            compile=config.compile,
            observation_noise=config.observation_noise,
        )
        self.judge: HeldOut | Simulator
        self.judge = HeldOut(self.agent, held_out) if held_out else Simulator(self.agent, self.task, config)
        if isinstance(self.judge, Simulator) and not repeatable(self.judge.evaluator.envs[0]):
            self.log(
                f"note: '{self.task.env_id}' ignores the seed of reset, so no evaluation can be had twice: give the "
                "task a wrapper that seeds it"
            )
        self.seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self.begun = tf.Variable(-1, dtype=tf.int64, trainable=False)  # step of the last `on_epoch_begin`
        self.state = tf.train.Checkpoint(loop=self.loop, seconds=self.seconds, begun=self.begun)
        self.checkpoints = Checkpoints(self.folder.path / "checkpoints", config.keep_checkpoints)
        if self.resume:
            self.log(self._restore())
        else:
            # Only now, so that a start that fails leaves no folder.
            self._lock = self._lock or RunLock(self.folder.path)
            RunFolder.create(self.folder.path)  # nobody was faster
        self.logger = RunLogger(self.folder, self.step)
        # Only now: a run that cannot be resumed with these options keeps its own.
        self.folder.clean()
        self.folder.write_config(config, told, values, history, self.task)
        board = keras.callbacks.TensorBoard(str(self.folder.path / "tensorboard"), write_graph=False)
        params = {"epochs": config.steps, "steps": config.eval_every, "verbose": int(self.progress)}
        self.callbacks = keras.callbacks.CallbackList([self.logger, board, *callbacks], model=self.agent, **params)
        self.agent.stop_training = False
        self._signal: int | None = None  # the first that came
        self._evaluating = self._ending = False
        self._saved = time.monotonic()
        self._rate = 0.0  # gradient steps per second

    def close(self) -> None:
        """Let other processes have the run folder; `run` does so at its end."""
        if self._lock is not None:
            self._lock.release()

    @property
    def step(self) -> int:
        """Gradient steps done."""
        return int(self.loop.step.numpy())

    def _used_before(self) -> str | None:
        """The task's own data set that a resumed run was begun with: official data, or a collection in their place."""
        used = self.folder.read()["data"]["id"] if self.resume else None
        return used if used in (self.task.minari_id, self.task.collected_id) else None

    def _held_out(self, data: OfflineDataset, new_data: bool) -> list[int]:
        """Numbers of the episodes to judge by: a resumed run keeps its own, where its data are the same."""
        before = self.folder.read()["data"].get("held_out") if self.resume else None
        if before is not None and not new_data:
            return before["episodes"]
        if self.resume and before is None:
            self.log("note: what is held out from now on has been trained on before, so its numbers flatter the policy")
        numbers = held_out_episodes(data, self.config.held_out)
        if self.progress:
            self.log(f"held out     {len(numbers):,} of {len(data.episodes):,} episodes, to judge the policy by")
        return numbers

    def _restore(self) -> str:
        """Load the newest checkpoint; what to tell the user."""
        path, evaluated = self.folder.path, self.folder.episodes()
        episodes = self.config.eval_episodes
        if isinstance(self.judge, Simulator) and evaluated and evaluated["returns"].shape[1] != episodes:
            raise UserError(
                f"{path} is evaluated with {evaluated['returns'].shape[1]} episodes, not {episodes}: "
                "resume without --eval-episodes"
            )
        self.checkpoints.best()  # damage is told now, not after the next evaluation
        if not self.checkpoints.steps():
            return f"{path} has no checkpoint yet: starting from step 0"
        step, note = self.checkpoints.restore(self.state)
        return note or f"resuming {path} from step {step:,}"

    def _agent_values(self, data: OfflineDataset, offline: bool) -> dict[str, Any]:
        """What rebuilds the agent. A resumed run keeps its own scaling."""
        if self.resume:
            return self.folder.read()["agent"]
        space: Any = None
        if not offline:
            env = self.task.make_env()
            space = env.action_space
            env.close()
        low, high, whose = action_bounds(data, space)
        if self.progress and whose != ENVIRONMENT:
            note = "" if space is None else ", for the environment does not bound them"
            self.log(f"actions      stay within {whose}{note}")
        scaling = scaling_of(data, low, high, self.config.agent_config, AGENTS[self.config.agent].action_units)
        return {"obs_dim": data.obs_dim, "act_dim": data.act_dim, "scaling": scaling.to_dict()}

    def run(self) -> Result:
        """Train to the last step.

        Raises:
            Interrupted: after Ctrl-C or another of `SIGNALS`, with the state saved.
            UserError: a loss became non-finite (the last good state was saved), or the disk or the memory is full.
        """
        try:
            return self._run()
        except tf.errors.OpError as error:  # TensorFlow's files: checkpoints and TensorBoard's events
            for reason in ("No space left", "Disk quota exceeded", "File too large"):  # the last: by `ulimit -f`
                if reason in str(error):
                    again = f"make room and run {self._command()}"
                    raise UserError(f"cannot write to {self.folder.path} ({reason}): {again}") from error
            if isinstance(error, tf.errors.ResourceExhaustedError):
                raise UserError("out of memory: give a smaller --batch-size or smaller networks") from error
            raise

    def _run(self) -> Result:
        config, folder = self.config, self.folder
        quiet = not self.progress
        meter = progress_bar(total=config.steps, initial=self.step, unit="step", desc=config.task, disable=quiet)
        with handled(self._on_signal):
            try:
                self.callbacks.on_train_begin()
                if self._evaluation_is_due():  # interrupted in the midst of it
                    self._begin_epoch(self.step - 1)
                    self._evaluate(meter)
                while self.step < config.steps and not self.agent.stop_training:
                    self._begin_epoch(self.step)
                    self._train(min((self.step // config.eval_every + 1) * config.eval_every, config.steps), meter)
                    self._evaluate(meter)
            except KeyboardInterrupt:
                self._ending = True
                self._save()
                code = 128 + (self._signal or signal.SIGINT)
                raise Interrupted(f"saved at step {self.step:,}; continue with: {self._command()}", code) from None
            finally:
                meter.close()
                self.judge.close()
                try:
                    self.callbacks.on_train_end()
                finally:
                    self.close()
        criterion, spread = self.judge.criterion, None
        if isinstance(self.judge, Simulator):
            spread = float(self.task.normalized(self.logger.episodes["returns"][-1]).std())
        score = self.logger.rows[-1][criterion.metric]
        return Result(folder.path, self.step, float(self.seconds), score, spread, criterion)

    def _begin_epoch(self, step: int) -> None:
        """Tell the callbacks, whose epochs last from one evaluation to the next; `step` lies within the epoch."""
        first = step - step % self.config.eval_every
        # A resumed run has in its checkpoint what they changed at this place.
        before = self.loop.snapshot() if int(self.begun) == first else None
        self.callbacks.on_epoch_begin(first)
        self.begun.assign(first)
        if before is not None:
            self.loop.restore(before)

    def _evaluation_is_due(self) -> bool:
        step, rows = self.step, self.logger.rows
        boundary = step == self.config.steps or (step > 0 and step % self.config.eval_every == 0)
        return boundary and (not rows or rows[-1]["step"] != step)

    def _command(self) -> str:
        """How to go on with this run."""
        return f"python -m lapo_tf.train --resume {shlex.quote(str(self.folder.path))}"

    def _on_signal(self, number: int, _: object) -> None:
        if self._ending:  # being saved already
            return
        # A second one does not wait, nor do schedulers during an evaluation, which will be done again.
        if self._signal is not None or (self._evaluating and number != signal.SIGINT):
            self._signal = self._signal or number
            raise KeyboardInterrupt
        self._signal = number
        self.log("stopping at the next safe point…")

    def _check_signal(self) -> None:
        if self._signal is not None:
            raise KeyboardInterrupt

    def _save(self, score: float | None = None) -> None:
        self.checkpoints.save(self.state, self.step, score, self.judge.criterion)
        self._saved = time.monotonic()

    def _train(self, until: int, meter: Bar) -> None:
        """Updates up to step `until`, in calls of about `SECONDS_PER_CALL`."""
        begin, first = time.perf_counter(), self.step
        steps = 10
        while self.step < until:
            self._check_signal()
            before, started = self.loop.snapshot(), time.perf_counter()
            steps = min(steps, until - self.step)
            try:
                self.loop.run(steps)
            except NonFiniteLossError as error:
                self._save_last_good(before, error)
            elapsed = time.perf_counter() - started
            meter.update(steps)
            self.seconds.assign_add(elapsed)
            if time.monotonic() > self._saved + 60 * self.config.checkpoint_minutes and self.step < until:
                self._save()
            # The first call also compiled, so it says little about speed.
            steps = max(1, round(steps * min(4.0, SECONDS_PER_CALL / elapsed)))
        self._rate = (self.step - first) / (time.perf_counter() - begin) if self.step > first else 0.0
        self._check_signal()

    def _save_last_good(self, before: list[np.ndarray], error: NonFiniteLossError) -> None:
        """Go back to the state before the bad step (every step can be done again, exactly), save it, and stop."""
        self.loop.restore(before)
        good, bad = self.step, error.step  # the state after `good` steps is finite, that after `bad` is not
        guess = bad - 1  # unless a weight overflowed in a step whose own losses were finite
        while good < bad - 1 or self.step != good:
            self.loop.restore(before)
            try:
                self.loop.run(guess - self.step)
                good = guess
            except NonFiniteLossError:
                bad = guess
            guess = (good + bad) // 2
        self.checkpoints.save(self.state, good)
        raise UserError(
            f"{error}; saved the state of step {good} in {self.folder.path}; "
            "lower the learning rates or look for outliers in the data"
        )

    def _evaluate(self, meter: Bar) -> None:
        """Evaluate, tell the callbacks, save."""
        started, step, criterion = time.perf_counter(), self.step, self.judge.criterion
        self._evaluating = True
        try:
            numbers = self.judge.numbers(step)
        finally:
            self._evaluating = False
        self.seconds.assign_add(time.perf_counter() - started)
        logs = {
            **numbers,
            "time/seconds": float(self.seconds),
            "time/steps_per_second": self._rate,
            **self.loop.pop_metrics(),
        }
        self.logger.record(step, self.judge.episodes)
        self.callbacks.on_epoch_end(step, logs)
        self._save(logs[criterion.metric])
        short = criterion.label.split()[-1] if criterion.sign > 0 else "action error"
        meter.set_postfix_str(f"{short} {logs[criterion.metric]:.4g}")
