"""The benchmark: its list of matrix products against a count by hand, and the command."""

import json
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest
import tensorflow as tf

from lapo_tf.agents import LAPO, AgentSpec, Scaling
from lapo_tf.agents.lapo import LAPOConfig
from lapo_tf.training.speed.products import Product, ProductLoop, graph_products

OBS, ACT, BATCH, HIDDEN = 5, 2, 6, (8, 7, 4)
COLUMNS = "agent device threads mode precision | ms/step min-max products GFLOP/s ratio steps/s | import trace compile"


@pytest.fixture(scope="module")
def products() -> list[Product]:
    """The products of one update of a small agent."""
    agent = LAPO(LAPOConfig(hidden=HIDDEN), AgentSpec(OBS, ACT, Scaling.identity(OBS, ACT)))
    widths = {"observations": OBS, "actions": ACT, "next_observations": OBS, "rewards": 1, "terminals": 1}
    batch = {name: tf.TensorSpec([BATCH, width]) for name, width in widths.items()}
    update = tf.function(agent.update, autograph=False)
    return graph_products(update.get_concrete_function(batch, tf.TensorSpec([2], tf.int64)).graph)


Layers = list[tuple[int, int]]


def layers(inputs: int, outputs: int) -> Layers:
    """Inputs and outputs of a network's layers."""
    return list(pairwise([inputs, *HIDDEN, outputs]))


def count_by_hand() -> tuple[Layers, Layers, Layers]:
    """The layers that the authors' order of algorithm 1 passes: forward, back to the weights, back to the inputs."""
    latent = 2 * ACT
    policy, encoder, decoder = layers(OBS, 2 * latent), layers(OBS + ACT, 2 * latent), layers(OBS + latent, ACT)
    q, v = layers(OBS + ACT, 1), layers(OBS, 1)
    forward = (
        2 * (policy + decoder + q + q)  # Q' at the target policy's actions, for s' and for s
        + v  # of s', in Q's target
        + (q + q + v)  # the critics' losses
        + v  # of s, in the advantage
        + (encoder + decoder)  # the CVAE's loss
        + (policy + decoder + q)  # the policy's loss
    )
    weights = q + q + v + encoder + decoder + policy
    # Not back to the data, but through the CVAE's decoder to the latent, and through Q and decoder' to the policy.
    inputs = decoder + decoder + q
    for network in (q, q, v, encoder, policy):
        inputs += network[1:]
    return forward, weights, inputs


def test_products_of_the_step_match_a_count_by_hand(products):
    forward, weights, inputs = count_by_hand()
    expected = Counter(Product((BATCH, i), (i, o)) for i, o in forward)
    expected += Counter(Product((BATCH, i), (BATCH, o), transpose_left=True) for i, o in weights)
    expected += Counter(Product((BATCH, o), (i, o), transpose_right=True) for i, o in inputs)
    assert Counter(products) == expected
    assert len(products) == 4 * (18 + 6) + 3 * 4 + 5 * 3 == 123
    # Whatever is transposed, a layer of i inputs and o outputs costs 2 * batch * i * o.
    assert sum(p.flops for p in products) == sum(2 * BATCH * i * o for i, o in forward + weights + inputs)


def test_products_of_called_functions_count_and_unused_ones_do_not():
    variable = tf.Variable(tf.ones([3, 3]))

    @tf.function
    def inner(x):
        return tf.matmul(x, x, transpose_b=True)

    @tf.function
    def outer(x):
        variable.assign(inner(x))  # counts as a side effect
        inner(x @ x)  # nobody uses it
        batched = tf.matmul(tf.ones([2, 4, 3]), x)
        return tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, x @ y), (0, x))[1] + batched[0, :3]

    found = graph_products(outer.get_concrete_function(tf.TensorSpec([3, 3])).graph)
    square = (3, 3)
    assert Counter(found) == Counter(
        [Product(square, square, False, True), Product(square, square), Product((2, 4, 3), square)]
    )
    assert Product((2, 4, 3), square).flops == 2 * 2 * 4 * 3 * 3


def test_an_op_that_cannot_be_counted_is_an_error():
    function = tf.function(lambda x: tf.einsum("ij,jk->ik", x, x))
    with pytest.raises(ValueError, match="Einsum"):
        graph_products(function.get_concrete_function(tf.TensorSpec([3, 3])).graph)


@pytest.mark.parametrize("shared", [True, False])
def test_xla_keeps_every_product_inside_the_loop(shared):
    # 24 x 40 x 32: large enough for a product to stay a dot of its own.
    found = [Product((24, 40), (40, 32))] * 5 + [Product((24, 40), (24, 32), transpose_left=True)] * 2
    loop = ProductLoop(found, xla=True, shared_operands=shared)
    text = loop._run.experimental_get_compiler_ir(tf.constant(2, tf.int64))(stage="optimized_hlo")
    assert text.count(" dot(") == len(found)
    entry = text[text.index("\nENTRY") :]
    assert " dot(" not in entry
    assert " while(" in entry
    assert loop.run(3) != loop.run(5)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> tuple[str, dict]:
    """What the command prints and writes for the smallest sizes."""
    path = tmp_path_factory.mktemp("benchmark") / "new" / "speed.json"
    options = (
        "--device cpu --threads 1 --modes graph --precisions float32 --steps 2 --repeats 3 --obs-dim 5 --act-dim 2"
    )
    done = command(*options.split(), "--batch-size", "8", "--transitions", "50", "--json", str(path))
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(path.read_text())


def command(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lapo_tf.benchmark", *options], capture_output=True, text=True, timeout=300
    )


def test_table(smoke):
    text, _ = smoke
    lines = [line.split() for line in text.splitlines()]
    assert lines[0][0] == "machine"
    assert "123 matrix products" in text
    header = lines.index(COLUMNS.split())
    (row,) = lines[header + 1 : header + 2]
    assert row[:6] == ["lapo", "cpu", "1", "graph", "float32", "|"]
    assert lines[header + 2] == []


def test_json(smoke):
    _, results = smoke
    assert set(results) == {"machine", "workload", "agents", "steps", "repeats", "rows"}
    assert set(results["machine"]) == {"cpu", "cores", "flags", "gpu", "versions", "environment"}
    assert {"avx2", "avx512f", "avx512_bf16"} <= set(results["machine"]["flags"])
    assert {"python", "tensorflow", "keras", "lapo-tf"} <= set(results["machine"]["versions"])
    (step,) = results["agents"].values()
    assert list(results["agents"]) == ["lapo"]
    assert step["products"] == sum(p["count"] for p in step["product_list"]) == 123
    assert step["gflop"] == pytest.approx(sum(p["flops"] * p["count"] for p in step["product_list"]) / 1e9)
    assert results["workload"] == {"obs_dim": 5, "act_dim": 2, "batch_size": 8, "transitions": 50}
    (row,) = results["rows"]
    assert [row[k] for k in ("device", "threads", "mode", "precision")] == ["cpu", 1, "graph", "float32"]
    assert 0 < row["step_ms_min"] <= row["step_ms"] <= row["step_ms_max"]
    assert 0 < row["products_ms_min"] <= row["products_ms"] <= row["products_ms_max"]
    assert row["products_mode"] == "graph"
    assert row["ratio"] == pytest.approx(row["step_ms"] / row["products_ms"])
    assert row["steps_per_s"] == pytest.approx(1000 / row["step_ms"])
    assert all(row[name] > 0 for name in ("import_s", "trace_s", "compile_s"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threads", "9999"], "--threads 9999: expected 1 to"),
        (["--repeats", "0"], "--repeats 0 is too small"),
        (["--thread", "1"], "--threads"),
        (["--modes", "eager"], "xla"),
        (["--agents", "lapoo"], "did you mean 'lapo'"),
    ],
)
def test_errors_are_one_line(options, message):
    done = command(*options)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
