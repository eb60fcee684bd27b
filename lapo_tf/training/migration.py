"""Options of runs that earlier versions made, in today's terms."""

from __future__ import annotations

import math
from typing import Any

from lapo_tf.agents.lapo_paper import AUTHORS

UNBOUNDED = {"critic_norm": "none", "latent_norm": math.inf}
"""What LAPO was before it had options for it."""


def migrated(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a run's `config.yaml`, whichever version wrote it.

    Until November 2026 `lapo` had the choices that `lapo-paper` has now. A run that took the authors' throughout is one
    of `lapo` still; any other one is of `lapo-paper`.
    """
    own = options.get("lapo")
    if not isinstance(own, dict):
        return options
    own = UNBOUNDED | own
    options = options | {"lapo": own}
    if not own.keys() & AUTHORS.keys():
        return options
    rest = {name: value for name, value in options.items() if name != "lapo"}
    chosen = AUTHORS | {name: value for name, value in own.items() if name in AUTHORS}
    own = {name: value for name, value in own.items() if name not in AUTHORS}
    if chosen == AUTHORS:
        return rest | {"lapo": own}
    return rest | {"agent": "lapo-paper", "lapo-paper": own | chosen}
