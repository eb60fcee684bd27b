"""What all tests need."""

import signal

import pytest

# A shell starts background jobs with Ctrl-C ignored, and nohup ignores the hang-up, which tests of these and their
# processes would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):  # not on Windows
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The notebooks come first: they take as long as all else, so that two workers end at about the same time."""
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")
