"""A training with a watch is the training without one, bit for bit, at every step."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import calclab
from calclab.watch.moment import Moment, Reading

STEPS = 6


@dataclass
class Training:
    """``step`` makes one step of the loop on a batch, and says what the watch is given."""

    model: nn.Module
    criterion: Any
    optimizer: torch.optim.Optimizer
    batch: Callable[[int], Any]
    step: Callable[[Training, Any], Any]
    loss: Any = None
    around: Callable[[], Any] = nullcontext  # what the watch is called in


def plain(training: Training, batch: Any) -> Any:
    x, y = batch
    training.optimizer.zero_grad()
    training.criterion(training.model(x), y).backward()
    training.optimizer.step()
    return batch


def drawn(k: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(k))


def classes(k: int, count: int = 12, most: int = 3) -> Tensor:
    return torch.randint(0, most, (count,), generator=torch.Generator().manual_seed(k))


def table(k: int) -> tuple[Tensor, Tensor]:
    return drawn(k, 12, 5), classes(k)


def images(k: int) -> tuple[Tensor, Tensor]:
    return drawn(k, 16, 2, 6, 6), classes(k, 16)


def words(k: int) -> tuple[Tensor, Tensor]:
    return torch.randint(0, 11, (12, 4), generator=torch.Generator().manual_seed(k)), classes(k)


def mlp(*more: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), *more, nn.Linear(8, 3))


class Pooled(nn.Module):
    """Words to classes, and what it saw counted."""

    def __init__(self, sparse: bool = False) -> None:
        super().__init__()
        self.table, self.out, self.calls, self.seen = nn.Embedding(11, 6, sparse=sparse), nn.Linear(6, 3), 0, []

    def forward(self, ids: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(len(ids))
        return self.out(self.table(ids).mean(1))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.out = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.other.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.other(torch.tanh(self.one(x)))))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(5, 3), nn.Linear(2, 3)

    def forward(self, left: Tensor, right: Tensor, labels: Tensor | None = None) -> Any:
        y = self.left(left) + self.right(right)
        return y if labels is None else {"loss": cross_entropy(y, labels), "logits": y}


def own_loss(training: Training, batch: Mapping[str, Tensor]) -> Any:
    training.optimizer.zero_grad()
    training.model(**batch)["loss"].backward()
    training.optimizer.step()
    return batch


def two_inputs(k: int) -> dict[str, Tensor]:
    return {"left": drawn(k, 12, 5), "right": drawn(k + 99, 12, 2), "labels": classes(k)}


def accumulated(training: Training, batch: Any) -> Any:
    x, y = batch
    parts = list(zip(x.split(6), y.split(6), strict=True))
    training.optimizer.zero_grad()
    for part in parts:
        (training.criterion(training.model(part[0]), part[1]) / 2).backward()
    training.optimizer.step()
    return parts


def clipped(training: Training, batch: Any) -> Any:
    x, y = batch
    training.criterion(training.model(x), y).backward()
    nn.utils.clip_grad_norm_(training.model.parameters(), 0.5)
    training.optimizer.step()
    training.optimizer.zero_grad(set_to_none=False)
    return batch


def mixed(training: Training, batch: Any) -> Any:
    x, y = batch
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    training.optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = training.criterion(training.model(x), y)
    scaler.scale(loss).backward()
    scaler.step(training.optimizer)
    scaler.update()
    return batch


def with_closure(training: Training, batch: Any) -> Any:
    x, y = batch

    def closure() -> Tensor:
        training.optimizer.zero_grad()
        loss = training.criterion(training.model(x), y)
        loss.backward()
        return loss

    training.optimizer.step(closure)
    return batch


def silent(training: Training, batch: Any) -> None:
    """The watch is told no batch."""
    plain(training, batch)


def made(
    model: nn.Module,
    optimizer: Callable[..., Any] = torch.optim.SGD,
    batch: Any = table,
    step: Any = plain,
    **knobs: Any,
) -> Training:
    return Training(model, nn.CrossEntropyLoss(), optimizer(model.parameters(), **{"lr": 0.1, **knobs}), batch, step)


def frozen() -> Training:
    model = mlp()
    model[0].weight.requires_grad_(False)
    return made(model, torch.optim.Adam)


def groups() -> Training:
    model = mlp()
    held = [{"params": model[0].parameters(), "lr": 0.3, "weight_decay": 0.1}, {"params": model[2].parameters()}]
    return Training(model, nn.CrossEntropyLoss(), torch.optim.AdamW(held, lr=0.01), table, plain)


def scheduled() -> Training:
    training = made(mlp(nn.Dropout(0.5)), torch.optim.SGD, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.ExponentialLR(training.optimizer, 0.9)

    def step(training: Training, batch: Any) -> Any:
        plain(training, batch)
        schedule.step()
        return batch

    return Training(training.model, training.criterion, training.optimizer, table, step)


def convolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.2), nn.Flatten(), nn.Linear(64, 3)
    )


def of_norm() -> Training:
    """Weights that are computed, a buffer that moves in every forward, and hooks on a gradient."""
    model = nn.Sequential(nn.utils.spectral_norm(nn.Linear(5, 8)), nn.Tanh(), nn.Linear(8, 3))
    model[2].weight.register_hook(lambda gradient: gradient * 0.5 + torch.rand(()))
    return made(model)


def with_loss() -> Training:
    """A loss of its own, which draws, from NumPy's and Python's generators too."""
    model = TwoInputs()

    def loss(model: nn.Module, batch: Any) -> Tensor:
        model.train(not model.training)
        noisy = batch["left"] + float(np.random.rand()) + random.random() + torch.rand(())
        return cross_entropy(model(noisy, batch["right"]), batch["labels"])

    def step(training: Training, batch: Any) -> Any:
        training.optimizer.zero_grad()
        loss(training.model, batch).backward()
        training.optimizer.step()
        return batch

    return Training(model, None, torch.optim.SGD(model.parameters(), lr=0.1), two_inputs, step, loss)


def criterion_with_state() -> Training:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls: Tensor
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, y: Tensor, t: Tensor) -> Tensor:
            self.calls += 1
            return cross_entropy(y * (1 + self.calls), t)

    training = made(mlp())
    return Training(training.model, Counting(), training.optimizer, table, plain)


TRAININGS: dict[str, Callable[[], Training]] = {
    "dropout": lambda: made(mlp(nn.Dropout(0.5)), torch.optim.Adam),
    "batch norm": lambda: made(convolution(), batch=images, momentum=0.9),
    "batch norm in eval mode": lambda: made(convolution().eval(), batch=images),
    "embedding": lambda: made(Pooled(), torch.optim.Adagrad, words),
    "sparse gradients": lambda: made(Pooled(sparse=True), torch.optim.SGD, words),
    "tied": lambda: made(Tied(), torch.optim.RMSprop),
    "frozen": frozen,
    "groups": groups,
    "scheduled": scheduled,
    "clipped": lambda: made(mlp(), torch.optim.Adam, step=clipped),
    "accumulated": lambda: made(mlp(nn.Dropout(0.3)), step=accumulated),
    "autocast": lambda: made(mlp(nn.LayerNorm(8)), torch.optim.AdamW, step=mixed),
    "half precision": lambda: made(mlp().bfloat16(), batch=lambda k: (table(k)[0].bfloat16(), table(k)[1])),
    "float64": lambda: made(mlp().double(), batch=lambda k: (table(k)[0].double(), table(k)[1])),
    "compiled": lambda: made(torch.compile(mlp(nn.Dropout(0.5)), backend="aot_eager")),  # type: ignore[arg-type]
    "compiled in place": lambda: made(compiled_in_place()),
    "data parallel": lambda: made(nn.DataParallel(mlp(nn.Dropout(0.5)))),
    "closure": lambda: made(mlp(), torch.optim.LBFGS, step=with_closure, max_iter=3),
    "closure of a plain rule": lambda: made(mlp(), torch.optim.SGD, step=with_closure),
    "attention": lambda: made(attention(), batch=lambda k: (drawn(k, 12, 4, 5), classes(k))),
    "recurrent": lambda: made(Recurrent(), batch=lambda k: (drawn(k, 12, 4, 5), classes(k))),
    "own loss": lambda: Training(m := TwoInputs(), None, torch.optim.SGD(m.parameters(), 0.1), two_inputs, own_loss),
    "loss of model and batch": with_loss,
    "spectral norm and a hook": of_norm,
    "criterion with a state": criterion_with_state,
    "no batch": lambda: made(mlp(), step=silent),
    "foreach and maximize": lambda: made(mlp(), torch.optim.Adam, foreach=True, maximize=True),
    "fused": lambda: made(mlp(), torch.optim.AdamW, fused=True),
    "within no_grad": lambda: replace(made(mlp()), around=torch.no_grad),
    "within inference mode": lambda: replace(made(mlp()), around=torch.inference_mode),
    "within autocast": lambda: replace(made(mlp()), around=lambda: torch.autocast("cpu", torch.bfloat16)),
    "unused parameter": lambda: made(Unused()),
}


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.LSTM(5, 6, num_layers=2, dropout=0.3, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.inner(x)[0][:, -1])


def compiled_in_place() -> nn.Module:
    model = mlp()
    model.compile(backend="aot_eager")
    return model


def attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(5, 1, 8, batch_first=True, dropout=0.0)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(20, 3))


class Hostile:
    """A look that does whatever it can: it draws, changes modes, and takes second derivatives."""

    name, cost, batch, step, previous = "hostile", 1.0, True, True, True

    def take(self, moment: Moment) -> list[Reading]:
        random.random(), np.random.rand(), torch.rand(3), torch.manual_seed(0)
        leaves = moment.leaves()
        slopes = torch.autograd.grad(moment.loss(leaves), list(leaves.values()), create_graph=True, allow_unused=True)
        length = sum(slope.float().square().sum() for slope in slopes if slope is not None)
        again = torch.autograd.grad(length, list(leaves.values()), allow_unused=True)  # type: ignore[arg-type]
        moment.model.eval()
        for p in moment.model.parameters():
            p.grad = torch.ones_like(p)
            p.requires_grad_(False)
        torch.set_grad_enabled(False)
        return [Reading("hostile", sum(float(part.float().norm()) for part in again if part is not None))]


def bits(value: Any) -> Any:
    """Anything that a training holds, so that equal bits are equal."""
    if isinstance(value, Tensor):
        dense = value.detach().to_dense() if value.is_sparse else value.detach()
        return (
            str(value.dtype),
            tuple(value.shape),
            dense.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes(),
        )
    if isinstance(value, Mapping):
        return {key: bits(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [bits(entry) for entry in value]
    return repr(value)


def state(training: Training) -> dict[str, Any]:
    """Everything that a later step could depend on."""
    modules = [training.model, *([training.criterion] if isinstance(training.criterion, nn.Module) else [])]
    parts = [part for module in modules for part in module.modules()]
    numpy = np.random.get_state()
    return {
        "weights": [bits(p) for module in modules for p in module.parameters()],
        "buffers": [bits(b) for module in modules for b in module.buffers()],
        "gradients": [None if p.grad is None else bits(p.grad) for p in training.model.parameters()],
        "needed": [p.requires_grad for p in training.model.parameters()],
        "modes": [part.training for part in parts],
        "attributes": [bits({k: v for k, v in vars(part).items() if k in ("calls", "seen")}) for part in parts],
        "hooks": [
            len(part._forward_hooks) + len(part._forward_pre_hooks) + len(part._backward_hooks) for part in parts
        ],
        "optimizer": bits(training.optimizer.state_dict()),
        "random": (bits(torch.get_rng_state()), random.getstate(), numpy[1].tobytes(), numpy[2:]),  # type: ignore[index, union-attr]
        "torch": (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.backends.mha.get_fastpath_enabled(),
            torch.backends.cuda.math_sdp_enabled(),
            torch.backends.cuda.flash_sdp_enabled(),
            torch.get_default_dtype(),
        ),
    }


def ran(make: Callable[[], Training], watched: bool) -> Iterator[dict[str, Any]]:
    """The states after each step."""
    torch._dynamo.reset()
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    training = make()
    known: Any = {"every": 2, "budget": None, "quantities": ["norms", "noise", Hostile()], "loss": training.loss}
    watch = calclab.Watch(training.model, training.criterion, training.optimizer, **known) if watched else None
    for k in range(STEPS):
        given = training.step(training, training.batch(k))
        if watch is not None:
            with training.around():
                watch.step(given)
        torch.rand(2), random.random(), np.random.rand()
        yield state(training)
    if watch is not None:
        watch.close()
        assert not training.optimizer._optimizer_step_pre_hooks
        assert not training.optimizer._optimizer_step_post_hooks
        assert set(watch.values.step) == {2, 4, 6}
        unread = {"noise"} if training.step is silent else set()
        assert {event.text.split()[0] for event in watch.events} == unread, watch.events


@pytest.mark.parametrize("name", TRAININGS)
def test_training_is_not_touched(name: str) -> None:
    make = TRAININGS[name]
    for k, (one, other) in enumerate(zip([*ran(make, False)], [*ran(make, True)], strict=True)):
        for part in one:
            assert one[part] == other[part], f"{part} differ after step {k}"


def test_what_is_read_is_of_the_parameters_own_precision() -> None:
    found = []
    for around in (nullcontext, lambda: torch.autocast("cpu", torch.bfloat16)):
        torch.manual_seed(0)
        training = made(mlp())
        known: Any = {"every": 1, "budget": None, "quantities": ["noise"]}
        with calclab.Watch(training.model, training.criterion, training.optimizer, **known) as watch:
            given = plain(training, training.batch(0))
            with around():
                watch.step(given)
        found.append(watch.values.value.tolist())
    assert found[0] == found[1]
