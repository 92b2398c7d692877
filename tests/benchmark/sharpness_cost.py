"""What following the sharpness costs: descent of the 1-100-100-1 network with λmax every 50 steps, against without.

    python tests/benchmark/sharpness_cost.py

Full-batch gradient descent at the edge of stability (tanh, 20 points of a Chebyshev polynomial, lr 0.1), float64, one
thread, logged to CSV and TensorBoard, in turn, three times; CPU time of each, ratio of each pair, median. Products with
the Hessian are counted beside it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import torch

from calclab.core import Outcome, Run
from calclab.data.synthetic import chebyshev
from calclab.drive import drive
from calclab.network.mlp import Mlp
from calclab.optimizer.rules import GradientDescent
from calclab.sink.csv import CsvSink
from calclab.sink.tensorboard import TensorBoardSink
from calclab.subject.network import Network, network
from calclab.topic.descent import Descent

STEPS, EVERY, ROUNDS, AIM = 2000, 50, 3, 2.0


def subject() -> Network:
    from functools import partial

    place = {"dtype": torch.float64, "device": torch.device("cpu"), "seed": 4}
    data = chebyshev(degree=3, points=20, standardize=False, held_out=0.0, **place)
    made = partial(Mlp, width=100, depth=2, activation="tanh", bias=True)
    return network(made, data, name="mlp", loss="half_mse", train=0, **place)


def walk(about: Network, every: int) -> float:
    """CPU seconds of the logged walk."""
    topic = Descent(
        subject=about,
        optimizer=GradientDescent(),
        lr=0.1,
        steps=STEPS,
        tol=0.0,
        batch=None,
        epochs=None,
        sharpness={"every": every},
        watch=None,
        animation=False,
        evidence="full",
        flow=None,
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Run("descent", "mlp", "descent", Path(folder), STEPS, topic.labels(), (), {})
        sinks = [CsvSink(), TensorBoardSink()]
        began = time.process_time()
        for sink in sinks:
            sink.open(run)
        scan = drive(topic, sinks)
        for sink in sinks:
            sink.close(Outcome(scan.status, scan.step, 0.0, scan.last))
        return time.process_time() - began


def main() -> None:
    torch.set_num_threads(1)
    about = subject()
    walk(about, EVERY)
    pairs = [(walk(about, 0), walk(about, EVERY)) for _ in range(ROUNDS)]
    without, followed = (statistics.median(times) / STEPS * 1e6 for times in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"without {without:.0f} µs a step, every {EVERY} steps {followed:.0f} µs: {ratio:.2f} times (aim: {AIM})")


if __name__ == "__main__":
    main()
