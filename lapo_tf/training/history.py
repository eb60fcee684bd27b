"""Whether a run goes on with the data that it was begun with, and what it was trained on if not."""

from __future__ import annotations

from typing import Any

from lapo_tf.errors import UserError
from lapo_tf.training.run_folder import Checkpoints, RunFolder


def data_history(folder: RunFolder, data: dict[str, Any], other_data: bool) -> list[dict[str, Any]]:
    """The parts of a run that were trained on other data than these: `until` (step) and `data` of each.

    Args:
        folder: of the run.
        data: what its `config.yaml` is to say of the data now, checksum included.
        other_data: whether they may be others than before.

    Raises:
        UserError: they are of other dimensions, or are others and may not be.
    """
    values = folder.read()
    before, history, agent = values["data"], values.get("history", []), values["agent"]
    if [agent[name] for name in ("obs_dim", "act_dim")] != [data[name] for name in ("obs_dim", "act_dim")]:
        raise UserError(
            f"{folder.path} was trained on observations of {agent['obs_dim']} and actions of {agent['act_dim']} "
            f"numbers; this data has {data['obs_dim']} and {data['act_dim']}: give its own data"
        )
    compared = ["checksum"] if before.get("checksum") else ["sha256", "transitions", "episodes", "return_quantiles"]
    if all(before.get(name) == data[name] for name in compared):
        return history
    if not other_data:
        raise UserError(
            f"{folder.path} was trained on {_told(before)}, and this is {_told(data)}: give its own data with "
            "--dataset, or go on with other data by --other-data"
        )
    steps = Checkpoints(folder.path / "checkpoints").steps()
    return [*history, {"until": steps[-1] if steps else 0, "data": before}]


def _told(data: dict[str, Any]) -> str:
    """A data set in a few words."""
    digest = str(data.get("checksum") or data.get("sha256") or "unknown")[:12]
    return f"{data['id']} ({data['transitions']:,} transitions, checksum {digest})"
