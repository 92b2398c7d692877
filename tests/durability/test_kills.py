"""Twenty random kills; the script beside this file does two hundred."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_killed_runs_resume_to_identical_bytes() -> None:
    script = Path(__file__).with_name("kills.py")
    done = subprocess.run([sys.executable, script, "--kills", "20"], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 of 20" in done.stdout
