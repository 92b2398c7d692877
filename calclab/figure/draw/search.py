"""A search by Optuna in Optuna's own pictures: its history, the importance of knobs, parallel coordinates.

These draw with pyplot, in a style of their own; both are put back as they were. What is better when it is smaller, and
spans more than a decade, is shown and explained by its logarithm: else all but the worst trials would look alike.
"""

from __future__ import annotations

import io
import math
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from calclab.figure.draw.canvas import DPI, INK, log_ticks, plain
from calclab.figure.record.scale import loggable

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

WIDTHS = {"history": 7.0, "knob_importance": 7.0, "parallel_coordinates": 9.0}  # inches
TITLES = {
    "history": "Every trial, and the best so far",
    "knob_importance": "How much of the differences in {measure} each knob explains (fANOVA)",
    "parallel_coordinates": "A line for each trial, dark where {measure} is good",
}


def draw_search(study: Study, measure: str) -> Iterator[tuple[str, bytes]]:
    """The name of each picture, and its PNG; nothing before two trials are complete, and of one knob the history."""
    import matplotlib
    from optuna.importance import FanovaImportanceEvaluator
    from optuna.study import StudyDirection
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < 2:
        return
    if "matplotlib.pyplot" not in sys.modules:
        matplotlib.use("agg")  # no window
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as drawn

    values = [float(trial.value) for trial in done]
    log = study.direction == StudyDirection.MINIMIZE and loggable(values)
    least = min((value for value in values if value > 0), default=1.0) / 10

    def logarithm(trial: FrozenTrial) -> float:
        return math.log10(max(trial.value, least))

    scaled: dict[str, Any] = {"target_name": measure}
    if log:
        scaled = {"target_name": f"log10 {measure}", "target": logarithm}
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "history": (drawn.plot_optimization_history, {"target_name": measure})
    }
    if len({name for trial in done for name in trial.params}) > 1:
        seeded = {"evaluator": FanovaImportanceEvaluator(seed=0)}
        kinds["knob_importance"] = (drawn.plot_param_importances, scaled | seeded)
        kinds["parallel_coordinates"] = (drawn.plot_parallel_coordinate, scaled)
    for name, (draw, options) in kinds.items():
        with matplotlib.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that these functions may change
            try:
                axes = draw(study, **options)
            except (ValueError, RuntimeError):  # where all trials have the same value, nothing explains it
                continue
            if name == "history" and log and min(values) > 0:
                axes.set_yscale("log")
                log_ticks(axes.yaxis)
            if name == "knob_importance" and axes.get_legend() is not None:
                axes.get_legend().remove()
            yield name, finished(axes, WIDTHS[name], TITLES[name].format(measure=options["target_name"]))
            pyplot.close(axes.figure)


def finished(axes: Any, width: float, title: str) -> bytes:
    """The PNG of a picture of Optuna's, with a title that says what to see, and with room for its names."""
    axes.set_title("")
    axes.set_title(plain(title), loc="left", fontsize=11, fontweight="bold", color=INK, pad=12)
    axes.figure.set_size_inches(width, 4.4)
    axes.figure.set_facecolor("white")
    buffer = io.BytesIO()
    axes.figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
    return buffer.getvalue()
