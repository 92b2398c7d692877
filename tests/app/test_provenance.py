"""Where a result comes from, and whether the code has changed since."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import calclab
from calclab.app import provenance as made
from calclab.app.provenance import changed, head

KEYS = (
    "command", "calclab", "torch", "python", "hydra", "numpy", "scikit_learn", "git_commit", "git_dirty", "device",
    "dtype", "threads", "ranks", "seed", "host", "platform", "started", "files",
)  # fmt: skip


def git(folder: Path, *words: str) -> str:
    names = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    around = {**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull}
    return subprocess.run(["git", *words], cwd=folder, env=around, check=True, capture_output=True, text=True).stdout


def test_the_commit_is_the_one_that_git_names(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    assert head(there) is None
    git(there, "init", "-q", "-b", "main")
    assert head(there) is None  # nothing committed yet
    git(there, "commit", "-q", "--allow-empty", "-m", "one")
    assert head(there) == git(there, "rev-parse", "HEAD").strip()
    git(there, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    git(tmp_path / "side", "commit", "-q", "--allow-empty", "-m", "two")
    assert head(tmp_path / "side") == git(tmp_path / "side", "rev-parse", "HEAD").strip() != head(there)
    git(there, "pack-refs", "--all")
    assert head(there) == git(there, "rev-parse", "HEAD").strip()
    assert head(tmp_path / "side") == git(tmp_path / "side", "rev-parse", "HEAD").strip()
    git(there, "checkout", "-q", "--detach")
    assert head(there) == git(there, "rev-parse", "HEAD").strip()


def test_a_change_of_version_or_commit_is_told_and_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "head", lambda: "b" * 40)
    same = {"calclab": calclab.__version__, "git_commit": "b" * 40, "git_dirty": False, "host": "elsewhere"}
    assert changed(same) is None
    told = changed(same | {"git_commit": "a" * 40, "git_dirty": True})
    assert told is not None
    assert "(aaaaaaa, with changes)" in told
    assert "(bbbbbbb)" in told
    assert "rerun=true" in told
    assert "calclab 0.0.1 (bbbbbbb)" in str(changed(same | {"calclab": "0.0.1"}))
    monkeypatch.setattr(made, "head", lambda: None)  # an installed package
    assert changed(same | {"git_commit": None}) is None


def test_all_of_it_is_in_the_outcome_and_a_change_is_shown_with_the_old_result(lab, tmp_path: Path) -> None:
    line = "topic=derivative steps=3 figures=false"
    assert lab(line).status == 0
    (path,) = (tmp_path / "outputs").rglob("outcome.json")
    record = json.loads(path.read_text())
    assert [key for key in KEYS if key not in record["provenance"]] == []
    assert record["provenance"]["ranks"] == 1
    assert "computed by" not in lab(line).out
    record["provenance"]["calclab"] = "0.0.1"
    path.write_text(json.dumps(record))
    assert "computed by calclab 0.0.1" in lab(line).out


def test_asking_costs_no_torch() -> None:
    asked = "import sys; from calclab.app.provenance import changed; changed({}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", asked], check=True)
