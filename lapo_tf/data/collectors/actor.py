"""Trained actors, run in NumPy: tanh-squashed Gaussians with two hidden layers, as SAC and TQC train them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from lapo_tf.errors import UserError

LAYERS = ("latent_pi.0", "latent_pi.2", "mu", "log_std")
LOG_STD_RANGE = (-20.0, 2.0)  # Stable-Baselines3's


class Actor:
    """Actions for observations: hidden layers with ReLU, then mean and logarithm of the standard deviation."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        """
        Args:
            weights: `<layer>.weight` [out, in] and `<layer>.bias` [out] of the `LAYERS`.
        """
        self._layers = [(np.asarray(weights[f"{n}.weight"]).T, np.asarray(weights[f"{n}.bias"])) for n in LAYERS]
        self.obs_dim, self.act_dim = len(self._layers[0][0]), len(self._layers[2][1])

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A sampled action [act] in (-1, 1) for an observation [obs]."""
        hidden = observation.astype(np.float32)
        for weight, bias in self._layers[:2]:
            hidden = np.maximum(hidden @ weight + bias, 0.0)
        mean, log_std = (hidden @ weight + bias for weight, bias in self._layers[2:])
        std = np.exp(np.clip(log_std, *LOG_STD_RANGE))
        return np.tanh(mean + std * rng.standard_normal(self.act_dim)).astype(np.float32)


def load_actor(path: Path, obs_dim: int, act_dim: int) -> Actor:
    """An actor from `.npz` (arrays named as in `Actor`), or from a zip that Stable-Baselines3's SAC or TQC saved.

    Raises:
        UserError: no such file, another layout, other dimensions, or a zip without PyTorch to read it.
    """
    expected = (
        "expected an .npz with latent_pi.0, latent_pi.2, mu and log_std, or Stable-Baselines3's zip of SAC or TQC"
    )
    try:
        if path.suffix == ".zip":
            weights = _read_zip(path)
        else:
            with np.load(path) as file:
                weights = dict(file)
        actor = Actor(weights)
    except FileNotFoundError:
        raise UserError(f"policy '{path}' does not exist; {expected}") from None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UserError(f"policy '{path}' cannot be read ({type(error).__name__}: {error}); {expected}") from error
    if (actor.obs_dim, actor.act_dim) != (obs_dim, act_dim):
        raise UserError(
            f"policy '{path}' takes {actor.obs_dim} observations and gives {actor.act_dim} actions, but the "
            f"environment has {obs_dim} and {act_dim}: give a policy of this environment"
        )
    return actor


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError:
        raise UserError(f"policy '{path}' needs PyTorch: pip install 'lapo-tf[sb3]', or give an .npz") from None
    with ZipFile(path) as archive:
        state = torch.load(io.BytesIO(archive.read("policy.pth")), map_location="cpu", weights_only=True)
    return {name.removeprefix("actor."): tensor.numpy() for name, tensor in state.items() if name.startswith("actor.")}
