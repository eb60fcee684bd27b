"""Reports of runs whose numbers are made up, so that every mean and interval can be worked out by hand."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from lapo_tf.errors import UserError
from lapo_tf.runs import results
from lapo_tf.runs.report import draw_curves, table, write_report
from lapo_tf.runs.statistics import aggregates, bootstrap_band, interval, performance_profiles
from lapo_tf.training.options import build_config, resolved
from lapo_tf.training.run_folder import RunFolder

STEPS = [0, 100, 200]


def make_run(
    root: Path, task: str, agent: str, seed: int, scores, *, own=None, label=None, data=None, steps=200
) -> Path:
    """A run folder as training leaves it, with these scores at steps 0, 100, 200."""
    folder = root / task / (label or agent) / f"seed{seed}"
    config = build_config(
        {"task": task, "agent": agent, "steps": steps, "seed": seed, "eval_every": 100, agent: own or {}}
    )
    run = RunFolder.create(folder)
    run.write_config(
        resolved(config), {"id": "set", "provenance": "collected", "sha256": "abcdef0123456789"} | (data or {}), {}
    )
    rows = [{"step": s, "eval/normalized_score": v, "time/seconds": 10.0} for s, v in zip(STEPS, scores, strict=False)]
    run.write_metrics(rows)  # type: ignore[arg-type]
    return folder


@pytest.fixture
def runs(tmp_path) -> Path:
    """Two tasks, two agents, three seeds."""
    rng = np.random.default_rng(0)
    for task, level in (("maze2d-umaze", 50.0), ("maze2d-large", 80.0)):
        for agent, extra in (("iql", 0.0), ("lapo", 30.0)):
            for seed in range(3):
                make_run(tmp_path / "runs", task, agent, seed, [0.0, level + extra + 40, level + extra + rng.normal()])
    return tmp_path / "runs"


def test_the_numbers_of_a_report(runs, tmp_path):
    path = write_report([runs], tmp_path / "out")
    groups = results.group_runs([results.read_run(p) for p in results.find_runs([runs])])
    assert [g.label for g in groups] == ["iql", "iql", "lapo", "lapo"]  # the paper's order
    lapo = next(g for g in groups if (g.label, g.task.name) == ("lapo", "maze2d-umaze"))
    last = lapo.values("last")
    # Student's t with 2 degrees of freedom: 4.302653 at 97.5 %
    half = 4.302653 * np.std(last, ddof=1) / np.sqrt(3)
    text = path.read_text()
    assert f"{last.mean():.1f} ± {half:.1f} [120.0] (118.9)" in text
    assert "Maze2d, collected data" in text
    assert "set abcdef012345 (collected)" in text
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"runs.csv", "summary.csv", "curves-maze2d-collected.png"}
    assert (tmp_path / "out" / "aggregate-maze2d-collected.png").stat().st_size > 10_000
    with (tmp_path / "out" / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert {row["best_step"] for row in rows} == {"100"}
    with (tmp_path / "out" / "summary.csv").open() as file:
        summary = {(row["task"], row["agent"]): row for row in csv.DictReader(file)}
    assert float(summary["maze2d-umaze", "lapo"]["last_mean"]) == pytest.approx(last.mean(), abs=1e-3)
    assert summary["maze2d-large", "iql"]["paper"] == "64.3"


def test_the_last_score_is_evaluate_s_where_it_was_asked(runs, tmp_path):
    folder = runs / "maze2d-umaze" / "lapo" / "seed0" / "evaluation"
    folder.mkdir()
    for step, score in ((100, 1.0), (200, 60.0)):
        values = {"episodes": 100, "metrics": {"eval/normalized_score": score}}
        (folder / f"step-{step}.json").write_text(json.dumps(values))
    run = results.read_run(folder.parent)
    assert (run.last, run.episodes, run.best) == (60.0, 100, 120.0)
    assert run.scores[-1] == pytest.approx(80.0, abs=5)  # the curve is training's own
    assert results.read_run(folder.parent, 100).last == 1.0
    said = write_report([runs], tmp_path / "out").read_text()
    assert "an evaluation in training is the mean of 10 episodes, the last one of 10, 100" in said
    (folder / "step-200.json").write_text("{}")
    with pytest.raises(UserError, match=r"step-200.json is damaged"):
        results.read_run(folder.parent)


def test_every_panel_of_curves_says_its_scale(runs, tmp_path, monkeypatch):
    """Tasks have scales of their own, so that ticks of the first panel are not those of the second."""
    drawn = []
    monkeypatch.setattr("lapo_tf.runs.report.plt.close", drawn.append)
    draw_curves(results.group_runs([results.read_run(p) for p in results.find_runs([runs])]), tmp_path / "curves.png")
    first, second = drawn[0].axes
    assert first.get_ylim() != second.get_ylim()
    for ax in (first, second):
        assert any(label.get_visible() and label.get_text() for label in ax.get_yticklabels())
        assert not [line for line in ax.lines if line.get_marker() == "o"]  # nobody asked `lapo_tf.evaluate`


def test_aggregates_against_numpy():
    """The interquartile mean is the mean of the middle half of all runs."""
    scores = {"a": np.arange(12.0).reshape(3, 4) / 10, "b": np.ones((3, 4))}
    means, intervals = aggregates(scores, "iqm")
    assert means["a"] == pytest.approx(np.mean(np.arange(3, 9)) / 10)
    assert intervals["a"][0] <= means["a"] <= intervals["a"][1]
    grid, profiles, _ = performance_profiles(scores)
    np.testing.assert_allclose(profiles["a"], [(scores["a"] > g).mean() for g in grid])


def test_band_and_interval_against_scipy():
    from scipy import stats

    values = np.random.default_rng(1).normal(size=(5, 7))
    low, high = bootstrap_band(values)
    for column in range(7):
        theirs = stats.bootstrap((values[:, column],), np.mean, method="percentile", rng=0).confidence_interval
        assert (low[column], high[column]) == pytest.approx(tuple(theirs), abs=0.12)
    expected = stats.t.interval(0.95, 4, loc=values[:, 0].mean(), scale=stats.sem(values[:, 0]))
    assert interval(values[:, 0]) == pytest.approx((expected[1] - expected[0]) / 2)
    assert np.isnan(interval(np.array([3.0])))


def test_data_of_different_origin_never_share_a_column(runs, tmp_path):
    for seed in range(3):
        data = {"provenance": "official", "id": "D4RL", "sha256": "0" * 16}
        make_run(tmp_path / "official", "maze2d-umaze", "lapo", seed, [0, 0, 99], data=data)
    text = write_report([runs, tmp_path / "official"], tmp_path / "out").read_text()
    official, collected = text.index("Maze2d, official data"), text.index("Maze2d, collected data")
    assert official < text.index("99.0 ± 0.0") < collected


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"own": {"kl_weight": 3.0}}, "lapo.kl_weight"),
        ({"data": {"sha256": "fedcba"}}, "data"),
        ({"steps": 100}, "steps"),
    ],
)
def test_different_settings_are_not_averaged(runs, tmp_path, change, named):
    make_run(runs, "maze2d-umaze", "lapo", 7, [0, 1, 2][: 3 - (named == "steps")], **change)
    with pytest.raises(UserError, match=rf"differ in {named}: their mean would be of different things"):
        write_report([runs], tmp_path / "out")
    assert not (tmp_path / "out" / "report.md").exists()


def test_a_common_step(runs, tmp_path):
    """Runs of other lengths can be compared where all have been; not where one has not."""
    make_run(runs, "maze2d-umaze", "lapo", 7, [0, 120.0], steps=100)
    text = write_report([runs], tmp_path / "out", step=100).read_text()
    assert "120.0 ± 0.0 [120.0]" in text
    assert "after 100 gradient steps (cut there)" in text
    with pytest.raises(UserError, match="no evaluation at step 200"):
        write_report([runs], tmp_path / "out", step=200)


def test_other_mistakes(runs, tmp_path):
    with pytest.raises(UserError, match="holds no run with an evaluation"):
        write_report([tmp_path / "nothing"], tmp_path / "out")
    unfinished = make_run(tmp_path / "more", "maze2d-umaze", "lapo", 8, [0, 1])
    with pytest.raises(UserError, match=r"stands at step 100 of 200: finish it with .*--resume"):
        write_report([unfinished], tmp_path / "out")
    again = make_run(tmp_path / "again", "maze2d-umaze", "lapo", 0, [0, 1, 2])
    with pytest.raises(UserError, match="same seed"):
        write_report([runs, again], tmp_path / "out")


def test_the_papers_mixture_policy(tmp_path):
    """AWAC with a mixture has the paper's own column; ablations have a name, and no published number."""
    make_run(tmp_path, "maze2d-umaze", "awac", 0, [0, 1, 2], own={"policy": "gmm"}, label="awac-policy=gmm")
    make_run(
        tmp_path, "maze2d-umaze", "lapo", 0, [0, 1, 2], own={"latent_policy": "prior"}, label="lapo-latent_policy=prior"
    )
    groups = results.group_runs([results.read_run(p) for p in results.find_runs([tmp_path])])
    assert [(g.label, g.paper) for g in groups] == [("awac-gmm", 19.45), ("lapo-latent_policy=prior", None)]
    assert table(groups).splitlines()[0] == "| task | awac-gmm | lapo-latent_policy=prior | seeds |"
    assert dataclasses.asdict(groups[0].runs[0].config)["agent_config"]["policy"] == "gmm"


def test_damaged_and_foreign_folders_are_named(runs, tmp_path):
    """One line with the path, whatever lies below the folder that was given."""
    damaged = runs / "maze2d-umaze" / "iql" / "seed1" / "metrics.csv"
    whole = damaged.read_text()
    for content in ("", "step,eval/normalized_score\n1", whole[:-8], "a,b\n1,2\n"):
        damaged.write_text(content)
        with pytest.raises(UserError, match=r"seed1/metrics\.csv is damaged") as error:
            write_report([runs], tmp_path / "out")
        assert "\n" not in str(error.value)
    damaged.write_text(whole)
    (runs / "config.yaml").write_text("a: 1")
    (runs / "metrics.csv").write_text("x")
    with pytest.raises(UserError, match=r"config\.yaml is not a run's"):
        write_report([runs], tmp_path / "out")


def test_a_run_on_two_data_sets_is_no_seed_of_others(runs, tmp_path):
    folder = RunFolder.open(runs / "maze2d-umaze" / "lapo" / "seed1")
    values = folder.read()
    folder.write_config(
        folder.config(), values["data"], {}, [{"until": 100, "data": {"id": "before", "sha256": "9" * 64}}]
    )
    assert results.read_run(folder.path).dataset == "before 999999999999, then set abcdef012345"
    with pytest.raises(UserError, match="differ in data"):
        write_report([runs], tmp_path / "out")


def test_all_tasks_together(tmp_path):
    """Across families: mean, who is best where, how much of the best is left; agents that lack a task are named."""
    scores = {  # by task: scores of seeds, each at steps 0, 100, 200
        "maze2d-umaze": {"iql": [(0, 20, 10), (0, 20, 20)], "lapo": [(0, 90, 60), (0, 80, 70)]},
        "kitchen-mixed": {"iql": [(0, 50, 50), (0, 50, 60)], "lapo": [(0, 40, 30), (0, 40, 50)], "bc": [(0, 1, 1)] * 2},
    }
    for task, agents in scores.items():
        for agent, seeds in agents.items():
            for seed, values in enumerate(seeds):
                make_run(tmp_path / "runs", task, agent, seed, [float(v) for v in values])
    text = write_report([tmp_path / "runs"], tmp_path / "out").read_text()
    section = text[text.index("## All 2 tasks together") :].split("\n\n")
    assert "want of some task or seed: bc." in section[1]
    _, _, lapo, iql = section[2].splitlines()
    assert lapo.startswith("| lapo | 52.5 [45.0, 60.0] | 55.0 [")  # of 60, 70, 30, 50; of the middle two
    assert lapo.endswith("| 1 | 0.76 (maze2d-umaze) | 2 |")  # 65 of 85
    assert iql.startswith("| iql | 35.0 [30.0, 40.0] | 35.0 [")
    assert iql.endswith("| 1 | 0.75 (maze2d-umaze) | 2 |")
    one_family = write_report([tmp_path / "runs/maze2d-umaze"], tmp_path / "one").read_text()
    assert "together" not in one_family
