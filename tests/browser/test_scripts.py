"""The script that looks at TensorBoard in a browser, where there is one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.minutes
def test_tensorboard_shows_a_run_and_a_sweep(tmp_path: Path) -> None:
    pytest.importorskip("playwright")
    if not shutil.which("chromium"):
        pytest.skip("there is no chromium")
    script = Path(__file__).with_name("tensorboard.py")
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(tmp_path.glob("*.png"))) > 8
