"""Behaviour cloning of chunks of actions in PyTorch, as a policy that comes from elsewhere: writes `chunks.onnx`.

What it is shown are two observations, what it answers are sixteen actions; a small transformer reads the first and
writes the second, as ACT's does. Its data are a ball's ways through a maze, of which it takes those to one goal.
"""

from __future__ import annotations

from pathlib import Path

import minari
import numpy as np
import torch
from torch import nn

DATA, GOAL = "lapo/maze2d-umaze-v0", (1.0, 1.0)  # python -m lapo_tf.collect --task maze2d-umaze
HISTORY, CHUNK, STEPS, NEAR, BEFORE = 2, 16, 1000, 0.3, 150
SIZE = 64


class Chunks(nn.Module):
    """[batch, HISTORY, 4] -> [batch, CHUNK, 2]. Observations are normalised inside: a robot knows SI units only."""

    def __init__(self, mean: np.ndarray, std: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        self.read = nn.Linear(len(mean), SIZE)
        self.when = nn.Parameter(0.02 * torch.randn(HISTORY, SIZE))
        self.queries = nn.Parameter(0.02 * torch.randn(CHUNK, SIZE))
        self.decoder = nn.TransformerDecoderLayer(SIZE, 4, 4 * SIZE, dropout=0.0, batch_first=True)
        self.write = nn.Linear(SIZE, 2)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        seen = self.read((observations - self.mean) / self.std) + self.when
        queries = self.queries.expand(observations.shape[0], CHUNK, SIZE)
        return torch.tanh(self.write(self.decoder(queries, seen)))


def examples() -> tuple[np.ndarray, np.ndarray]:
    """Histories [N, HISTORY, 4] and chunks [N, CHUNK, 2] of the steps before the goal was reached."""
    seen, planned = [], []
    for episode in minari.load_dataset(DATA).iterate_episodes():
        observations, actions = episode.observations.astype(np.float32), episode.actions.astype(np.float32)
        there = np.linalg.norm(observations[:-1, :2] - GOAL, axis=1) < NEAR
        soon = np.convolve(there, np.ones(BEFORE))[BEFORE - 1 :] > 0  # within the next BEFORE steps
        for i in np.flatnonzero(soon[HISTORY - 1 : len(actions) - CHUNK]) + HISTORY - 1:
            seen.append(observations[i - HISTORY + 1 : i + 1])
            planned.append(actions[i : i + CHUNK])
    return np.stack(seen), np.stack(planned)


def train(seen: np.ndarray, planned: np.ndarray) -> Chunks:
    """The mean absolute error, by Adam."""
    torch.manual_seed(0)
    policy = Chunks(seen.mean((0, 1)), seen.std((0, 1)))
    optimiser = torch.optim.Adam(policy.parameters(), 1e-3)
    inputs, targets = torch.tensor(seen), torch.tensor(planned)
    for step in range(1, STEPS + 1):
        rows = torch.randint(len(inputs), (128,))
        loss = (policy(inputs[rows]) - targets[rows]).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 250 == 0:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    return policy


def main() -> None:
    seen, planned = examples()
    print(f"{len(seen):,} moments before the goal was reached")
    policy = train(seen, planned).eval()
    out = Path("chunks.onnx")
    torch.onnx.export(
        policy,
        (torch.zeros(1, HISTORY, 4),),
        out,
        input_names=["observations"],
        output_names=["actions"],
        external_data=False,  # a bundle takes one file
    )
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
