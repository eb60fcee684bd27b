"""`policy.json`: what is in a policy bundle, by name and unit, and where it comes from."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from robot_bridge.bounds import between
from robot_bridge.errors import UserError
from robot_bridge.robot.yaml_files import spelled

LOGGER = logging.getLogger(__name__)

FORMAT = 1
"""Version of the bundle's layout that this code reads."""

MODEL, NOVELTY, DESCRIPTION = "policy.tflite", "novelty.tflite", "policy.json"
ONNX_MODEL, WHITENING = "policy.onnx", "novelty.npz"

CHECKSUM = "description_sha256"
"""Entry of `policy.json` that covers all of its others."""

STRICT = ConfigDict(extra="forbid")
Finite = Annotated[float, between(-1e30, 1e30)]
Positive = Annotated[float, between(1e-12, 1e12)]
Count = Annotated[int, Field(ge=1, le=10_000, strict=True)]


def _quantity(name: str) -> str:
    if name not in ("velocity", "position", "effort"):
        raise ValueError(f"'{name}': expected velocity, position or effort")
    return name


@dataclass(frozen=True, config=STRICT)
class Recorded:
    """Where in the recordings a number is from; `robot_bridge.init` writes a robot's config of it.

    Attributes:
        topic, type: of the messages.
        path: of the number in a message, such as `pose.position.x` or `data.3`; of a joint that the message names, of
            the array that goes with the names. Empty where that is not known.
        joint: the robot's name of the joint, where the messages name joints; else empty.
        frame: that the messages named; empty where they name none.
        max_age: s after which a value was taken for stale; None: never.
        time: the clock that was believed: `header` (the sender's stamps) or `receive`.
        scale: the layout's factor: the policy's number is `scale` times the message's.
    """

    topic: str
    type: str
    path: str = ""
    joint: str = ""
    max_age: Positive | None = None
    time: str = "header"
    scale: Finite = 1.0
    frame: str = ""


@dataclass(frozen=True, config=STRICT)
class ObservationEntry:
    """One number of the observation: `scale` times what the robot says.

    Attributes:
        name: `<joint>/<quantity>`, or `goal/<what>`.
        unit: SI; empty for a pure number.
        low, high: the extremes of the training data.
        quantiles: 0.1, 1, 50, 99 and 99.9 % of the training data.
        constant: the value, where the task fixes it; it is then no input of the robot.
        scale: 1 but for data whose layout made other numbers than SI of the robot's.
        recorded: where the training data have it from, where that is known.
    """

    name: str
    unit: str
    low: Finite
    high: Finite
    quantiles: tuple[Finite, ...]
    constant: Finite | None = None
    scale: Positive = 1.0
    recorded: Recorded | None = None

    @model_validator(mode="after")
    def _ordered(self) -> ObservationEntry:
        if self.low > self.high or list(self.quantiles) != sorted(self.quantiles):
            raise ValueError(f"'{self.name}': expected low <= high, and quantiles in order")
        return self


@dataclass(frozen=True, config=STRICT)
class ActionEntry:
    """One number of the action, within [low, high]; times `scale` it is the joint's `quantity` in `unit`.

    `recorded` is the topic that commanded the joint in the training data, where that is known.
    """

    joint: str
    quantity: Annotated[str, AfterValidator(_quantity)]
    unit: str
    scale: Positive
    low: Finite
    high: Finite
    recorded: Recorded | None = None

    @model_validator(mode="after")
    def _ordered(self) -> ActionEntry:
        if self.low >= self.high:
            raise ValueError(f"'{self.joint}': expected low < high")
        return self


@dataclass(frozen=True, config=STRICT)
class StartEntry:
    """Where a joint was when the training episodes began, in `unit`.

    Attributes:
        pose: of one episode, a typical one; the same for all joints.
        low, high: of all but the outermost 5 % of the episodes on either side.
    """

    joint: str
    unit: str
    pose: Finite
    low: Finite
    high: Finite

    @model_validator(mode="after")
    def _ordered(self) -> StartEntry:
        if not self.low <= self.pose <= self.high:
            raise ValueError(f"'{self.joint}': expected low <= pose <= high")
        return self


@dataclass(frozen=True, config=STRICT)
class NoveltyScore:
    """One of the scores that tell how unlike the training data a moment is; `threshold` is what held-out data reach.

    Attributes:
        name: "observation" or "action".
        threshold: larger scores are novel.
        calibration: how the threshold was found, in words.
        alarms: share of the steps of trial episodes above it, or None without trial.
    """

    name: str
    threshold: Positive
    calibration: str
    alarms: Finite | None = None


@dataclass(frozen=True, config=STRICT)
class Model:
    """What goes into the policy's model, what comes out, and how much of it is executed.

    Attributes:
        file: in the bundle.
        input, output: names of its tensors.
        shape: of the input; empty for [1, obs]. The output has chunk * act numbers.
        history: how many observations it is shown, at the control rate, oldest first.
        chunk: how many actions it answers, the first one for now, the others at the control rate.
        horizon: how many of them are executed before it is asked anew.
        normalised: its actions are -1 to 1, for `low` to `high` of each.
        bounded: its actions lie within their bounds, without being brought there.
    """

    file: str = MODEL
    input: str = "observation"
    output: str = "action"
    shape: tuple[Count, ...] = ()
    history: Count = 1
    chunk: Count = 1
    horizon: Count = 1
    normalised: bool = False
    bounded: bool = True

    @model_validator(mode="after")
    def _agrees(self) -> Model:
        if self.file not in (MODEL, ONNX_MODEL):
            raise ValueError(f"file '{self.file}': expected {MODEL} or {ONNX_MODEL}")
        if self.horizon > self.chunk:
            raise ValueError(f"horizon {self.horizon}: expected at most the chunk's {self.chunk} action(s)")
        return self


@dataclass(frozen=True, config=STRICT)
class Description:
    """`policy.json`."""

    task: str
    control_rate: Annotated[float, between(0.01, 10_000.0)]
    observations: tuple[ObservationEntry, ...]
    actions: tuple[ActionEntry, ...]
    novelty: tuple[NoveltyScore, ...]
    sha256: dict[str, str]
    """Of the two models, by file name."""
    score: dict[str, Any] = field(default_factory=dict)
    """Of this very bundle in the task's simulator, run directly; empty if it was not tried."""
    data: dict[str, Any] = field(default_factory=dict)
    """What the policy was trained on: id, provenance, sha256, size."""
    source: dict[str, Any] = field(default_factory=dict)
    """The run, its step, seed and versions."""
    check: dict[str, Any] = field(default_factory=dict)
    """How the exported model was compared with the trained one."""
    environment: dict[str, Any] = field(default_factory=dict)
    """The simulator of its task: `id`, gymnasium's with the module that registers it; the returns of the scores 0 and
    100, `score_min` and `score_max`; and where the task has them, its `env_options` (keyword arguments), `wrapper`
    (`module:function` that wraps it), `max_episode_steps`, and `success`, the key of `info` that says at an episode's
    end whether it succeeded. Empty in bundles made before November 2026, and where there is none."""

    start: tuple[StartEntry, ...] = ()
    """Of the joints whose positions are observed; empty in older bundles."""
    model: Model = field(default_factory=Model)

    def normalized(self, total: float) -> float:
        """The normalized score of an episode's return; the return itself where no scores are known."""
        low, high = self.environment.get("score_min"), self.environment.get("score_max")
        return total if low is None or high is None else 100.0 * (total - low) / (high - low)

    @model_validator(mode="after")
    def _named_once(self) -> Description:
        for what, names in (
            ("observations", [entry.name for entry in self.observations]),
            ("actions", [action.joint for action in self.actions]),
            ("start", [entry.joint for entry in self.start]),
        ):
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"{what}: '{twice}' is named twice")
        return self

    @staticmethod
    def read(folder: Path) -> Description:
        """Read `policy.json`.

        Raises:
            UserError: it is missing, damaged or of another format version.
        """
        path = folder / DESCRIPTION
        hint = "make the bundle with: python -m lapo_tf.export RUN --out FOLDER (or robot_bridge.bundle)"
        try:
            values = json.loads(path.read_text())
        except FileNotFoundError:
            raise UserError(f"{folder} is no policy bundle (no {DESCRIPTION}): {hint}") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is damaged ({error}): {hint}") from None
        version = values.pop("format", None) if isinstance(values, dict) else None
        if version != FORMAT:
            raise UserError(f"{path} is of format {version}, this robot_bridge reads {FORMAT}: {hint}")
        said, found = values.pop(CHECKSUM, None), _checksum(values)
        if said is None:
            LOGGER.warning("%s has no checksum of its own (an older export): that nobody changed it is not sure", path)
        elif said != found:
            raise UserError(f"{path} was changed after it was made ({CHECKSUM} differs): {hint}")
        try:
            return TypeAdapter(Description).validate_python(values)
        except ValidationError as error:
            wrong = error.errors(include_url=False)[0]
            what = f"{spelled(wrong['loc'])} {wrong['msg']}".strip()
            raise UserError(f"{path} is damaged ({what}): {hint}") from None

    def to_json(self) -> str:
        """What `read` reads."""
        values = {k: _plain(v) for k, v in vars(self).items() if v != Model()}  # unknown to older versions
        values = json.loads(json.dumps(values))
        values = {"format": FORMAT, CHECKSUM: _checksum(values)} | values
        return json.dumps(values, indent=1, allow_nan=False) + "\n"


def _checksum(values: dict[str, Any]) -> str:
    """SHA-256 of a description's values, however their text is spaced."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Plain values. Entries that say no more than their default are left out: older versions may not know them."""
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if not is_dataclass(value):
        return value
    return {f.name: _plain(v) for f in fields(value) if (v := getattr(value, f.name)) != f.default}
