"""Keras' own callbacks, and learning rates that change."""

from __future__ import annotations

import csv
from dataclasses import replace

import keras
import numpy as np
import probe
import pytest
import tensorflow as tf

from lapo_tf.agents import AGENTS, AgentSpec, Scaling
from lapo_tf.agents.networks import Adam, rate_schedule
from lapo_tf.errors import UserError
from lapo_tf.training.trainer import Interrupted, Trainer

SCORE = {"monitor": "eval/normalized_score", "mode": "max"}
K = keras.callbacks


def trainer(path, *callbacks, **options) -> Trainer:
    """40 steps in two epochs of 20."""
    run = {"resume": options.pop("resume", False), "log": options.pop("log", probe.quiet)}
    return Trainer(probe.config(path, **options), dataset=probe.dataset(), callbacks=callbacks, progress=False, **run)


def rates(agent) -> dict[str, float]:
    return {o.name: float(o.learning_rate) for o in agent.optimizer.optimizers}


# Keras' own -----------------------------------------------------------------------------------------------------------


class Watcher(K.Callback):
    """Writes down what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list = []

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append(("begin", epoch))

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(("end", epoch, logs["eval/normalized_score"]))


def test_what_callbacks_are_told(tmp_path):
    watcher = Watcher()
    done = trainer(tmp_path / "run", watcher)
    done.run()
    scores = [row["eval/normalized_score"] for row in done.folder.metrics()]
    assert watcher.seen == [("begin", 0), ("end", 20, scores[0]), ("begin", 20), ("end", 40, scores[1])]
    assert watcher.params == {"epochs": 40, "steps": 20, "verbose": 0}
    assert watcher.model is done.agent


def test_early_stopping_and_weights(tmp_path):
    path = tmp_path / "best.weights.h5"
    best = K.ModelCheckpoint(str(path), save_weights_only=True, save_best_only=True, **SCORE)
    done = trainer(tmp_path / "run", K.EarlyStopping(patience=0, min_delta=1000, **SCORE), best, steps=100)
    assert done.run().steps == 40  # the second is not 1000 better than the first
    first = [w.numpy() for w in done.agent.weights]
    done.agent.load_weights(path)
    assert any(not np.array_equal(w, f.numpy()) for w, f in zip(first, done.agent.weights, strict=True)) == (
        done.folder.metrics()[0]["eval/normalized_score"] >= done.folder.metrics()[1]["eval/normalized_score"]
    )


def test_loggers(tmp_path, capsys):
    called: list[int] = []
    callbacks = [
        K.CSVLogger(str(tmp_path / "log.csv")),
        K.TensorBoard(str(tmp_path / "board"), histogram_freq=1),
        K.LambdaCallback(on_epoch_begin=lambda epoch, logs: called.append(epoch)),
        K.ProgbarLogger(),
        K.TerminateOnNaN(),
    ]
    told: list[str] = []
    done = trainer(tmp_path / "run", *callbacks, log=told.append)
    done.run()
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [20, 40]
    assert [float(row["vae/loss"]) for row in rows] == [row["vae/loss"] for row in done.folder.metrics()]
    assert list((tmp_path / "board").rglob("events.*"))
    assert called == [0, 20]
    assert [line for line in told if "never called" in line] == [
        "note: TerminateOnNaN.on_batch_end is never called, because many batches are one call of the compiled loop"
    ]


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (lambda path: print, "expected instances of keras.callbacks.Callback"),
        (lambda path: K.BackupAndRestore(path), "BackupAndRestore cannot work here: a run folder goes on by itself"),
        (lambda path: K.SwapEMAWeights(), "SwapEMAWeights cannot work here"),
        (lambda path: K.ModelCheckpoint(path + "/a.keras"), "expected save_weights_only=True"),
        (
            lambda path: K.ModelCheckpoint(path + "/a.weights.h5", save_weights_only=True, save_freq=7),
            "expected save_freq='epoch'",
        ),
        (lambda path: K.EarlyStopping(), "unknown metric for EarlyStopping 'val_loss'"),
        (lambda path: K.ReduceLROnPlateau(monitor="eval/normalised_score"), "did you mean 'eval/normalized_score'"),
        (lambda path: K.EarlyStopping(monitor="eval/return"), "give mode='max' or 'min'"),
    ],
)
def test_what_cannot_work_is_refused_before_training(tmp_path, callback, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")) as error:
        trainer(tmp_path / "run", callback(str(tmp_path)))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


# Learning rates -------------------------------------------------------------------------------------------------------


def test_rates_by_callbacks(tmp_path):
    class After(K.Callback):
        def on_epoch_end(self, epoch, logs=None):
            found.append(rates(self.model)["net"])

    found: list[float] = []
    trainer(tmp_path / "half", K.LearningRateScheduler(lambda epoch, rate: rate / 2), After(), steps=60).run()
    assert found == pytest.approx([0.005, 0.0025, 0.00125])
    found.clear()
    plateau = K.ReduceLROnPlateau(factor=0.1, patience=1, min_delta=1e6, **SCORE)
    trainer(tmp_path / "plateau", plateau, After(), steps=60).run()
    assert found == pytest.approx([0.01, 0.001, 0.0001])


def test_rates_survive_a_resume_to_the_last_bit(tmp_path):
    """In the midst of an epoch, where `on_epoch_begin` must not halve them once more, and at its end."""

    def run(name, **options):
        return trainer(tmp_path / name, K.LearningRateScheduler(lambda epoch, rate: rate / 2), **options)

    whole = run("whole", steps=80)
    whole.run()
    for moment in (30, 40):
        first = run(f"pieces{moment}", steps=80)
        probe.interrupt_after(first, moment)
        with pytest.raises(Interrupted):
            first.run()
        assert 0 < first.step < 80
        rest = run(f"pieces{moment}", steps=80, resume=True)
        assert rates(rest.agent) == rates(first.agent)
        rest.run()
        assert probe.fingerprint(rest) == probe.fingerprint(whole)
    assert rates(whole.agent)["net"] == pytest.approx(0.01 / 16)
    other = run("whole", steps=80, resume=True, own={"learning_rate": 0.08})
    assert rates(other.agent)["net"] == pytest.approx(0.08 / 16)
    other.close()


def test_schedules_against_their_formulas():
    steps = np.arange(0, 50, 7)
    fall = np.minimum(steps / 40, 1)
    grow = np.minimum((steps + 1) / 10, 1)
    expected = {"cosine": (1 + np.cos(np.pi * fall)) / 2, "linear": 1 - fall, "constant": np.ones(len(steps))}
    for kind, values in expected.items():
        for warmup, factor in ((0, 1.0), (10, grow)):
            schedule = rate_schedule(kind, 40, warmup)  # type: ignore[arg-type]
            if schedule is None:
                assert (kind, warmup) == ("constant", 0)
                continue
            got = [float(schedule(tf.constant(step, tf.int64))) for step in steps]
            np.testing.assert_allclose(got, values * factor, atol=1e-6)


def test_a_scheduled_adam_makes_scheduled_steps():
    """With a gradient that stays the same, Adam's step is its rate."""
    variable = tf.Variable([1.0])
    adam = Adam(0.1, schedule=rate_schedule("linear", 4, 2))
    adam.build([variable])
    taken = []
    for _ in range(6):
        before = variable.numpy()
        adam.minimise(lambda: (tf.reduce_sum(3.0 * variable), {}))
        taken.append(float(before[0] - variable.numpy()[0]))
    assert taken == pytest.approx([0.1 * f for f in (0.5 * 1, 0.75, 0.5, 0.25, 0, 0)], abs=1e-6)


@pytest.mark.parametrize("name", [name for name in AGENTS if name != "clone"])
def test_every_agent_follows_the_schedule(name):
    config = AGENTS[name].Config(hidden=(4,), schedule="linear", warmup_steps=3).for_run(90)
    assert config.decay_steps == 90
    own = {field: (4,) for field in vars(config) if field.endswith("hidden")}
    agent = AGENTS[name](replace(config, **own), AgentSpec(3, 2, Scaling.identity(3, 2, 1.0)))  # type: ignore[arg-type]
    for optimizer in agent.optimizer.optimizers:
        assert float(optimizer.schedule(tf.constant(30, tf.int64))) == pytest.approx(2 / 3)
        assert float(optimizer.schedule(tf.constant(0, tf.int64))) == pytest.approx(1 / 3)
        assert optimizer is getattr(agent, f"{optimizer.name}_optimizer")
    constant = AGENTS[name].Config(hidden=(4,)).for_run(90)
    assert constant.decay_steps == (90 if name == "iql" else None)
