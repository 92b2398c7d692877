"""What a watch costs: a training with a look every 50 steps, against the same training without one.

    python tests/benchmark/watch_cost.py            # two networks, every kind of watch: a few minutes
    python tests/benchmark/watch_cost.py --rounds 1

An MLP of 0.9 million parameters and a small transformer, batches of 64 rows, AdamW, float32, one thread. All trainings
of a network take turns, 50 steps each, so that a busy machine slows all of them; CPU time of each over a round, its
ratio to the one without, the least of the rounds; beside it what the watch itself says of its share. The budget's clock
is CPU time, too. Exit status 1 where an aim is missed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import calclab

EVERY, BLOCKS, ROUNDS, ROWS = 50, 8, 3, 64
KINDS: dict[str, tuple[float, dict[str, Any]]] = {  # the ratio aimed at, and how the watch is made
    "norms, noise; no budget": (1.05, {"budget": None, "quantities": ["norms", "noise"]}),
    "norms, noise; 5 %": (1.05, {"quantities": ["norms", "noise"]}),
    "+ λmax; no budget": (1.25, {"budget": None, "quantities": ["norms", "noise", "sharpness"]}),
    "+ λmax; 5 %": (1.25, {"quantities": ["norms", "noise", "sharpness"]}),
    "+ preconditioned λmax; no budget": (1.25, {"budget": None, "quantities": ["norms", "noise", "preconditioned"]}),
}


class Transformer(nn.Module):
    """Words to the next word: two layers of attention, 110 thousand parameters."""

    def __init__(self, words: int = 64, length: int = 16, width: int = 64) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Parameter(0.02 * torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, words)

    def forward(self, words: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(words.shape[1])
        found: Tensor = self.head(self.layers(self.words(words) + self.places, mask=mask, is_causal=True))
        return found.transpose(1, 2)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 800), nn.ReLU(), nn.Linear(800, 320), nn.ReLU(), nn.Linear(320, 10))


def pictures(k: int) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(k)
    x = torch.randn(ROWS, 784, generator=made)
    return x, x[:, :10].argmax(1)


def sentences(k: int) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(k)
    x = torch.randint(64, (ROWS, 16), generator=made)
    return x, x.cumsum(1).remainder(64)


class Turns:
    """CPU seconds of a training while it has its turn; a clock for its watch."""

    def __init__(self) -> None:
        self.before, self.began = 0.0, -1.0

    def __call__(self) -> float:
        return self.before + (time.process_time() - self.began if self.began >= 0 else 0.0)

    def __enter__(self) -> None:
        self.began = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.before, self.began = self(), -1.0


@dataclass
class Training:
    """A loop that can be left and gone on with."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    batch: Callable[[int], tuple[Tensor, Tensor]]
    turns: Turns
    watch: calclab.Watch | None
    steps: int = 0

    def go_on(self, steps: int) -> None:
        criterion = nn.CrossEntropyLoss()
        batches = [self.batch(self.steps + k) for k in range(steps)]
        with self.turns:
            for x, y in batches:
                self.optimizer.zero_grad()
                criterion(self.model(x), y).backward()
                self.optimizer.step()
                if self.watch is not None:
                    self.watch.step((x, y))
        self.steps += steps


def training(make: Callable[[], nn.Module], batch: Any, watched: dict[str, Any] | None) -> Training:
    torch.manual_seed(0)
    model = make()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    watch, turns = None, Turns()
    if watched is not None:
        known: dict[str, Any] = {"every": EVERY, "clock": turns, **watched}
        watch = calclab.Watch(model, nn.CrossEntropyLoss(), optimizer, **known)
    return Training(model, optimizer, batch, turns, watch)


@dataclass(frozen=True, order=True)
class Cost:
    """A training in one round: its ratio to the one without a watch, what the watch says of its share, the looks, and
    milliseconds a step without."""

    ratio: float
    said: float
    looks: str
    step: float


def measured(make: Callable[[], nn.Module], batch: Any) -> dict[str, Cost]:
    """The cost of each kind, in one round."""
    bare = training(make, batch, None)
    kinds = {name: training(make, batch, watched) for name, (_, watched) in KINDS.items()}
    for one in (bare, *kinds.values()):  # what warms up
        one.go_on(EVERY)
    warm = [one.turns() for one in (bare, *kinds.values())]
    for _ in range(BLOCKS):
        for one in (bare, *kinds.values()):
            one.go_on(EVERY)
    base, *others = (one.turns() - before for one, before in zip((bare, *kinds.values()), warm, strict=True))
    step = 1000 * base / (EVERY * BLOCKS)
    found = {}
    for (name, one), spent in zip(kinds.items(), others, strict=True):
        assert one.watch is not None
        looks = ", ".join(f"{look} {times}" for look, times in one.watch.schedule.counts.items())
        found[name] = Cost(spent / base, one.watch.spent, looks, step)
        same = zip(one.model.parameters(), bare.model.parameters(), strict=True)
        assert all(torch.equal(p, q) for p, q in same), f"{name}: the training is another one"
        one.watch.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    missed = 0
    for network, make, batch in (("MLP", mlp, pictures), ("transformer", Transformer, sentences)):
        size = sum(p.numel() for p in make().parameters())
        print(
            f"{network}, {size:,} parameters, {ROWS} rows, a look every {EVERY} of {EVERY * BLOCKS} steps", flush=True
        )
        found = [measured(make, batch) for _ in range(rounds)]
        print(f"  {min(cost.step for one in found for cost in one.values()):.2f} ms CPU a step without a watch")
        for name, (aim, _) in KINDS.items():
            cost = min(one[name] for one in found)
            missed += cost.ratio > aim
            word = "" if cost.ratio <= aim else "  missed"
            print(
                f"  {name:34} × {cost.ratio:.3f} (aim {aim:.2f}), says + {cost.said:.3f}; {cost.looks}{word}",
                flush=True,
            )
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
