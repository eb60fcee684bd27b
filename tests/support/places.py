"""Where things are: the project, and the folder of data files beside it, which a clone need not have."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SUPPORT = Path(__file__).parent
SHARED = ROOT.parent / "shared"
