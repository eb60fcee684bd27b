"""What collectors share."""

from __future__ import annotations

from dataclasses import dataclass

from lapo_tf.data.store import check_new, check_own
from lapo_tf.errors import UserError


@dataclass(frozen=True)
class Collected:
    """What a collector wrote; `note` is what else it has to say, in whole lines."""

    dataset_id: str
    steps: int
    episodes: int
    seconds: float
    note: str = ""


def check(dataset_id: str, count: int, option: str, force: bool) -> None:
    """Refuse, before any work is done, what could not be written.

    Args:
        dataset_id: Minari id of the new data set.
        count: steps or episodes asked for, by the command's `option`.
        force: an existing data set may be replaced.
    """
    if count < 1:
        raise UserError(f"{option} is {count}: expected a positive number")
    check_own(dataset_id, collected=True)
    check_new(dataset_id, force=force, option="--dataset-id")
