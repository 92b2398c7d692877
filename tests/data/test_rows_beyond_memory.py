"""A set of rows ten times as large as the memory named, from a loader, asked what there is to ask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Anonymous memory is sampled by a thread while questions are asked of rows that are made as they are needed.
PROGRAM = """
import ctypes, json, sys, threading, time
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset
torch.set_num_threads(1)
import calclab
from calclab.second_order import curvature, value_and_gradient
from calclab.subject.scores import scores

WIDTH, ROWS, MEMORY = 500, 40_000, 0.016  # 160 MB in float64, and 16 MB named

def rows(count):
    maker = torch.Generator().manual_seed(0)
    for _ in range(count // 100):
        x = torch.randn(100, WIDTH, generator=maker, dtype=torch.float64)
        yield x, x[:, :3].argmax(1)

class Made(IterableDataset):
    def __init__(self, count):
        self.count = count
    def __iter__(self):
        return rows(self.count)

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))

def ask(count):
    loss = calclab.loss(model, nn.CrossEntropyLoss(), DataLoader(Made(count), batch_size=None), memory=MEMORY)
    θ = loss.flatten(loss.parameters())
    found = {"notes": list(loss.notes), "value": float(value_and_gradient(loss)[0])}
    v = torch.ones(len(θ), 1, dtype=torch.float64)
    found["product"] = float((curvature(loss) @ v).norm())
    found["scores"] = {name: float(score) for name, score in scores(loss, θ).items()}
    result = calclab.descent(loss, steps=1, lr=0.1, batch=32, figures=False)
    found["descent"] = result.verdict
    found["importance"] = calclab.importance(loss, rows=8, retrains=0, bootstrap=0, trust=False, figures=False).verdict
    return found

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(WIDTH, 4), nn.Tanh(), nn.Linear(4, 3)).double()
ask(200)  # what is imported and kept whatever the rows are
before = peak = anonymous()
running = True
def watch():
    global peak
    while running:
        if anonymous() > peak:
            ctypes.CDLL(None).malloc_trim(0)  # what is freed and lies between what is held is not held
            peak = max(peak, anonymous())
        time.sleep(0.002)
thread = threading.Thread(target=watch)
thread.start()
found = ask(ROWS)
running = False
thread.join()
whole = value = gradient = 0.0
θ = [p.detach().requires_grad_() for p in model.parameters()]
v = torch.ones(sum(p.numel() for p in θ), dtype=torch.float64)
named = dict(zip(dict(model.named_parameters()), θ))
total = torch.zeros(len(v), dtype=torch.float64)
for x, y in rows(ROWS):
    f = nn.functional.cross_entropy(torch.func.functional_call(model, named, x), y, reduction="sum")
    g = torch.cat([part.reshape(-1) for part in torch.autograd.grad(f, θ, create_graph=True)])
    total += torch.cat([part.reshape(-1) for part in torch.autograd.grad(g @ v, θ)])
    value += float(f.detach())
print(json.dumps(found | {"grown": peak - before, "memory": 1e9 * MEMORY, "bytes": 8.0 * ROWS * WIDTH,
                          "true_value": value / ROWS, "true_product": float(total.norm()) / ROWS}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="anonymous memory is told by Linux alone")
def test_a_set_ten_times_the_memory_is_streamed_within_it() -> None:
    kept = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", PROGRAM]  # with what is freed given back at once, so that what is held is seen
    for _ in range(3):  # an allocator now and then keeps pages that are free: it shows too much, never too little
        run = subprocess.run(command, capture_output=True, text=True, timeout=600, env={**os.environ, **kept})
        assert run.returncode == 0, run.stderr
        found = json.loads(run.stdout.splitlines()[-1])
        if found["grown"] < found["memory"]:
            break
    assert found["bytes"] == 10 * found["memory"]
    assert found["grown"] < found["memory"], found
    assert found["value"] == pytest.approx(found["true_value"], rel=1e-12)
    assert found["product"] == pytest.approx(found["true_product"], rel=1e-10)
    assert found["scores"]["train_loss"] == pytest.approx(found["true_value"], rel=1e-12)
    assert any("read from a temporary file" in note for note in found["notes"])
    assert found["descent"] == "consistent"
