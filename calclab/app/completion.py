"""Tab completion of studies, which Hydra would offer as ``experiment/notebook=...``; the rest is Hydra's."""

from __future__ import annotations

import os
from collections.abc import Sequence

from calclab.schema import catalogue


def studies(words: Sequence[str]) -> list[str]:
    """What to offer where a study is being typed; nothing elsewhere, or when ``words`` ask for something else."""
    if "query=bash" not in words:
        return []
    line = os.environ.get("COMP_LINE", "")
    typed = line.split(" ")[-1]
    names = [f"experiment={name}" for name in catalogue.options("experiment")]
    return [name for name in names if name.startswith(typed)] if typed.startswith("exp") else []
