"""The frameworks import torchvision where it is installed; it is made importable as the zoo of networks does it."""

from __future__ import annotations

import sys
from pathlib import Path

NETWORKS = str(Path(__file__).parents[1] / "networks")
if NETWORKS not in sys.path:
    sys.path.insert(0, NETWORKS)
