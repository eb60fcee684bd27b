"""Makes the bundle: tries the model, takes ranges and thresholds from the data, writes."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from robot_bridge.errors import UserError, require
from robot_bridge.own_policy.fit import fit
from robot_bridge.own_policy.models import Candidate, Fit, open_model
from robot_bridge.own_policy.numbers import Number, Numbers
from robot_bridge.own_policy.recordings import Recordings
from robot_bridge.robot.bundle import Policy
from robot_bridge.robot.description import (
    DESCRIPTION,
    WHITENING,
    ActionEntry,
    Description,
    Model,
    NoveltyScore,
    ObservationEntry,
)
from robot_bridge.robot.novelty import NOVEL, fit_whitening, held_out_scores, varying
from robot_bridge.robot.starts import start_entries

QUANTILES = (0.001, 0.01, 0.5, 0.99, 0.999)
TRIED = 200  # observations that the model is tried on
WIDER = 0.05  # of an action's recorded range, by which it may go beyond where its bounds come from data
MAX_DIFFERENCE = 1e-4  # between a SavedModel and what became of it, as a share of its largest number, or of 1


@dataclass(frozen=True)
class Choice:
    """What is said of a model beside its numbers; see `python -m robot_bridge.bundle --help`."""

    model: Path
    rate: float | None = None
    history: int | None = None
    chunk: int | None = None
    horizon: int | None = None
    output: str | None = None
    normalised: bool = False
    env: str | None = None


@dataclass
class Made:
    """A bundle, and what is worth knowing of it, line by line."""

    policy: Policy
    notes: list[str] = field(default_factory=list)


def make(choice: Choice, numbers: Numbers, data: Recordings | None, out: Path) -> Made:
    """Write the bundle.

    Raises:
        UserError: something does not fit.
    """
    rate = choice.rate or numbers.rate
    require(rate is not None, "the rate", "not known", "rate: in the file of numbers, or --rate HZ")
    assert rate is not None
    observed, commanded = numbers.observed(), numbers.commanded()
    candidate = open_model(choice.model)
    fitted, history, chunk = fit(
        candidate, len(observed), len(commanded), history=choice.history, chunk=choice.chunk, output=choice.output
    )
    entries, content = candidate.bundled(fitted)
    model = Model(
        **entries,
        history=history,
        chunk=chunk,
        horizon=_horizon(choice.horizon, chunk),
        normalised=choice.normalised,
        bounded=False,
    )
    models = {model.file: content}
    novelty: tuple[NoveltyScore, ...] = ()
    if data is not None:
        models[WHITENING], novelty = _novelty(data)
    sources = {"model": str(choice.model), "sha256": _sha256(choice.model)}
    description = Description(
        task=numbers.task,
        control_rate=rate,
        observations=tuple(_observation(n, i, data) for i, n in enumerate(observed)),
        actions=tuple(_action(n, i, data) for i, n in enumerate(commanded)),
        novelty=novelty,
        sha256={name: hashlib.sha256(some).hexdigest() for name, some in models.items()},
        data={} if data is None else data.source,
        source={name: value for name, value in sources.items() if value},
        environment={} if choice.env is None else {"id": choice.env},
        start=() if data is None else _starts(data, observed, commanded),
        model=model,
    )
    made = Made(Policy(description, models))
    check = _try(made, data)
    if not entries:
        check["max_difference"] = _compare(candidate, fitted, made.policy)
    description = replace(description, check=check)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".bundle-") as folder:
        files = models | {DESCRIPTION: description.to_json().encode()}
        for name, some in files.items():
            (Path(folder) / name).write_bytes(some)
        for name in sorted(files, reverse=True):  # what is half replaced does not load: checksums differ
            os.replace(Path(folder) / name, out / name)
    return Made(Policy.load(out), made.notes)


def _horizon(horizon: int | None, chunk: int) -> int:
    if horizon is None:
        require(
            chunk == 1, "--horizon", "not given", f"how many of the {chunk} actions of a chunk are executed, e.g. 8"
        )
        return 1
    require(1 <= horizon <= chunk, "--horizon", horizon, f"1 to the chunk's {chunk}")
    return horizon


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _observation(number: Number, i: int, data: Recordings | None) -> ObservationEntry:
    low, high, quantiles = number.low, number.high, ()
    if data is not None:
        rows = data.observations[:, i]
        low, high, quantiles = float(rows.min()), float(rows.max()), tuple(np.quantile(rows, QUANTILES).tolist())
    if low is None or high is None:
        raise UserError(f"observation '{number.name}' has no range: give low and high, or --data")
    if low > high:
        raise UserError(f"observation '{number.name}' has low {low:g} above high {high:g}")
    return ObservationEntry(number.name, number.unit, low, high, quantiles, number.constant, recorded=number.recorded)


def _action(number: Number, i: int, data: Recordings | None) -> ActionEntry:
    low, high = number.low, number.high
    if data is not None and data.actions is not None and (low is None or high is None):
        rows = data.actions[:, i]
        wider = WIDER * float(np.ptp(rows))
        low = float(rows.min()) - wider if low is None else low
        high = float(rows.max()) + wider if high is None else high
    if low is None or high is None:
        raise UserError(f"action '{number.name}' has no range: give low and high, or --data with actions")
    if low >= high:
        raise UserError(f"action '{number.name}' has low {low:g} and high {high:g}: expected low < high")
    joint, _, quantity = number.name.rpartition("/")
    return ActionEntry(joint, quantity, number.unit, number.scale, low, high, number.recorded)


def _novelty(data: Recordings) -> tuple[bytes, tuple[NoveltyScore, ...]]:
    """The whitened distance with its threshold, of data of which parts are held out in turn."""
    varies, parts = varying(data.observations), data.held_out_in_turn()
    scores = held_out_scores(data.observations, parts, varies)
    what = "episodes" if parts is data.episode else "stretches of the only episode"
    calibration = (
        f"{NOVEL:.1%} quantile of {len(scores):,} observations in {int(parts[-1]) + 1} {what} held out in turn"
    )
    threshold = max(float(np.quantile(scores, NOVEL)), 1e-6)
    score = NoveltyScore("observation", threshold, calibration)
    return fit_whitening(data.observations, varies).to_bytes(), (score,)


def _starts(data: Recordings, observed: list[Number], commanded: list[Number]) -> Any:
    joints = {number.name.rpartition("/")[0] for number in commanded}
    return start_entries(data.first, [n.name for n in observed], [n.unit for n in observed], joints)


def _shown(policy: Policy, data: Recordings | None) -> tuple[np.ndarray, np.ndarray]:
    """What the model is tried on, [n, …] as it takes it, and the rows of the data that are the newest of each [n].

    At random within the ranges, and at their ends, where there are no data.
    """
    history, rng = policy.description.model.history, np.random.default_rng(0)
    if data is None:
        low, high = (np.array([getattr(e, end) for e in policy.description.observations]) for end in ("low", "high"))
        rows = rng.uniform(low, high, (TRIED, history, len(low)))
        rows[0], rows[1] = low, high
        return rows.reshape(TRIED, *policy.seen), np.zeros(0, np.intp)
    last = np.sort(rng.permutation(len(data.observations))[:TRIED])
    begin = np.searchsorted(data.episode, data.episode[last])  # of each one's episode
    steps = np.maximum(last[:, None] - np.arange(history)[::-1], begin[:, None])
    return data.observations[steps].reshape(len(last), *policy.seen), last


def _try(made: Made, data: Recordings | None) -> dict[str, Any]:
    """Ask the policy, and note what is odd; returns what `policy.json` says of it.

    Raises:
        UserError: it says NaN, or infinities.
    """
    policy, note, d = made.policy, made.notes.append, made.policy.description
    (shown, rows), times, answers = _shown(policy, data), [], []
    for seen in shown:
        begin = time.perf_counter()
        answers.append(policy.raw(seen))
        times.append(time.perf_counter() - begin)
    raw = np.stack(answers).reshape(len(shown), d.model.chunk, len(d.actions))
    if not np.isfinite(raw).all():
        joint = d.actions[int(np.argwhere(~np.isfinite(raw))[0][2])].joint
        raise UserError(f"{d.source['model']} says NaN or infinity for '{joint}': not bundled")
    if np.ptp(raw, axis=0).max() == 0.0:
        note("its actions are the same whatever it sees")
    if not np.array_equal(policy.raw(shown[0]), answers[0]):
        note("it acts at random: the same observations led to other actions")
    ms = 1000 * float(np.median(times))
    told = "at random within their ranges" if data is None else "of the data"
    note(f"tried on {len(shown)} observations {told}; asking it takes {ms:.2f} ms")
    if ms > (period := 1000 / d.control_rate):
        note(f"that is longer than a period of {period:g} ms: the loop stands still meanwhile")
    low, high = (np.array([getattr(a, end) for a in d.actions]) for end in ("low", "high"))
    bottom, top = (np.full_like(low, -1.0), np.full_like(high, 1.0)) if d.model.normalised else (low, high)
    beyond = np.maximum(bottom - raw, raw - top) / (top - bottom)
    if (share := float((beyond > 1e-3).mean())) > 0.0:
        worst = d.actions[int(np.argmax(beyond.max(axis=(0, 1))))].joint
        note(
            f"{share:.1%} of its actions lie beyond their ranges, '{worst}' by up to {beyond.max():.0%} of its own: cut"
        )
    check: dict[str, Any] = {"observations": len(shown), "ms": round(ms, 3)}
    if data is not None and data.actions is not None:
        first = np.stack([np.atleast_2d(policy.infer(seen))[0] for seen in shown])
        error = float(np.median(np.abs(first - data.actions[rows]) / (high - low)))
        note(f"its first action differs from the recorded one by {error:.1%} of the range (median)")
        check["action_error"] = round(error, 6)
    return check


def _compare(candidate: Candidate, fitted: Fit, policy: Policy) -> float:
    """The largest difference between a model and what became of it, in its own units.

    Raises:
        UserError: it is another policy.
    """
    shown, _ = _shown(policy, None)
    ours = np.stack([policy.raw(seen) for seen in shown])
    theirs = np.stack([candidate.run(seen.reshape(fitted.shape), fitted.output) for seen in shown])
    difference = float(np.abs(ours - theirs.reshape(ours.shape)).max())
    if difference > MAX_DIFFERENCE * max(1.0, float(np.abs(theirs).max())):
        raise UserError(f"{candidate.name} acts otherwise once converted, by up to {difference:.2g}: bundle it as ONNX")
    return difference
