"""How many columns should share a pass? Sharing pays for small graphs and loses on large ones: measured, not assumed.

A stopwatch decides, so that two calls may differ: who has to go on bit for bit keeps the answer with its state.
"""

from __future__ import annotations

import time

import torch

from calclab.numerics.linear import LinearOperator

MOST = 64
GAIN = 0.95  # of the time of a column; what gains less is not worth its memory
ROUNDS = 2  # the quicker of so many passes counts


def measure_lanes(A: LinearOperator, *, most: int = MOST, seed: int = 0) -> int:
    """The number of columns in a pass with the least time for each: 1, or 4, 8, 16, ... up to ``most``.

    It ends as soon as more columns are no quicker. An operator whose ``lanes`` are 1 by the bytes of its graph is not
    measured at all: there a few columns would cost more than they could save.
    """
    if A.laned is None or A.lanes == 1 or A.shape[1] < 4:
        return 1
    generator = torch.Generator(A.device).manual_seed(seed)
    V = torch.randn(A.shape[1], most, dtype=A.dtype, device=A.device, generator=generator)
    best, least = 1, column_time(A, V, 1)
    lanes = 4
    while lanes <= min(most, A.shape[1]):
        now = column_time(A, V, lanes)
        if now < GAIN * least:
            best, least = lanes, now
        elif now > least or lanes >= 16:
            break
        lanes *= 2
    return best


def column_time(A: LinearOperator, V: torch.Tensor, lanes: int) -> float:
    """Seconds for one of ``lanes`` columns that go together, after one pass to warm up for single ones."""
    B = A.with_lanes(lanes)
    times = []
    for _ in range(ROUNDS):
        began = clock(A.device)
        B @ V[:, :lanes]
        times.append(clock(A.device) - began)
    return min(times) / lanes


def clock(device: torch.device) -> float:
    """CPU seconds of this process, which other processes disturb least; elsewhere the time once the device is done."""
    if device.type == "cpu":
        return time.process_time()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
