"""Runs as the lab leaves them, made by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a run in outputs/ of the current folder, which is an empty one; its folder."""
    monkeypatch.chdir(tmp_path)

    def run(number: int, loss: float = 1.0, *, topic: str = "descent", steps: int = 20, **changes: Any) -> Path:
        digest = f"{number:03x}" * 4
        folder = Path("outputs") / topic / f"gd,lr=[{number}]-{digest}"
        folder.mkdir(parents=True)
        asked = changes.pop("asked", [f"lr={number / 10}"])
        lr = float(next((word[3:] for word in asked if word.startswith("lr=")), 0.1))
        held = loss if math.isfinite(loss) else str(loss)  # as JSON has it
        record = {
            "topic": topic,
            "subject": "bowl",
            "title": f"{topic} of bowl",
            "status": "completed",
            "steps": steps,
            "seconds": 0.5,
            "answer": {
                "sentence": "",
                "values": {"loss": held, "ended": "minimum"},
            },
            "evidence": {"verdict": "certified", "checks": 3},
            "provenance": {"command": f"python -m calclab {' '.join(asked)}", "torch": changes.pop("torch", "2.13")},
            "digest": digest,
            "config": {"lr": lr, "steps": steps, "seed": 0, "topic": {"lr": lr}} | changes.pop("config", {}),
            "choices": {"topic": topic, "optimizer": "gd", "hydra/launcher": "lab"} | changes.pop("choices", {}),
            "asked": asked,
        }
        (folder / "outcome.json").write_text(json.dumps(record | changes), encoding="utf-8")
        rows = [f"{k},{loss * 2.0 ** (steps - k)},{k}" for k in range(steps + 1)]
        (folder / "scalars.csv").write_text("step,loss,cosine\n" + "\n".join(rows) + "\n", encoding="utf-8")
        return folder

    return run
