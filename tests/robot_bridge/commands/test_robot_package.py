"""The two distributions: `lapo-tf` with its `robot` extra, and `robot-bridge` for a computer without TensorFlow."""

from __future__ import annotations

import re
import sys

import pytest
from places import ROOT


def test_both_lists_of_dependencies_agree() -> None:
    if sys.version_info < (3, 11):
        pytest.skip("tomllib came with Python 3.11")
    import tomllib

    main, robot = (
        tomllib.loads((ROOT / path).read_text())["project"]
        for path in ("pyproject.toml", "robot_bridge/pyproject.toml")
    )
    everything = main["dependencies"] + main["optional-dependencies"]["robot"]
    assert set(robot["dependencies"]) <= set(everything)
    assert set(main["optional-dependencies"]["robot"]) <= set(robot["dependencies"])
    assert set(robot["optional-dependencies"]["workspace"]) <= set(everything)
    assert robot["version"] == main["version"]
    assert robot["requires-python"] == main["requires-python"]


def test_no_module_of_the_bridge_imports_the_learner() -> None:
    """At import time, that is: at the beginning of a line. A command may import a simulation when it is run."""
    learner = re.compile(r"^(import|from) (tensorflow|keras|lapo_tf)\b", re.MULTILINE)
    for path in (ROOT / "robot_bridge").rglob("*.py"):
        assert not learner.search(path.read_text()), path
