"""Trainings of different kinds, healthy and diverging, to measure what is said of them:
`python tests/watch/trainings.py` runs all and prints what was told of each.

The first set is the one that the conditions were made with, the second was made afterwards. Of a diverging one it is
known which step it is, by looking at loss, gradient and weights at every step; place and cause were written down before
it was run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

import calclab
from calclab.watch.moment import Event

Batches = Callable[[int], Any]
SGD, Adam, AdamW, RMSprop = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop


@dataclass
class Training:
    """A loop. ``name`` is that of the event that is due ("nonfinite/..."; "" of a healthy one), ``place`` a part of its
    place, ``word`` a part of its text."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    batches: Batches
    criterion: Any = None
    loss: Any = None
    steps: int = 150
    sign: float = 1.0  # of the loss that is descended
    autocast: torch.dtype | None = None
    schedule: Any = None
    clip: float = math.inf
    name: str = ""
    place: str = ""
    word: str = ""
    told: list[Event] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)  # with information
    first: int = 0  # the first step whose loss, gradient or weights are not finite
    last: float = math.nan

    def value(self, batch: Any) -> Tensor:
        cast = nullcontext() if self.autocast is None else torch.autocast("cpu", self.autocast)
        with cast:
            if self.loss is not None:
                return self.loss(self.model, batch)
            x, y = batch
            return self.criterion(self.model(x), y)

    def run(self, *quantities: str) -> list[Event]:
        """What was told, but for information alone."""
        watch = calclab.Watch(
            self.model, self.criterion, self.optimizer, loss=self.loss, every=10, budget=None, tell=None,
            quantities=["norms", "health", *quantities],
        )  # fmt: skip
        with watch:
            for k in range(1, self.steps + 1):
                batch = self.batches(k)
                self.optimizer.zero_grad()
                loss = self.value(batch)
                (self.sign * loss).backward()
                if math.isfinite(self.clip):
                    nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
                gradients = [p.grad.to_dense() for p in self.model.parameters() if p.grad is not None]
                healthy = loss.isfinite() and all(bool(g.isfinite().all()) for g in gradients)
                self.optimizer.step()
                healthy = healthy and all(bool(p.isfinite().all()) for p in self.model.parameters())
                if not healthy and not self.first:
                    self.first = k
                if self.schedule is not None:
                    self.schedule.step()
                self.last = float(loss.detach())
                watch.step(batch)
        self.events = watch.events
        self.told = [event for event in watch.events if event.kind]
        return self.told

    def right(self) -> bool:
        """Whether just what is due was told, and at the right step where that is known."""
        if not self.name:
            return not self.told
        if not self.told:
            return False
        named = [event for event in self.told if event.name == self.name]
        if not named or self.place not in named[0].place or self.word not in named[0].text:
            return False
        return not self.name.startswith("nonfinite") or named[0].step == self.first


def rows(d: int, classes: int = 0, size: int = 32, noise: float = 0.1, scale: float = 1.0) -> Batches:
    """Batches of a fixed problem: classes by the largest of linear forms, or a sum of sines with noise."""
    made = torch.Generator().manual_seed(7)
    W = torch.randn(d, classes or 1, generator=made)

    def batch(k: int) -> tuple[Tensor, Tensor]:
        drawn = torch.Generator().manual_seed(1000 + k)
        x = torch.randn(size, d, generator=drawn) * scale
        if classes:
            return x, (x @ W).argmax(1)
        return x, (x @ W).sin() + noise * torch.randn(size, 1, generator=drawn)

    return batch


def mlp(*sizes: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])


# --- healthy ----------------------------------------------------------------------------------------------------------


def sgd() -> Training:
    model = mlp(10, 32, 3)
    return Training(model, SGD(model.parameters(), 0.1), rows(10, 3), nn.CrossEntropyLoss(), steps=400)


def convolution() -> Training:
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4),
    )  # fmt: skip
    flat = rows(64, 4)

    def images(k: int) -> tuple[Tensor, Tensor]:
        x, y = flat(k)
        return x.view(-1, 1, 8, 8), y

    optimizer = SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
    return Training(model, optimizer, images, nn.CrossEntropyLoss(), steps=200)


class Transformer(nn.Module):
    """Next token of a sequence, causal."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 16)
        self.position = nn.Parameter(torch.zeros(12, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 11)

    def forward(self, tokens: Tensor) -> Tensor:
        n = tokens.shape[1]
        mask = torch.full((n, n), -math.inf).triu(1)
        hidden = self.encoder(self.embedding(tokens) + self.position[:n], mask=mask)
        return self.head(hidden).flatten(0, 1)


def tokens(k: int) -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(k)
    start, step = torch.randint(0, 11, (16, 1), generator=drawn), torch.randint(1, 4, (16, 1), generator=drawn)
    x = (start + step * torch.arange(13)) % 11
    return x[:, :-1], x[:, 1:].flatten()


def transformer() -> Training:
    model = Transformer()
    optimizer = AdamW(model.parameters(), 3e-3, weight_decay=0.1)
    warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: min(k / 30, 1.0))  # from 0 on
    return Training(model, optimizer, tokens, nn.CrossEntropyLoss(), schedule=warm, clip=1.0, steps=200)


def rmsprop() -> Training:
    model = mlp(6, 24, 24, 1, act=nn.Tanh)
    return Training(model, RMSprop(model.parameters(), 1e-3), rows(6), nn.MSELoss(), steps=300)


def edge() -> Training:
    """Full batches: λmax grows up to 2/lr, and stays about there; the loss falls, not at every step."""
    model, (x, y) = mlp(6, 32, 32, 1, act=nn.Tanh), rows(6, size=40, noise=0)(1)
    return Training(model, SGD(model.parameters(), 0.35), lambda k: (x, y), nn.MSELoss(), steps=500)


def dropout() -> Training:
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5),
                          nn.Linear(64, 3))  # fmt: skip
    return Training(model, Adam(model.parameters(), 2e-3), rows(10, 3), nn.CrossEntropyLoss(), steps=300)


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(200, 8, sparse=True)
        self.head = nn.Linear(8, 5)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.table(words).mean(1))


def sparse() -> Training:
    """Few rows of the table have a gradient, and most labels are ignored."""
    model = Bag()

    def words(k: int) -> tuple[Tensor, Tensor]:
        drawn = torch.Generator().manual_seed(k)
        x = torch.randint(0, 200, (32, 6), generator=drawn)
        y = x[:, 0] % 5
        y[8:] = -100
        return x, y

    return Training(model, SGD(model.parameters(), 0.5), words, nn.CrossEntropyLoss(), steps=200)


def regression() -> Training:
    """Nothing to find but a mean: the loss falls at first, then it is noise; one row at a time."""
    model, flat = nn.Linear(4, 1), rows(4, size=1, noise=1.0)
    return Training(model, SGD(model.parameters(), 0.01), flat, nn.MSELoss(), steps=500)


def bfloat16() -> Training:
    model = mlp(10, 32, 32, 3, act=nn.GELU)
    return Training(
        model, AdamW(model.parameters(), 2e-3), rows(10, 3), nn.CrossEntropyLoss(), autocast=torch.bfloat16, steps=200
    )


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase] = nn.GRU, hidden: int = 16) -> None:
        super().__init__()
        self.rnn = kind(3, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


def series(k: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(24, 15, 3, generator=torch.Generator().manual_seed(k))
    return x, x[:, -3:, 0].sum(1, keepdim=True)


def gru() -> Training:
    model = Recurrent()
    return Training(model, Adam(model.parameters(), 5e-3), series, nn.MSELoss(), steps=200)


HEALTHY = (sgd, convolution, transformer, rmsprop, edge, dropout, sparse, regression, bfloat16, gru)


# --- diverging --------------------------------------------------------------------------------------------------------


def far_sgd() -> Training:
    model = mlp(10, 32, 1)
    optimizer = SGD(model.parameters(), 2.0)
    return Training(model, optimizer, rows(10), nn.MSELoss(), name="nonfinite/rate", word="is too large")


def far_momentum() -> Training:
    model = mlp(10, 32, 32, 1, act=nn.SiLU)
    optimizer = SGD(model.parameters(), 0.5, momentum=0.95)
    return Training(model, optimizer, rows(10), nn.MSELoss(), name="nonfinite/rate", word="is too large")


def far_adam() -> Training:
    """Adam's steps are bounded: the loss grows, and stays a number."""
    model = mlp(10, 32, 32, 1)
    return Training(model, Adam(model.parameters(), 3.0), rows(10), nn.MSELoss(), name="loss grows")


class LogLikelihood(nn.Module):
    """−log of the probability, without a guard."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        picked = outputs.softmax(1).gather(1, targets[:, None])
        return -torch.log(picked).mean()


def log_of_zero() -> Training:
    """Inputs of size 60: at some step a probability is 0 in float32."""
    model = mlp(10, 3)
    return Training(
        model, SGD(model.parameters(), 0.05), rows(10, 3, scale=60.0), LogLikelihood(),
        name="nonfinite/operation", place="LogLikelihood", word="the logarithm of 0",
    )  # fmt: skip


class Distance(nn.Module):
    """The length of each row, by a root."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square().sum(1, keepdim=True).sqrt()


def root_at_zero() -> Training:
    """A row that the layers before send to 0: the batch of step 7 is 0, and the first layer has no bias."""
    model = nn.Sequential(nn.Linear(4, 8, bias=False), nn.Tanh(), Distance(), nn.Linear(1, 1))
    flat = rows(4)

    def batch(k: int) -> tuple[Tensor, Tensor]:
        x, y = flat(k)
        x[3] = 0 if k == 7 else x[3]
        return x, y

    return Training(
        model, SGD(model.parameters(), 0.01), batch, nn.MSELoss(),
        name="nonfinite/operation", place="2 (Distance)", word="the slope of a square root at 0",
    )  # fmt: skip


class Exponential(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.exp()


def overflowing_exp() -> Training:
    """Inputs grow with the steps, as of features that were not scaled: exp of more than 88.7."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), Exponential(), nn.Linear(4, 1))
    flat = rows(4)

    def batch(k: int) -> tuple[Tensor, Tensor]:
        x, y = flat(k)
        return x * (300 if k == 12 else 0.1), y

    return Training(
        model, SGD(model.parameters(), 1e-4), batch, nn.MSELoss(),
        name="nonfinite/operation", place="2 (Exponential)", word="the exponential of",
    )  # fmt: skip


def no_eps() -> Training:
    """A layer norm without eps, and at step 9 a row that does not vary."""
    model = nn.Sequential(nn.LayerNorm(4, eps=0.0), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    flat = rows(4)

    def batch(k: int) -> tuple[Tensor, Tensor]:
        x, y = flat(k)
        x[5] = 1 if k == 9 else x[5]
        return x, y

    return Training(
        model, Adam(model.parameters(), 1e-3), batch, nn.MSELoss(),
        name="nonfinite/operation", place="0 (LayerNorm)", word="0/0",
    )  # fmt: skip


def bad_row() -> Training:
    model, flat = mlp(5, 16, 1), rows(5)

    def batch(k: int) -> tuple[Tensor, Tensor]:
        x, y = flat(k)
        x[11, 3] = math.nan if k == 21 else x[11, 3]
        return x, y

    return Training(
        model, Adam(model.parameters(), 1e-3), batch, nn.MSELoss(),
        name="nonfinite/data", place="inputs", word="the batch has NaN in its inputs, row 11, at 3",
    )  # fmt: skip


def half() -> Training:
    """float16 from end to end: the square of what the second layer gives is beyond 65504."""
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), Square(), nn.Linear(16, 1)).half()
    flat = rows(6)

    def batch(k: int) -> tuple[Tensor, Tensor]:
        x, y = flat(k)
        return (x * (1000 if k == 5 else 1)).half(), y.half()

    return Training(
        model, SGD(model.parameters(), 1e-3), batch, nn.MSELoss(),
        name="nonfinite/operation", place="2 (Square)", word="float16 holds numbers up to 6.55e+04",
    )  # fmt: skip


class Square(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x


def exploding_rnn() -> Training:
    """A recurrence without a bound, weights of radius 3, over 120 steps of time: too large at the first step."""
    model = Recurrent(Growing)  # type: ignore[arg-type]

    def batch(k: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(8, 120, 3, generator=torch.Generator().manual_seed(k))
        return x, x[:, -1, :1]

    return Training(
        model, SGD(model.parameters(), 1e-3), batch, nn.MSELoss(), steps=40,
        name="nonfinite/operation", place="rnn", word="float32 holds numbers up to 3.4e+38",
    )  # fmt: skip


class Growing(nn.Module):
    """h ← W h + U x, linear."""

    def __init__(self, inputs: int, hidden: int, batch_first: bool = True) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(hidden, hidden), nn.Linear(inputs, hidden)
        with torch.no_grad():
            self.inner.weight.copy_(3 * torch.linalg.qr(torch.randn(hidden, hidden)).Q)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        h = x.new_zeros(len(x), self.inner.out_features)
        for t in range(x.shape[1]):
            h = self.inner(h) + self.outer(x[:, t])
        return h[:, None], None


def maximised() -> Training:
    """The loss is climbed: its sign was turned."""
    model = mlp(6, 16, 1)
    return Training(
        model, SGD(model.parameters(), 0.02), rows(6), nn.MSELoss(), sign=-1.0,
        name="uphill", word="goes up the gradient of the loss",
    )  # fmt: skip


class Standardised(nn.Module):
    """Features divided by their spread in the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)) / x.std(0)


def constant_feature() -> Training:
    model = nn.Sequential(Standardised(), nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1))
    flat = rows(5)

    def batch(k: int) -> tuple[Tensor, Tensor]:
        x, y = flat(k)
        x[:, 1] = 4.0 if k == 15 else x[:, 1]
        return x, y

    return Training(
        model, SGD(model.parameters(), 0.05), batch, nn.MSELoss(),
        name="nonfinite/operation", place="0 (Standardised)", word="0/0",
    )  # fmt: skip


DIVERGING = (
    far_sgd, far_momentum, far_adam, log_of_zero, root_at_zero, overflowing_exp, no_eps, bad_row, half, exploding_rnn,
    maximised, constant_feature,
)  # fmt: skip


# --- the second set, made when what is told had been written ----------------------------------------------------------


def autoencoder() -> Training:
    model = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 20))

    def pixels(k: int) -> tuple[Tensor, Tensor]:
        drawn = torch.Generator().manual_seed(k)
        x = (torch.rand(32, 4, generator=drawn) > 0.5).float().repeat(1, 5)
        return x, x

    return Training(model, Adam(model.parameters(), 3e-3), pixels, nn.BCEWithLogitsLoss(), steps=300)


def lstm() -> Training:
    model = Recurrent(nn.LSTM)
    return Training(model, SGD(model.parameters(), 0.2, momentum=0.9), series, nn.MSELoss(), clip=0.5, steps=200)


class Residual(nn.Module):
    """Blocks whose last weights begin at 0, so that each begins as the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)) for _ in range(4)
        )
        for block in self.blocks:
            nn.init.zeros_(block[3].weight)  # type: ignore[index]
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def residual() -> Training:
    model = Residual()
    optimizer = AdamW(model.parameters(), 1e-2)
    falls = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 150)  # to 0 at the end
    return Training(model, optimizer, rows(16, 4), nn.CrossEntropyLoss(), schedule=falls, steps=150)


class Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(10, 6), nn.Linear(3, 10)
        self.share = 0.0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, 1)
        z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
        return self.decoder(z), kl


def variational() -> Training:
    """Draws random numbers, and the weight of its second term grows."""
    model, flat = Variational(), rows(10)

    def loss(net: nn.Module, batch: Any) -> Tensor:
        restored, kl = net(batch[0])
        return functional.mse_loss(restored, batch[0]) + 0.1 * kl

    return Training(model, Adam(model.parameters(), 5e-3), flat, loss=loss, steps=250)


def single_rows() -> Training:
    """One row a step until all are learned: most losses are next to 0, some are large."""
    model, flat = mlp(10, 64, 3), rows(10, 3, size=40)
    x, y = flat(1)

    def one(k: int) -> tuple[Tensor, Tensor]:
        i = int(torch.randint(0, 40, (1,), generator=torch.Generator().manual_seed(k)))
        return x[i : i + 1], y[i : i + 1]

    return Training(model, SGD(model.parameters(), 0.05), one, nn.CrossEntropyLoss(), steps=600)


def head_alone() -> Training:
    """The body is not given to the optimizer."""
    model = mlp(10, 32, 32, 3)
    return Training(model, Adam(model[4].parameters(), 1e-2), rows(10, 3), nn.CrossEntropyLoss(), steps=150)


class Triplet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.margin = nn.TripletMarginLoss(0.3)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.margin(z[::3], z[1::3], z[2::3])


def triplets() -> Training:
    """A loss that is exactly 0 in many steps."""
    model = mlp(6, 16, 4)

    def batch(k: int) -> tuple[Tensor, Tensor]:
        drawn = torch.Generator().manual_seed(k)
        a = torch.randn(12, 6, generator=drawn)
        b = a + 0.1 * torch.randn(12, 6, generator=drawn)
        c = torch.randn(12, 6, generator=drawn)
        return torch.stack([a, b, c], 1).flatten(0, 1), torch.zeros(36)

    return Training(model, Adam(model.parameters(), 1e-3), batch, Triplet(), steps=200)


class Gaussian(nn.Module):
    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.gaussian_nll_loss(outputs[:, :1], targets, outputs[:, 1:].exp())


def likelihood() -> Training:
    """A loss that falls through 0."""
    model = mlp(3, 32, 2, act=nn.Tanh)
    return Training(model, Adam(model.parameters(), 5e-3), rows(3, noise=0.02), Gaussian(), steps=400)


def one_cycle() -> Training:
    model = mlp(10, 48, 48, 3)
    optimizer = SGD(model.parameters(), 0.01, momentum=0.9)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=260)
    return Training(model, optimizer, rows(10, 3), nn.CrossEntropyLoss(), schedule=cycle, steps=250)


def frozen_group() -> Training:
    """Two groups, one at a rate of 0; a function as criterion, which nothing overhears."""
    model = mlp(10, 32, 3)
    optimizer = SGD([{"params": model[0].parameters(), "lr": 0.0}, {"params": model[2].parameters()}], 0.1)
    return Training(model, optimizer, rows(10, 3), functional.cross_entropy, steps=200)


HEALTHY_TOO = (
    autoencoder, lstm, residual, variational, single_rows, head_alone, triplets, likelihood, one_cycle, frozen_group,
)  # fmt: skip


def bounded() -> Training:
    """Far too large a rate, and nothing that overflows."""
    model = mlp(10, 32, 3, act=nn.Tanh)
    return Training(model, SGD(model.parameters(), 60.0), rows(10, 3), functional.cross_entropy, name="loss grows")


class Cosine(nn.Module):
    """The angle between rows and a direction."""

    def __init__(self) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        x = x / x.norm(dim=1, keepdim=True)
        return (x @ (self.direction / self.direction.norm()))[:, None]


def zero_row() -> Training:
    """A row of zeros is divided by its norm."""
    model, flat = nn.Sequential(Cosine(), nn.Linear(1, 1)), rows(4)

    def batch(k: int) -> tuple[Tensor, Tensor]:
        x, y = flat(k)
        x[2] = 0 if k == 13 else x[2]
        return x, y

    return Training(
        model, Adam(model.parameters(), 1e-2), batch, functional.mse_loss,
        name="nonfinite/operation", place="0 (Cosine)", word="0/0",
    )  # fmt: skip


class Attention(nn.Module):
    """Rows attend to those of their group."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(5, 8) for _ in range(3))
        self.head = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.query(x) @ self.key(x).T / 8**0.5
        scores = scores.masked_fill(x[:, :1] > 2.4, -math.inf)
        return self.head(scores.softmax(1) @ self.value(x))


def masked_rows() -> Training:
    """At some step a row has nothing to look at."""
    model = Attention()
    return Training(
        model, Adam(model.parameters(), 1e-3), rows(5), nn.MSELoss(), steps=150,
        name="nonfinite/operation", place="Attention", word="-inf throughout",
    )  # fmt: skip


def infinite_target() -> Training:
    model, flat = mlp(5, 16, 1), rows(5)

    def batch(k: int) -> dict[str, Tensor]:
        x, y = flat(k)
        y[30] = math.inf if k == 44 else y[30]
        return {"features": x, "height": y}

    def loss(net: nn.Module, batch: Any) -> Tensor:
        return functional.smooth_l1_loss(net(batch["features"]), batch["height"])

    return Training(
        model, RMSprop(model.parameters(), 1e-3), batch, loss=loss,
        name="nonfinite/data", place="height", word="row 30",
    )  # fmt: skip


def rate_of_nan() -> Training:
    """A schedule with a fault: 0/0 at step 25."""
    model = mlp(5, 16, 1)
    optimizer = SGD(model.parameters(), 0.01)
    fault = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: math.nan if k == 25 else 1.0)
    return Training(
        model, optimizer, rows(5), nn.MSELoss(), schedule=fault,
        name="nonfinite/weights", word="the learning rate was nan",
    )  # fmt: skip


def rule_without_eps() -> Training:
    """RMSprop with eps=0, and a feature that is always 0: 0/0 in the rule."""
    model, flat = mlp(5, 16, 1), rows(5)

    def batch(k: int) -> tuple[Tensor, Tensor]:
        x, y = flat(k)
        x[:, 4] = 0
        return x, y

    return Training(
        model, RMSprop(model.parameters(), 1e-3, eps=0.0), batch, nn.MSELoss(),
        name="nonfinite/weights", place="0.weight", word="eps=0",
    )  # fmt: skip


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = mlp(6, 16, 16), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).detach())


def detached() -> Training:
    model = Detached()
    return Training(
        model, Adam(model.parameters(), 1e-3), rows(6), nn.MSELoss(), name="no gradient", place="body", word="detached"
    )


def dead_units() -> Training:
    """Biases so far below 0 that no unit of the layer answers."""
    model = mlp(6, 16, 16, 1)
    nn.init.constant_(model[2].bias, -50.0)
    return Training(
        model, SGD(model.parameters(), 1e-2), rows(6), nn.MSELoss(), name="dead", place="0.weight", word="exactly 0"
    )


class Clamped(torch.autograd.Function):
    """A Function of the user's whose backward divides by what may be 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradients[0] * x.clamp(min=0) / x.abs()


class Clamping(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Clamped.apply(x)


def own_function() -> Training:
    model = nn.Sequential(nn.Linear(4, 8, bias=False), Clamping(), nn.Linear(8, 1))
    flat = rows(4)

    def batch(k: int) -> tuple[Tensor, Tensor]:
        x, y = flat(k)
        x[0] = 0 if k == 31 else x[0]
        return x, y

    return Training(
        model, SGD(model.parameters(), 1e-2), batch, nn.MSELoss(),
        name="nonfinite/operation", place="1 (Clamping)", word="Clamped",
    )  # fmt: skip


def rounded() -> Training:
    """Weights in bfloat16, three digits, at a rate that moves none of them."""
    model = mlp(6, 16, 1).to(torch.bfloat16)
    flat = rows(6)

    def batch(k: int) -> tuple[Tensor, Tensor]:
        x, y = flat(k)
        return x.bfloat16(), y.bfloat16()

    return Training(model, SGD(model.parameters(), 1e-7), batch, nn.MSELoss(), name="rounded away", word="rounded away")


def no_rate() -> Training:
    model = mlp(6, 16, 1)
    return Training(model, Adam(model.parameters(), 0.0), rows(6), nn.MSELoss(), name="rate zero")


def none_counts() -> Training:
    """A batch in which every label is the ignored one."""
    model, flat = mlp(10, 16, 3), rows(10, 3)

    def batch(k: int) -> tuple[Tensor, Tensor]:
        x, y = flat(k)
        return x, torch.full_like(y, -100) if k == 18 else y

    return Training(
        model, Adam(model.parameters(), 1e-3), batch, functional.cross_entropy,
        name="nonfinite/operation", place="the loss", word="no row counts",
    )  # fmt: skip


DIVERGING_TOO = (
    bounded, zero_row, masked_rows, infinite_target, rate_of_nan, rule_without_eps, detached, dead_units, own_function,
    rounded, no_rate, none_counts,
)  # fmt: skip


def measured(makers: Any) -> Iterator[tuple[str, Training]]:
    for maker in makers:
        torch.manual_seed(0)
        training = maker()
        training.run()
        yield maker.__name__, training


if __name__ == "__main__":
    sets = {
        "healthy": HEALTHY,
        "diverging": DIVERGING,
        "healthy, second set": HEALTHY_TOO,
        "diverging, second set": DIVERGING_TOO,
    }
    for title, makers in sets.items():
        found = list(measured(makers))
        print(f"{title}: {sum(one.right() for _, one in found)} of {len(found)} right")
        for name, one in found:
            print(
                f"  {'right' if one.right() else 'WRONG'} {name}: last loss {one.last:.3g}, not finite from {one.first}"
            )
            for event in one.told:
                print(f"        {event.name} | {event.place} | step {event.step}: {event.text}")
