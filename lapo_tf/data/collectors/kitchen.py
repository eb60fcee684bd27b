"""Kitchen data: episodes of the scripted demonstrator, relabelled for kitchen-complete, -partial or -mixed.

An episode depends on the seed and its number alone, and what was recorded, not on the task. So episodes are kept one by
one in a hidden folder beside Minari's data sets, `.kitchen-episodes` (some 30 kB each; delete it when you like): an
interrupted collection goes on where it was, a larger one adds what is missing, and a data set for another of the three
tasks needs no simulation at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from gymnasium.spaces import Box
from minari.storage.datasets_root_dir import get_dataset_path

from lapo_tf import runtime
from lapo_tf.data.collectors import kitchen_arm, kitchen_demonstrator
from lapo_tf.data.collectors.base import Collected, check
from lapo_tf.data.collectors.kitchen_demonstrator import ELEMENTS_PER_EPISODE, Demonstrator, draw_elements
from lapo_tf.data.dataset import Episode
from lapo_tf.data.store import write_dataset
from lapo_tf.envs import COMPLETE_TASKS, MIXED_TASKS
from lapo_tf.envs.kitchen import ELEMENT_GOALS, KitchenEnv, completed, dataset_reward, task_goal
from lapo_tf.errors import UserError, unknown
from lapo_tf.progress import progress_bar

KINDS: dict[str, Sequence[str]] = {"complete": COMPLETE_TASKS, "partial": COMPLETE_TASKS, "mixed": MIXED_TASKS}
"""Target elements of the three tasks."""
EPISODES = 200  # by default; D4RL's kitchen-mixed and -partial hold about 600
MAX_STEPS = 290  # of an episode, as long as the longest of the recorded demonstrations'

_CHILD = "import sys; from lapo_tf.data.collectors.kitchen import work; work(sys.argv[1], int(sys.argv[2]))"
_LINE = 8  # bytes of an episode's number on its way to a worker: a read takes one number, whichever worker reads


@dataclass(frozen=True)
class Recorded:
    """An episode of T steps.

    Attributes:
        elements: what the demonstrator set out to do, in order.
        readings: noisy joint readings [T + 1, 30], the observation without its goal; float32.
        actions: [T, 9]; float32.
    """

    elements: tuple[str, ...]
    readings: np.ndarray
    actions: np.ndarray

    def done(self) -> list[bool]:
        """Whether each of `elements` came within D4RL's distance of its goal, at any time."""
        return [bool(np.any(ever)) for ever in completed(self.readings, self.elements).T]

    def for_task(self, kind: str) -> Episode:
        """With the goal and the rewards of a task, and a terminal at its end, as in D4RL's files."""
        goal = np.tile(task_goal(KINDS[kind]).astype(np.float32), (len(self.readings), 1))
        observations = np.concatenate([self.readings, goal], axis=1)
        return Episode(observations, self.actions, dataset_reward(observations[:-1], KINDS[kind]), True)


def run_episode(env: KitchenEnv, seed: int, number: int) -> Recorded:
    """Simulate one episode of the demonstrator; the same seed and number give the same episode."""
    rng = np.random.default_rng([seed, number])
    elements = draw_elements(rng)
    observation, _ = env.reset(seed=int(rng.integers(2**31)))
    demonstrator = Demonstrator(env.model, elements, rng)
    readings: list[np.ndarray] = [observation[:30]]
    actions: list[np.ndarray] = []
    while len(actions) < MAX_STEPS and (action := demonstrator.act(observation)) is not None:
        observation = env.step(action)[0]
        readings.append(observation[:30])
        actions.append(action)
    return Recorded(elements, np.array(readings, np.float32), np.array(actions, np.float32))


def collect_kitchen(
    kind: str,
    episodes: int | None = None,
    seed: int = 0,
    dataset_id: str | None = None,
    *,
    force: bool = False,
    progress: bool = True,
    processes: int | None = None,
) -> Collected:
    """Collect a kitchen data set: varied demonstrations of four elements each, with one task's goal and rewards.

    Args:
        kind: `complete`, `partial` or `mixed`.
        episodes: how many; by default 200.
        seed: The same seed gives the same data.
        dataset_id: Minari id; `lapo/kitchen-<kind>-v0` by default.
        force: Replace an existing data set.
        progress: Show progress bars.
        processes: simulate in so many; default: one for each core that this process may use.
    """
    if kind not in KINDS:
        raise unknown("kitchen task", kind, KINDS)
    dataset_id = dataset_id or f"lapo/kitchen-{kind}-v0"
    count = EPISODES if episodes is None else episodes
    check(dataset_id, count, "--episodes", force)
    started = time.perf_counter()
    folder = cache_folder(seed)
    _simulate(folder, seed, count, processes or runtime.cores(), progress)
    plans: list[str] = []
    results: list[tuple[str, bool, bool]] = []  # element, done, all of its episode done
    lengths: list[int] = []

    def relabelled() -> Iterator[Episode]:
        with progress_bar(total=count, desc="writing", unit="episode", disable=not progress) as bar:
            for number in range(count):
                recorded = _read(folder, number)
                done = recorded.done()
                plans.append(", ".join(recorded.elements))
                results.extend((element, ok, all(done)) for element, ok in zip(recorded.elements, done, strict=True))
                lengths.append(len(recorded.actions))
                yield recorded.for_task(kind)
                bar.update()

    written = write_dataset(
        dataset_id,
        relabelled(),
        action_space=Box(-1.0, 1.0, (9,), np.float32),
        env_id=f"lapo/Kitchen{kind.capitalize()}-v0",
        algorithm="scripted demonstrator",
        description=(
            f"{count} episodes of a scripted demonstrator (seed {seed}), four of the kitchen's seven elements in each, "
            f"goal and D4RL's rewards of kitchen-{kind}. Made by lapo_tf; not D4RL's own file."
        ),
        metadata={"control_hz": 12.5, "elements": plans},
    )
    seconds = time.perf_counter() - started
    return Collected(dataset_id, written.steps, written.episodes, seconds, _table(results, lengths))


def _table(results: Sequence[tuple[str, bool, bool]], lengths: Sequence[int]) -> str:
    """How often each element and each whole episode succeeded."""
    lines = [f"{'element':16} {'done':>5} {'of':>5}"]
    for element in ELEMENT_GOALS:
        tried = [done for name, done, _ in results if name == element]
        if tried:
            lines.append(f"{element:16} {sum(tried):5} {len(tried):5}")
    whole = [everything for _, _, everything in results[::ELEMENTS_PER_EPISODE]]
    lines.append(f"{'all four':16} {sum(whole):5} {len(whole):5}")
    low, middle, high = np.quantile(lengths, [0.0, 0.5, 1.0])
    lines.append(f"steps of an episode: {low:.0f} to {high:.0f}, median {middle:.0f}")
    return "\n".join(lines)


# Simulation in several processes --------------------------------------------------------------------------------------


def cache_folder(seed: int) -> Path:
    """Where the episodes of a seed are kept. Its name tells the demonstrator's version: another one's are of no use."""
    digest = hashlib.sha256()
    for module in (kitchen_arm, kitchen_demonstrator):
        digest.update(Path(str(module.__file__)).read_bytes())
    return Path(get_dataset_path()) / ".kitchen-episodes" / f"{digest.hexdigest()[:8]}-seed{seed}"


def _simulate(folder: Path, seed: int, count: int, processes: int, progress: bool) -> None:
    """Make the episodes that are not in the folder yet."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [n for n in range(count) if not _path(folder, n).exists()]
    if not missing:
        return
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _CHILD, str(folder), str(seed)]
    problem = ""
    with ExitStack() as stack:
        numbers, feed = os.pipe()
        answers, answer = os.pipe()
        replies = stack.enter_context(open(answers, encoding="utf-8"))
        errors = stack.enter_context(tempfile.TemporaryFile("w+"))
        children = [
            subprocess.Popen(command, env=environment, stdin=numbers, stdout=answer, stderr=errors)
            for _ in range(min(processes, len(missing)))
        ]
        for child in children:
            stack.callback(child.wait)
            stack.callback(child.kill)
        os.close(numbers)
        os.close(answer)
        done = count - len(missing)
        bar = progress_bar(total=count, initial=done, desc="kitchen", unit="episode", disable=not progress)
        stack.callback(bar.close)
        try:
            with suppress(BrokenPipeError), open(feed, "wb", buffering=0) as pipe:
                pipe.write(b"".join(b"%*d\n" % (_LINE - 1, n) for n in missing))
            for reply in replies:  # until the last worker has gone
                if reply.startswith("error"):
                    problem = reply.removeprefix("error").strip()
                    break
                bar.update()
        except KeyboardInterrupt:
            bar.close()
            print(f"{_kept(folder, count)}: the same command goes on from there", file=sys.stderr)
            raise
        if not problem and not all(_path(folder, n).exists() for n in missing):
            errors.seek(0)
            problem = (errors.read().strip().splitlines() or ["a worker ended without a word"])[-1]
    if problem:
        raise UserError(f"simulating the kitchen failed: {problem}; {_kept(folder, count)}, run again for the rest")


def _kept(folder: Path, count: int) -> str:
    return f"{sum(_path(folder, n).exists() for n in range(count))} of {count} episodes are kept"


def work(folder: str, seed: int) -> None:
    """A worker: simulate the episodes whose numbers it reads, write each to the folder, and say so."""
    try:
        env = KitchenEnv(tuple(ELEMENT_GOALS))
        while line := os.read(0, _LINE):
            number = int(line)
            recorded = run_episode(env, seed, number)
            buffer = io.BytesIO()
            np.savez_compressed(
                buffer, elements=json.dumps(recorded.elements), readings=recorded.readings, actions=recorded.actions
            )
            path = _path(Path(folder), number)
            part = path.with_suffix(f".{os.getpid()}.part")  # another process may make it, too
            part.write_bytes(buffer.getvalue())
            part.replace(path)
            print(number, flush=True)
        env.close()
    except Exception as error:
        print("error", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", flush=True)
        raise SystemExit(1) from None


def _read(folder: Path, number: int) -> Recorded:
    path = _path(folder, number)
    try:
        with np.load(path) as file:
            return Recorded(tuple(json.loads(str(file["elements"]))), file["readings"], file["actions"])
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}): delete it and run again") from error


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.npz"
