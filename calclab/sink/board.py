"""What TensorBoard shows of a run: its values under tags in groups, its charts, and the numbers that it comes to.

A line chart is over what goes on: iterations, gradient evaluations, products with a matrix, halvings of a step. Values
over rows, layers or links are in the pictures and the CSVs. TensorBoard sorts by name, so the groups are few and each
holds one kind of thing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from calclab.core import Columns, Outcome, Run, Spread, Status
from calclab.report.html.captions import caption

TAGS = {
    "descent": {
        "loss": "loss/loss",
        "train_loss": "loss/train",
        "held_out_loss": "loss/held_out",
        "central_flow_mean_loss": "loss/central_flow",
        "gradient_flow_loss": "loss/gradient_flow",
        "distance_to_minimum": "loss/distance_to_minimum",
        "gradient_norm": "gradient/norm",
        "step_length": "gradient/step_length",
        "cosine": "gradient/cosine_to_downhill",
        "contraction": "theory/contraction",
        "predicted_contraction": "theory/contraction_predicted",
        "edge": "theory/sharpness_times_half_lr",
        "curvature": "curvature/along_the_step",
        "sharpness": "curvature/sharpness",
        "central_flow_sharpness": "curvature/sharpness_central_flow",
        "gradient_flow_sharpness": "curvature/sharpness_gradient_flow",
        "central_flow_distance": "theory/distance_central_flow",
        "gradient_flow_distance": "theory/distance_gradient_flow",
        "sharpness_residual": "curvature/sharpness_residual",
        "lr": "optimizer/lr",
        "evaluations": "optimizer/evaluations",
        "layer_gradients": "layers/gradient_norm",
        "layer_updates": "layers/update_norm",
        "layer_weights": "layers/weight_norm",
        "x": "x",
    },
    "hessian": {
        "ritz_values": "curvature",
        "residual": "curvature/largest_residual",
        "trace": "curvature/trace",
        "trace_error": "curvature/trace_error",
    },
    "derivative": {
        "forward_error": "error/forward_difference",
        "central_error": "error/central_difference",
        "richardson_error": "error/richardson",
    },
}
PREFIXES = {
    "watch": {"": ""},  # named as tags are
    "comparison": {"median_": "loss/"},
    "descent": {"train_": "score/train_", "held_out_": "score/held_out_"},
}
THEORY, LIMIT = "theory/gradient_norm_predicted", "curvature/two_over_lr"
QUARTILES = ("_25", "", "_75")
IMAGES = 8  # pictures, at most, in the order in which the topic names them; the others are in the folder
ANSWER, NUMBERS = "answer", 12  # the group of the numbers that a run comes to; how many of them
SCORES = ("held_out_accuracy", "held_out_r2", "train_accuracy", "train_r2")
LARGEST = 3e38  # of float32
OVER = {"comparison": "gradient evaluations", "hessian": "products with the Hessian", "derivative": "halvings of h"}


@dataclass(frozen=True)
class Chart:
    """A chart of the custom layout: lines, or of each of ``margins`` a line between two others. ``beside`` goes on with
    the title where all lines are there; ``also`` are lines that are shown where there are any."""

    title: str
    tags: Sequence[str] = ()
    beside: str = ""
    margins: Sequence[str] = ()
    also: str = ""


CHARTS = {
    "descent": (
        Chart(
            "loss",
            ("loss/loss", "loss/held_out"),
            ", on the rows learnt from and on those held out",
            also="loss/.*_flow",
        ),
        Chart("gradient norm", ("gradient/norm", THEORY), ", and ‖g₀‖ρ^k as theory has it"),
        Chart("score on the rows learnt from and on those held out", ("score/.*",)),
        Chart(
            "sharpness, and 2/lr, beyond which gradient descent cannot stay",
            ("curvature/sharpness", LIMIT),
            also="curvature/sharpness_.*_flow",
        ),
        Chart(
            "contraction of the gradient a step",
            ("theory/contraction", "theory/contraction_predicted"),
            ", measured and predicted",
        ),
    ),
    "comparison": (Chart("lowest loss at the best rate of every budget, median over starts", ("loss/.*",)),),
    "hessian": (
        Chart("eigenvalues as they are found, and the largest residual", ("curvature/(top|bottom).*",)),
        Chart("trace and its standard error", ("curvature/trace", "curvature/trace_error")),
    ),
    "derivative": (Chart("error of difference quotients", ("error/.*",)),),
}

READING = {
    "answer": "the numbers that the run came to; HPARAMS has them beside the knobs of every run",
    "loss": "what is minimised. On a logarithmic axis (the chart's menu) a straight line is one factor a step",
    "gradient": "its norm, the length of the step, and the cosine between the step and straight downhill, which is 1",
    "theory": "what theory says beside what was measured: a contraction of 0.9 takes a tenth of the gradient a step; "
    "sharpness times lr/2 above 1 is a step that overshoots",
    "curvature": "how sharply the loss bends: along the step, and along its sharpest direction. Beyond 2/lr gradient "
    "descent cannot stay",
    "score": "how well the network does, on the rows it learns from and on those held out",
    "optimizer": "the learning rate as the schedule has it, and the gradients that were asked for",
    "error": "how far each difference quotient is from the proven derivative, over the halvings of h",
    "quartiles": "the middle half of the starts; in CUSTOM SCALARS as a band",
    "layers": "the norms of each layer's weights, gradient and step, and what else is known of each",
    "noise": "the gradient's noise: below the noise scale, in rows, a larger batch allows a larger step",
    "weight": "the norm of all weights",
    "update": "the norm of what a step adds to them",
    "watch": "what the watch costs, as a share of the training time",
    "weights": "the weights of each layer, whose spread should neither collapse nor run away",
    "gradients": "the gradient of each layer: much narrower in the first layers than in the last is a vanishing one",
    "updates": "the step of each layer: about a thousandth of the weights' spread is usual",
    "run": "whether it ran away (1), its steps and its seconds",
    "x": "where the walk is",
}


def reading(run: Run, tags: Sequence[str], pictures: Sequence[str]) -> str:
    """What the tabs show, as Markdown: a line for each group of ``tags``, and the captions of the ``pictures``."""
    groups = [group for group in READING if any(tag.partition("/")[0] == group for tag in tags)]
    lines = [f"- **{group}/** {READING[group]}." for group in groups]
    if groups:
        lines.append("- CUSTOM SCALARS has the charts that belong together; smoothing 0 shows the numbers as they are.")
    kinds = {picture.name: type(picture).__name__ for picture in run.pictures}
    said_of = [(name, caption({"name": name, "kind": kinds.get(name, "")})) for name in pictures]
    lines += [f"- **pictures/{said(name)}** {' '.join(filter(None, told))}" for name, told in said_of[:IMAGES]]
    if len(pictures) > IMAGES:
        rest = ", ".join(map(said, pictures[IMAGES:]))
        lines.append(f"- IMAGES has the first {IMAGES} pictures; in the folder there are also: {rest}.")
    return "\n".join(["## How to read this", "", *lines, ""]) if lines else ""


def tag_of(run: Run, name: str) -> str | None:
    """The tag of a value; None for what is no line over what goes on."""
    if run.steps < 1:
        return None
    if name in ("train_loss",) and run.config.get("batch") is None:  # of all rows it is the loss itself
        return None
    if found := TAGS.get(run.topic, {}).get(name):
        return found
    starts = PREFIXES.get(run.topic, {}).items()
    return next((group + name.removeprefix(start) for start, group in starts if name.startswith(start)), None)


def layout(run: Run, tags: Sequence[str]) -> Iterator[Chart]:
    """The charts of a run that has logged ``tags``: those of which it has a line."""
    for chart in CHARTS.get(run.topic, ()):
        found = [any(re.fullmatch(pattern, tag) for tag in tags) for pattern in chart.tags]
        if any(found):
            more = [chart.also] if any(re.fullmatch(chart.also, tag) for tag in tags) else []
            exact = [f"{pattern}$" for pattern in (*chart.tags, *more)]  # TensorBoard looks anywhere in a tag for them
            yield replace(chart, title=chart.title + chart.beside * all(found), tags=exact)
    for picture in spreads(run):
        names = run.labels[picture.middle][0]
        yield Chart(said(picture.name), margins=[f"quartiles/{said(picture.middle)}_{name}" for name in names])


def spreads(run: Run) -> list[Spread]:
    """The quartiles that lie over what is counted, which a chart can have as steps: the first such picture."""
    found = [picture for picture in run.pictures if isinstance(picture, Spread)]
    return [picture for picture in found if picture.axis == OVER.get(run.topic)][:1]


def margins(run: Run, columns: Columns) -> Iterator[tuple[str, list[int], Tensor]]:
    """Tag, steps and values of the quartiles among ``columns``: matrices with a row for each name."""
    for picture in spreads(run):
        if picture.across not in columns or picture.middle not in columns:
            continue
        names = run.labels[picture.middle][0]
        for end, column in zip(QUARTILES, picture.columns, strict=True):
            for name, over, row in zip(names, columns[picture.across].data[-1], columns[column].data[-1], strict=True):
                steps = [int(k) for k in over.tolist() if math.isfinite(k)]
                yield f"quartiles/{said(picture.middle)}_{name}{end}", steps, row[: len(steps)]


def said(name: str) -> str:
    return name.replace("_", " ")


def metrics(run: Run, outcome: Outcome) -> Iterator[tuple[str, float]]:
    """The numbers that a run comes to, what a sweep is read by: in the order of use.

    A run that ran away has no objective: it would hide all others on any scale.
    """
    lost = outcome.status in (Status.DIVERGED, Status.NONFINITE, Status.FAILED)
    values = {} if outcome.answer is None else outcome.answer.values
    numbers = {name: number for name, value in values.items() if (number := plain(value)) is not None}
    if numbers and not lost:
        yield f"{ANSWER}/objective", next(iter(numbers.values()))
    if run.steps < 1:
        yield from ((f"{ANSWER}/{name}", number) for name, number in [*numbers.items()][1:NUMBERS])
    for name in SCORES:
        if (number := plain(outcome.last.get(name))) is not None:
            yield f"{ANSWER}/score_{name}", number
            break
    yield "run/diverged", float(lost)
    yield "run/steps", float(max(outcome.steps, 0))
    yield "run/seconds", outcome.seconds


def plain(value: object) -> float | None:
    """A finite real number that float32 has room for; None for all else."""
    if not isinstance(value, Tensor) or value.ndim or value.dtype.is_complex:
        return None
    number = float(value)
    return number if abs(number) < LARGEST else None


def first_of(run: Run, column: str) -> float | None:
    """The value of a scalar at the first step of a run that goes on, as its CSV has it."""
    import csv

    try:
        with open(run.folder / "scalars.csv", encoding="utf-8", newline="") as file:
            return float(next(csv.DictReader(file))[column])
    except (OSError, ValueError, KeyError, StopIteration):
        return None
