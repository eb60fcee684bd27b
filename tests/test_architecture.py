"""The house's plan: imports go one way, between the rooms and between files; type-only imports count, too."""

from __future__ import annotations

import grimp
import pytest
from places import ROOT

COMMANDS = {path.stem for path in (ROOT / "lapo_tf").glob("*.py") if "if __name__ ==" in path.read_text()} | {
    "__main__"
}
FOUNDATION = {"errors", "cli", "config", "progress", "runtime", "yaml_files"}
USES = {
    "envs": set[str](),
    "agents": set[str](),
    "plots": set[str](),
    "tasks": {"envs", "data"},
    "data": {"envs", "plots"},
    "training": {"agents", "data", "tasks"},
    "runs": {"training", "agents", "data", "tasks", "envs", "plots"},
}
"""What each room of `lapo_tf` may import besides itself and `FOUNDATION`. Commands import all; nothing imports them."""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """All imports of both packages, those inside functions included."""
    return grimp.build_graph("lapo_tf", "robot_bridge", cache_dir=None)


def imports(graph: grimp.ImportGraph) -> list[tuple[str, str]]:
    """All pairs of importing and imported file."""
    return [(a, b) for a in sorted(graph.modules) for b in sorted(graph.find_modules_directly_imported_by(a))]


def test_no_file_imports_itself_by_way_of_others(graph):
    circles: list[list[str]] = []
    for module in sorted(graph.modules):
        if not any(module in circle for circle in circles):
            below = graph.find_upstream_modules(module)
            if circle := [other for other in below if module in graph.find_upstream_modules(other)]:
                circles.append(sorted({module, *circle}))
    assert circles == []


def test_rooms_import_what_stands_below_them(graph):
    def room(module: str) -> str:
        return "__main__" if module.endswith(".__main__") else [*module.split("."), ""][1]

    wrong = []
    for one, other in imports(graph):
        if one.startswith("lapo_tf.") and other.startswith("lapo_tf") and room(one) != room(other):
            allowed = FOUNDATION | USES.get(room(one), {"envs"})
            if room(one) not in COMMANDS and room(other) not in allowed:
                wrong.append(f"{one} -> {other}")
    assert wrong == []


def test_one_arrow_between_the_packages(graph):
    """A run's bundle is written by `robot_bridge.robot`; the robot's side knows nothing of learning."""
    arrows = {(a, b.rsplit(".", 1)[0]) for a, b in imports(graph) if a.split(".")[0] != b.split(".")[0]}
    assert arrows == {("lapo_tf.runs.bundle", "robot_bridge.robot")}


def test_bundles_run_without_tensorflow():
    """What a robot's computer installs: no learning library is imported, but where bundles of own models are made."""
    graph = grimp.build_graph("robot_bridge", include_external_packages=True, cache_dir=None)
    learning = {"tensorflow", "keras", "minari", "matplotlib"} & graph.modules
    importing = {module for library in learning for module in graph.find_modules_that_directly_import(library)}
    assert importing == {"robot_bridge.own_policy.models", "robot_bridge.own_policy.recordings"}
    making = {"robot_bridge.bundle"} | graph.find_descendants("robot_bridge.own_policy")
    assert {a for a, b in imports(graph) if b.startswith("robot_bridge.own_policy")} <= making
