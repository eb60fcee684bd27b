"""Runs loaded from their folder, their evaluation, its files, its film and its error lines."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from lapo_tf.agents import AGENTS
from lapo_tf.config import TrainConfig
from lapo_tf.data import Episode
from lapo_tf.data.dataset import Source, from_episodes
from lapo_tf.errors import UserError
from lapo_tf.evaluate import main as command
from lapo_tf.plots.films import choose_gl
from lapo_tf.runs.evaluation import Evaluation, bootstrap_interval, summarize
from lapo_tf.runs.film import check_video, record_video
from lapo_tf.runs.replay import replay
from lapo_tf.runs.run import Rollout, load_agent, load_run
from lapo_tf.tasks import load_task
from lapo_tf.training.trainer import Trainer

PROBE = np.random.default_rng(0).uniform(0, 3, (40, 4)).astype(np.float32)  # observations of the maze


class Actions(keras.callbacks.Callback):
    """Remembers what the agent does at each evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[int, np.ndarray] = {}

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.at[epoch] = self.model.act(PROBE)


def train_tiny(task: str, folder: Path, episodes: list[Episode], steps: int = 6) -> Actions:
    """A run of a few steps of a tiny agent on given data, through the real trainer."""
    config = TrainConfig(
        task=task,
        run_dir=folder,
        steps=steps,
        eval_every=2,
        eval_episodes=2,
        batch_size=8,
        compile="eager",
        agent_config=AGENTS["lapo"].Config(hidden=(16, 16)),
    )
    actions = Actions()
    data = from_episodes(episodes, Source("tiny"))
    Trainer(config, dataset=data, callbacks=[actions], log=lambda line: None).run()
    return actions


@pytest.fixture(scope="module")
def maze(tmp_path_factory) -> tuple[Path, Actions]:
    rng = np.random.default_rng(1)
    env = load_task("maze2d-umaze").make_env()
    episodes = []
    for seed in range(3):
        observations, actions, rewards = [env.reset(seed=seed)[0]], [], []
        for _ in range(40):
            actions.append(rng.uniform(-1, 1, 2))
            observation, reward, *_ = env.step(actions[-1])
            observations.append(observation)
            rewards.append(reward)
        episodes.append(Episode(np.array(observations), np.array(actions), np.array(rewards), False))
    env.close()
    folder = tmp_path_factory.mktemp("runs") / "maze"
    return folder, train_tiny("maze2d-umaze", folder, episodes)


@pytest.fixture(scope="module")
def run(maze):
    return load_run(maze[0])


def copy(maze: tuple[Path, Actions], tmp_path: Path) -> Path:
    shutil.copytree(maze[0], tmp_path / "copy")
    return tmp_path / "copy"


def call(monkeypatch, capsys, *arguments: object) -> list[str]:
    """The lines that the command prints."""
    monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, arguments)])
    command()
    return capsys.readouterr().out.splitlines()


# Loading


def test_the_named_checkpoint_is_loaded(maze, tmp_path):
    folder, actions = maze
    for name, step in ((None, 6), ("last", 6), (2, 2), ("4", 4)):
        run = load_run(folder, name)
        assert run.step == step
        np.testing.assert_array_equal(run.policy(PROBE), actions.at[step])
    assert not np.array_equal(actions.at[2], actions.at[6])  # or the test would show nothing
    changed = copy(maze, tmp_path)
    (changed / "checkpoints/best.json").write_text('{"step": 4, "score": 9.0}')
    np.testing.assert_array_equal(load_agent(changed, "best").act(PROBE), actions.at[4])


def test_a_run_knows_its_folder(run, maze):
    assert run.path == maze[0]
    assert (run.config.task, run.task.name, run.config.steps) == ("maze2d-umaze", "maze2d-umaze", 6)
    assert [row["step"] for row in run.metrics()] == [2, 4, 6]
    assert run.episodes()["returns"].shape == (3, 2)
    assert run.data()["transitions"] == 3 * 40


def test_a_damaged_last_checkpoint_gives_the_one_before(maze, tmp_path):
    folder = copy(maze, tmp_path)
    for file in (folder / "checkpoints/step-000000006").iterdir():
        file.write_bytes(file.read_bytes()[:10])
    run = load_run(folder)
    assert run.step == 4
    assert "step 6 is damaged" in str(run.note)
    with pytest.raises(UserError, match="damaged"):
        load_run(folder, 6)


# Acting


def test_an_action_does_not_depend_on_the_batch(run):
    whole = run.policy(PROBE)
    assert whole.shape == (40, 2)
    assert np.abs(whole).max() <= 1
    for size in (1, 2, 3, 8, 16, 17):
        parts = [run.policy(PROBE[i : i + size]) for i in range(0, 40, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(np.stack([run.policy(row) for row in PROBE]), whole)
    assert run.policy(PROBE[:0]).shape == (0, 2)


def test_what_a_run_is_made_of(run):
    """The policy decodes its own latent; its value is that of the smaller critic, in the agent's units."""
    np.testing.assert_allclose(run.decode(PROBE, run.latents(PROBE)), run.policy(PROBE), atol=1e-5)
    scaling = run.agent.spec.scaling
    pair = np.concatenate(
        [(PROBE - scaling.obs_mean) / scaling.obs_std, (run.policy(PROBE) - scaling.act_mean) / scaling.act_std], 1
    )
    expected = np.minimum(run.agent.q1(pair), run.agent.q2(pair))[:, 0]
    inside = (np.abs(run.policy(PROBE)) < 1).all(1)  # elsewhere the action is clipped after the critic has seen it
    assert inside.any()
    np.testing.assert_allclose(run.value(PROBE)[inside], expected[inside], atol=1e-5)


def test_an_agent_without_critics_knows_no_values(run):
    cloned = AGENTS["bc"](AGENTS["bc"].Config(hidden=(4,)), run.agent.spec)
    with pytest.raises(UserError, match="agent is bc: expected one with critics"):
        cloned.policy_value(PROBE)


def test_a_rollout_equals_a_plain_loop(run):
    rollout = run.rollout(3, seed=5)
    env = run.task.make_env()
    for i, seed in enumerate((5, 6, 7)):
        observation, _ = env.reset(seed=seed)
        seen, total, over = [], 0.0, False
        while not over:
            seen.append(observation)
            observation, reward, terminated, truncated, _ = env.step(run.policy(observation))
            total, over = total + reward, terminated or truncated
        np.testing.assert_array_equal(rollout.observations[i], np.asarray(seen, np.float32))
        assert (rollout.returns[i], rollout.lengths[i], rollout.seeds[i]) == (total, 300, seed)
        assert rollout.scores[i] == 100 * (total - 23.85) / (161.86 - 23.85)
    env.close()


def test_the_number_of_simulators_changes_nothing(run):
    one, four = run.rollout(5, parallel=1), run.rollout(5, parallel=4)
    for a, b in zip(one.observations, four.observations, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(one.returns, four.returns)


# Numbers


def test_the_interval_is_that_of_the_mean():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    low, high = bootstrap_interval(values)
    expected = values.mean() + np.array([-1.96, 1.96]) * values.std() / 20
    np.testing.assert_allclose([low, high], expected, atol=0.02)
    assert bootstrap_interval(values) == (low, high)
    assert bootstrap_interval(np.array([7.0])) == (7.0, 7.0)


def test_kitchen_numbers_count_elements(run):
    done = [["microwave", "kettle"], ["microwave"], [], ["microwave", "kettle"]]
    returns = np.array([2.0, 1.0, 0.0, 2.0])
    kitchen = replace(run, task=load_task("kitchen-complete"))
    infos = [{"episode_task_completions": names} for names in done]
    rollout = Rollout(returns, np.full(4, 280), infos, scores=25 * returns, seeds=np.arange(4))
    numbers = summarize(kitchen, rollout)
    assert [numbers[f"elements/{k}_done"] for k in range(5)] == [0.25, 0.25, 0.5, 0.0, 0.0]
    assert numbers["success/microwave"] == 0.75
    assert numbers["success/kettle"] == 0.5
    assert numbers["success/slide cabinet"] == 0.0
    assert numbers["eval/normalized_score"] == 31.25
    text = str(Evaluation(kitchen, rollout, numbers))
    assert "4 in 0 %, 3 in 0 %, 2 in 50 %, 1 in 25 %, 0 in 25 % of the episodes" in text
    assert "microwave 75 %, kettle 50 %, light switch 0 %, slide cabinet 0 %" in text


# The command


def test_evaluate_needs_only_the_folder(maze, tmp_path, monkeypatch, capsys):
    folder = copy(maze, tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "no data"))
    lines = call(monkeypatch, capsys, folder, "--episodes", 3, "--seed", 5)
    assert " ".join(lines[0].split()) == "run lapo on maze2d-umaze, step 6, seed 0"
    assert "± " in lines[-1]
    assert "over 3 episodes at step 6" in lines[-1]
    assert lines[-1].endswith(str(folder / "evaluation"))
    expected = load_run(folder).rollout(3, seed=5)
    with np.load(folder / "evaluation/step-6.npz") as file:
        assert set(file) == {"returns", "lengths", "seeds"}
        np.testing.assert_array_equal(file["returns"], expected.returns)
        np.testing.assert_array_equal(file["seeds"], [5, 6, 7])
    values = json.loads((folder / "evaluation/step-6.json").read_text())
    assert values["metrics"]["eval/normalized_score"] == pytest.approx(expected.scores.mean())
    assert (values["step"], values["episodes"], values["task"]) == (6, 3, "maze2d-umaze")
    assert values["data"]["id"] == "tiny"
    assert values["versions"]["mujoco"]
    for name in ("curve.png", "trajectories.png"):
        assert (folder / "evaluation" / name).read_bytes().startswith(b"\x89PNG")
    assert not [path for path in (folder / "evaluation").iterdir() if path.name.startswith(".")]


def test_evaluate_writes_where_it_is_told(maze, tmp_path, monkeypatch, capsys):
    out = tmp_path / "deep/out"
    call(monkeypatch, capsys, maze[0], "--episodes", 1, "--checkpoint", 4, "--out", out)
    assert (out / "step-4.json").is_file()
    assert not (maze[0] / "evaluation").exists()


def test_errors_are_one_line(maze, tmp_path, monkeypatch, capsys):
    folder = copy(maze, tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()

    def error(*arguments: object) -> str:
        with pytest.raises(SystemExit) as stop:
            call(monkeypatch, capsys, *arguments)
        lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
        assert stop.value.code == 1
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        return lines[0]

    assert "no such run folder" in error(tmp_path / "nowhere")
    assert "holds no run" in error(tmp_path / "empty")
    assert "no checkpoint of step 5: there are 2, 4, 6" in error(folder, "--checkpoint", 5)
    assert "expected best, last or a step" in error(folder, "--checkpoint", "newest")
    assert "--episodes is 0" in error(folder, "--episodes", 0)
    assert "--seed is -1" in error(folder, "--seed=-1")
    assert "did you mean '--episodes'" in error(folder, "--episods", 3)
    assert "cannot write to" in error(folder, "--out", tmp_path / "file/out")
    (folder / "checkpoints/best.json").unlink()
    assert "no best checkpoint" in error(folder, "--checkpoint", "best")
    shutil.rmtree(folder / "checkpoints")
    assert "no checkpoint yet" in error(folder)
    (folder / "config.yaml").write_text("steps: 3\n")
    assert "is not a run's" in error(folder)


# The film


def test_what_cannot_be_filmed(run):
    with pytest.raises(UserError, match="no picture"):
        check_video(replace(run, task=load_task("toy-navigation")))


@pytest.fixture(scope="module")
def gl() -> None:
    try:
        choose_gl()
    except UserError as error:
        pytest.skip(str(error))


def first_steps(run, episodes: int, steps: int) -> Rollout:
    """The beginnings of a run's episodes."""
    whole = run.rollout(episodes)
    observations = [o[:steps] for o in whole.observations]
    near = [(np.linalg.norm(o[:, :2] - [1.0, 1.0], axis=1) <= 0.5).sum() for o in observations]
    return replace(
        whole, returns=np.array(near, np.float64), lengths=np.full(episodes, steps), observations=observations
    )


def test_a_film_shows_the_ball_at_its_place(run, tmp_path, gl):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    rollout = first_steps(run, 2, 20)
    path = record_video(run, tmp_path / "film.mp4", 2, rollout=rollout)
    frames = imageio_ffmpeg.read_frames(str(path))
    meta = next(frames)
    assert (meta["size"], meta["fps"]) == ((480, 512), 50.0)
    pictures = [np.frombuffer(frame, np.uint8).reshape(512, 480, 3).astype(int) for frame in frames]
    per_episode = 1 + 20 // 2 + 50  # every second state, and a second of the last one
    assert len(pictures) == 2 * per_episode
    for episode in range(2):
        red, green, blue = np.moveaxis(pictures[episode * per_episode][:480], -1, 0)
        ball = np.argwhere((red > 150) & (blue < 90) & (green < 0.7 * red))
        row, column = ball.mean(0)
        # The camera looks down on the map's middle, 5 cells wide, x to the right and y up.
        scale = 480 / (2 * 1.2 * 5 * np.tan(np.radians(22.5)))
        x, y = rollout.observations[episode][0, :2] + 1.2 - 3.0
        assert abs(column - (240 + scale * x)) < 4
        assert abs(row - (240 - scale * y)) < 4


def test_a_film_of_other_episodes_is_refused(run, tmp_path, gl):
    rollout = first_steps(run, 1, 3)
    wrong = replace(rollout, returns=rollout.returns + 1)
    with pytest.raises(UserError, match="replayed to a return"):
        record_video(run, tmp_path / "film.mp4", 1, rollout=wrong)
    assert list(tmp_path.iterdir()) == []


def test_the_drawing_process_never_loads_tensorflow():
    import subprocess

    code = "import sys, lapo_tf.runs.replay, lapo_tf.tasks; env = lapo_tf.tasks.load_task('maze2d-umaze').make_env(); "
    code += "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_progress_names_what_is_done():
    info = {"episode_task_completions": ["kettle"]}
    env = SimpleNamespace(
        reset=lambda seed: (None, info),
        step=lambda action: (None, 1.0, False, False, {"episode_task_completions": []}),
        render=lambda: None,
        unwrapped=SimpleNamespace(dt=0.08),
        metadata={},
    )
    texts = []
    film = SimpleNamespace(picture=lambda step, render, text, last: texts.append((step, text, last)))
    job = {"seeds": [0], "returns": [1.0], "actions_0": np.zeros((1, 9))}
    replay(env, load_task("kitchen-complete"), job, film)
    assert texts == [
        (0, "episode 1/1    0.00 s   done: kettle", False),
        (1, "episode 1/1    0.08 s   done: nothing yet", True),
    ]
