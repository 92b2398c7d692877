"""Where a result comes from: versions, commit, machine, precision, seed, and the command that asks again.

No torch is imported before a run is computed: whether the code has changed since a run was is asked at every start.
"""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import calclab
from calclab.text import command

if TYPE_CHECKING:
    import torch

CHECKOUT = Path(calclab.__file__).resolve().parent.parent
SHORT = 7  # digits of a commit, as git shows it


def provenance(words: Sequence[str], *, device: torch.device, dtype: str, seed: int) -> dict[str, Any]:
    """A plain dict for outcome.json; ``words`` is what the user typed after ``python -m calclab``."""
    import torch

    commit, dirty = revision()
    return {
        "command": command(["python", "-m", "calclab", *words]),
        "calclab": calclab.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "hydra": version("hydra-core"),
        "numpy": version("numpy"),
        "scikit_learn": version("scikit-learn"),  # whose data sets are bundled
        "git_commit": commit,
        "git_dirty": dirty,
        "device": str(device),
        "dtype": dtype,
        "threads": torch.get_num_threads(),
        "ranks": int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1,
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
    commit = head()
    if commit is None:
        return None, None
    try:
        return commit, bool(git(CHECKOUT, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return commit, None


def head(checkout: Path = CHECKOUT) -> str | None:
    """The commit that is checked out, from git's own files: git itself would take longer than all else here."""
    try:
        git_dir = checkout / ".git"
        if git_dir.is_file():  # of a worktree: "gitdir: <path>"
            git_dir = checkout / git_dir.read_text(encoding="utf-8").partition(":")[2].strip()
        word = (git_dir / "HEAD").read_text(encoding="utf-8").strip()
        if not word.startswith("ref: "):
            return word or None
        common = git_dir / "commondir"
        shared = git_dir / common.read_text(encoding="utf-8").strip() if common.is_file() else git_dir
        return reference(shared, word.removeprefix("ref: "))
    except OSError:
        return None


def reference(shared: Path, name: str) -> str | None:
    """The commit that a branch points to, by its own file or by git's list of packed ones."""
    loose = shared / name
    if loose.is_file():
        return loose.read_text(encoding="utf-8").strip() or None
    for line in (shared / "packed-refs").read_text(encoding="utf-8").splitlines():
        commit, _, known = line.partition(" ")
        if known == name:
            return commit
    return None


def changed(then: Mapping[str, Any]) -> str | None:
    """A note for a run that another version or commit of calclab has computed, by its provenance; None where not."""
    before = (then.get("calclab"), then.get("git_commit"))
    now = (calclab.__version__, head())
    if before == now:
        return None
    edited = ", with changes" if then.get("git_dirty") else ""
    return f"computed by {code(*before, edited)}; this is {code(*now)}. rerun=true computes it anew"


def code(version: object, commit: object, edited: str = "") -> str:
    """``calclab 0.1.0 (abc1234)``."""
    return f"calclab {version}" + (f" ({str(commit)[:SHORT]}{edited})" if commit else "")


def git(checkout: Path, *words: str) -> str:
    command = ["git", "-C", str(checkout), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
