"""Knobs that every run has, at the root of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from calclab.schema.knob import Schema, knob


@dataclass(frozen=True, kw_only=True)
class Seeded(Schema):
    """Of a topic that is handed the run's seed."""

    seed: int = knob("seed of every random choice: initial weights, probes, synthetic data", 0, at_least=0)


@dataclass(frozen=True, kw_only=True)
class Common(Seeded):
    dtype: str = knob("precision of the computation", "float64", choices=("float32", "float64"))
    device: str = knob(
        "where to compute; auto takes cuda, then mps, then cpu", "auto", choices=("cpu", "cuda", "mps", "auto")
    )
    train: int = knob(
        "steps of Adam on the data before a network is looked at; 0 leaves it as initialised, and given weights "
        "(network.weights, network.parameters) are never trained on",
        200,
        at_least=0,
        unit="steps of Adam",
    )
    figures: Any = knob(
        "draw pictures: true as PNG; svg and pdf stay sharp at any size",
        "svg",
        choices=(True, False, "png", "svg", "pdf"),
    )
    sinks: list[str] = knob(
        "where a run is logged: its CSVs, which are always written, TensorBoard's event file, and the experiment "
        "trackers MLflow and Weights & Biases, which are extras",
        "'[csv,tensorboard,mlflow]'",
        choices=("csv", "tensorboard", "mlflow", "wandb"),
        rare=True,
    )
    report: bool = knob("write the run, or the sweep, as one page to mail or print: report.html in its folder", "true")
    outputs: str = knob("the folder that holds all runs", "outputs")
    rerun: bool = knob("run anew what is finished or begun", "true")
    fail_fast: bool = knob("a sweep ends at the first job that fails", "true", rare=True)
    claims: list[Any] = knob(
        "numbers and words that the run must show, as studies have them; exit status 3 where it does not",
        "'[{quantity: loss, at_most: 0.1}]'",
        rare=True,
    )
    study: dict[str, Any] | None = knob(
        "of a study: whose claim it is, where it stands, in which words, and its short form (calclab gallery)",
        "'{paper: Saxe et al. 2014, seeds: 5}'",
        rare=True,
    )
    checkpoint_every: float = knob("seconds between two checkpoints of a run", 10, above=0, unit="seconds", rare=True)
