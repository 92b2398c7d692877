"""Where a result comes from: versions, commit, machine, precision, seed, and the command that asks again."""

from __future__ import annotations

import functools
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import calclab


def provenance(words: Sequence[str], *, device: torch.device, dtype: str, seed: int) -> dict[str, Any]:
    """A plain dict for outcome.json; ``words`` is what the user typed after ``python -m calclab``."""
    commit, dirty = revision()
    return {
        "command": shlex.join(["python", "-m", "calclab", *words]),
        "calclab": calclab.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "hydra": version("hydra-core"),
        "git_commit": commit,
        "git_dirty": dirty,
        "device": str(device),
        "dtype": dtype,
        "threads": torch.get_num_threads(),
        "seed": seed,
        "host": platform.node(),
        "platform": sys.platform,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def version(package: str) -> str:
    return metadata.version(package)


@functools.cache
def revision() -> tuple[str | None, bool | None]:
    """The commit of calclab's own checkout and whether it was changed since; None for an installed package."""
    checkout = Path(calclab.__file__).resolve().parent.parent
    if not (checkout / ".git").exists():
        return None, None
    try:
        commit = git(checkout, "rev-parse", "HEAD")
        return commit, bool(git(checkout, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def git(checkout: Path, *words: str) -> str:
    command = ["git", "-C", str(checkout), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
