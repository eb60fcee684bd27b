"""SavedModels of one's own as bundles: converted once, the same policy, and no TensorFlow where it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from own_bundle import bundled

from robot_bridge.robot.bundle import Policy

NUMBERS = """
rate: 20
observations:
  - {joints: [a, b, c], quantity: position, unit: rad, low: -2, high: 2}
actions:
  - {joints: [a, b], quantity: velocity, unit: rad/s, low: -5, high: 5}
"""


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("arm.yaml").write_text(NUMBERS)
    return tmp_path


def run(*options: str) -> Policy:
    return bundled("model", *options)


def network() -> Any:
    """Two observations of three numbers -> four actions of two."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(16, activation="tanh"), keras.layers.Dense(8)]
    return keras.Sequential([keras.Input((2, 3)), *layers, keras.layers.Reshape((4, 2))])


def test_a_keras_model_becomes_a_bundle_that_needs_no_tensorflow(there: Path) -> None:
    model = network()
    model.export("model", verbose=False)
    policy = run("--horizon", "3")
    assert (policy.description.model.history, policy.description.model.chunk) == (2, 4)
    assert policy.description.check["max_difference"] < 1e-5
    rows = np.random.default_rng(0).uniform(-1, 1, (20, 2, 3)).astype(np.float32)
    found = np.stack([policy.infer(row) for row in rows])
    np.testing.assert_allclose(found, model(rows), atol=1e-5)
    assert np.ptp(found, axis=0).min() > 0.01  # it has its weights
    code = f"""
import sys
import numpy as np
from robot_bridge.robot.bundle import Policy
print(Policy.load("policy").infer(np.array({rows[0].tolist()})).tolist())
print([name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras", "onnxruntime", "lapo_tf")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    actions, modules = done.stdout.splitlines()
    assert modules == "[]"
    np.testing.assert_array_equal(np.float32(json.loads(actions)), found[0])


def test_a_function_of_open_sizes_with_several_outputs_is_taken_too(there: Path) -> None:
    class Doubled(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="state")])
        def act(self, state: Any) -> Any:
            return {"command": 2.0 * state[:, -3:-1], "value": state}

    module = Doubled()
    tf.saved_model.save(module, "model", signatures={"act": module.act})
    policy = run("--history", "2", "--output", "command")
    np.testing.assert_allclose(policy.infer(np.float32([[9, 9, 9], [0.5, -1, 0]])), [1.0, -2.0])


def test_what_is_no_saved_model_is_told_in_one_line(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused() -> str:
        with pytest.raises(SystemExit):
            run()
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    Path("model").mkdir()
    assert "a folder without saved_model.pb" in refused()
    Path("model/saved_model.pb").write_bytes(b"nothing")
    assert "cannot be loaded as a SavedModel" in refused()
    tf.saved_model.save(tf.Module(), "model")
    assert "has no signature" in refused()
    network().export("model", verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tensorflow", None)
        assert "which TensorFlow converts: pip install tensorflow" in refused()


def test_what_litert_cannot_hold_is_told_with_the_way_out(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Odd(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1, 3], tf.float32)])
        def act(self, state: Any) -> Any:
            return {"command": tf.numpy_function(np.cumsum, [state], tf.float32)[None, :2]}

    module = Odd()
    tf.saved_model.save(module, "model", signatures={"act": module.act})
    with pytest.raises(SystemExit):
        run()
    error = capsys.readouterr().err
    assert "LiteRT cannot hold model" in error
    assert "convert it to ONNX" in error
    assert error.count("\n") == 1
