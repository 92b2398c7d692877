"""An outputs folder with runs as the lab writes them, made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Make = Callable[..., Path]


def record(topic: str, digest: str, **changes: Any) -> dict[str, Any]:
    """An outcome.json; the changes go where they belong."""
    config = {
        "lr": changes.pop("lr", 0.01),
        "steps": 100,
        "function": {"expr": "x**2", "at": [1.5]},
        "topic": {"name": topic, "steps": 100},
        "claims": [],
    }
    made = {
        "topic": topic,
        "subject": "parabola",
        "status": "completed",
        "steps": 40,
        "seconds": 1.5,
        "answer": {"sentence": "", "values": {"loss": changes.pop("loss", 0.25), "x": [0.5], "kind": "minimum"}},
        "last": {"loss": 0.25, "gradient_norm": 1.0, "x": [0.5]},
        "evidence": {"verdict": "certified", "checks": 3},
        "error": None,
        "provenance": {"started": changes.pop("started", "2026-11-02T10:00:00+00:00"), "host": "lab"},
        "digest": digest,
        "config": config | changes.pop("config", {}),
        "exit": 0,
    }
    return made | changes


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


@pytest.fixture
def make(outputs: Path) -> Make:
    """Make a run; its folder."""

    def run(topic: str = "descent", number: int = 1, *, text: str | None = None, **changes: Any) -> Path:
        digest = f"{number:012x}"
        folder = outputs / topic / f"lr=[{number}],x-{digest}"
        folder.mkdir(parents=True)
        (outputs / ".locks").mkdir(exist_ok=True)
        (outputs / ".locks" / f"{topic}-{digest}.lock").touch()
        made = json.dumps(record(topic, digest, **changes)) if text is None else text
        (folder / "outcome.json").write_text(made, encoding="utf-8")
        (folder / "scalars.csv").write_text("step,loss\n0,1.0\n1,0.25\n", encoding="utf-8")
        return folder

    return run
