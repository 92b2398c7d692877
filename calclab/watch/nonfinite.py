"""Why a training left the finite numbers, told once: the first step, where it began forward and backward, what the last
healthy values were, and which rate would have been stable.

The step is taken again at the weights it started from, on its own batch, with the random numbers it drew, on what is
lent: nothing of the training is touched. What is found decides the cause, the first that fits: the batch holds numbers
that are not finite; the weights already did, which only the step before can have made; the gradient had been growing,
which is a rate too large; or else the operation that was given finite numbers is the cause by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from calclab.core.rows import windows
from calclab.numerics.origin import Found, Origin, origins
from calclab.numerics.undefined import short
from calclab.watch.moment import Event
from calclab.watch.objective import moved
from calclab.watch.record import Spoiled, Start, StepRecord

GROWN = 100.0  # times what it was: the gradient of a training that was running away before it left the finite numbers
SHOWN = 3  # rows, layers named, at most

Loss = Callable[[Mapping[str, Tensor], object], Tensor]  # (parameters by name, batch) to the loss ()


@dataclass(frozen=True)
class Stable:
    """The largest stable rate, relative error included, and the step at whose weights it was found."""

    rate: float
    error: float
    step: int

    def told(self, rate: float) -> str:
        """The sentence on it, of a training at ``rate``."""
        text = f"The largest stable rate at step {self.step} was {short(self.rate)} ± {100 * self.error:.2g} %"
        return f"{text}, above this one: other batches, or later weights, are sharper" if self.rate > rate else text


@dataclass(frozen=True)
class Departure:
    """``cause`` is "data" (``place`` is then the part of the batch), "weights", "rate", "sign", "operation" or
    "unknown"."""

    cause: str
    why: str
    found: Found
    place: str = ""


def replay(model: nn.Module, loss: Loss, weights: Mapping[str, Tensor], batch: object, start: Start) -> Found:
    """The pass forward and backward once more, at ``weights``, with the random state and autocast of the step. The
    caller keeps the random state, and what the model remembers (`untouched`)."""
    leaves = {name: p.detach().requires_grad_(p.is_floating_point()) for name, p in weights.items()}
    torch.set_rng_state(start.random)
    device = next(iter(leaves.values())).device.type if leaves else "cpu"
    cast = nullcontext() if start.autocast is None else torch.autocast(device, start.autocast)
    with cast:
        return origins(model, lambda: loss(leaves, batch), list(leaves.values()))


def departure(
    model: nn.Module,
    loss: Loss,
    batches: Sequence[object],
    spoiled: Spoiled,
    before: Sequence[StepRecord],
    optimizer: str = "the optimizer",
    knobs: Mapping[str, object] | None = None,
    uphill: bool = False,
) -> Departure:
    """What made a step's numbers leave the finite ones. ``before`` are the records of the steps before it, all healthy,
    ``knobs`` those of the optimizer; ``uphill`` says that its steps are known to go up."""
    if spoiled.broken:
        return Departure("weights", broken(spoiled, before, optimizer, knobs or {}), Found())
    for batch in batches:
        if bad := bad_rows(batch):
            found = replay(model, loss, spoiled.weights, batch, spoiled.start)
            return Departure("data", f"the batch has {bad.what} in its {bad.place}, {bad.where}", found, bad.place)
    found = Found()
    heard = spoiled.start.autocast
    for cast in dict.fromkeys((heard, None, torch.bfloat16, torch.float16)):  # a function as criterion is not heard
        for batch in batches:
            found = replay(model, loss, spoiled.weights, batch, replace(spoiled.start, autocast=cast))
            if found.forward is not None or found.backward is not None:
                break
        if found.forward is not None or found.backward is not None or heard is not None:
            break
    why = grown(before, uphill)
    if found.forward is None and found.backward is None:
        what = f"the gradient of {listed(spoiled.gradients)}" if spoiled.gradients else "the loss"
        again = f"{what} is not finite, though the same pass, taken again, gives finite numbers"
        if not batches:
            again = f"{what} is not finite; where it began is found where watch.step is given the batch"
        return Departure("rate" if why else "unknown", "; ".join(filter(None, (again, why))), found)
    return Departure(("sign" if uphill else "rate") if why else "operation", why, found)


def broken(spoiled: Spoiled, before: Sequence[StepRecord], optimizer: str, knobs: Mapping[str, object]) -> str:
    """Why weights are not finite though the gradients before were."""
    names = listed(spoiled.broken)
    rates = [rate for rate in before[-1].rates if not math.isfinite(rate)] if before else []
    if rates:
        return f"the learning rate was {rates[0]}, and so are the weights {names}"
    if why := grown(before):
        return f"the weights {names} left the finite numbers. {why}"
    if not before:
        return f"the weights {names} are not finite to begin with"
    why = "eps=0: a division by 0, where a gradient always was" if knobs.get("eps") == 0 else "a division in its rule"
    return (
        f"the weights {names} left the finite numbers in the step of {optimizer}, though the gradient was finite "
        f"(norm {short(before[-1].norm)}): {why}"
    )


def grown(before: Sequence[StepRecord], uphill: bool = False) -> str:
    """That the gradient had been growing, where it had: it ended far above all of the first half of the steps."""
    records = [record for record in before if record.norms]
    norms = [record.norm for record in records]
    if len(norms) < 2:
        return ""
    usual = max(norms[: (len(norms) + 1) // 2])
    if not usual or norms[-1] < GROWN * usual:
        return ""
    at = max(i for i, norm in enumerate(norms) if norm <= usual)
    rise = f"{short(norms[at])} to {short(norms[-1])}"
    steps = len(norms) - 1 - at
    text = f"in the {f'{steps} steps' if steps > 1 else 'step'} before, the gradient's norm grew from {rise}"
    if records[at].heard and records[-1].heard:
        text += f" and the loss went from {short(records[at].loss)} to {short(records[-1].loss)}"
    rates = before[-1].rates
    if uphill:
        return f"{text}: the steps go up the gradient of the loss, as if its sign were turned"
    return text + (f": the rate, {short(max(rates))}, is too large" if rates else "")


@dataclass(frozen=True)
class BadRows:
    """``what`` is in the part ``place`` of a batch, and ``where``."""

    place: str
    what: str
    where: str


def bad_rows(batch: object) -> BadRows | None:
    """Which rows of a batch are not finite; None where all are. A tensor of 0 and -inf alone is a mask.

    >>> bad_rows((torch.tensor([[1.0, 2.0], [3.0, math.nan]]), torch.zeros(2)))
    BadRows(place='inputs', what='NaN', where='row 1, at 1')
    """
    parts = list(tensors(batch))
    for place, part in parts:
        if not (part.is_floating_point() or part.is_complex()) or part.layout is not torch.strided:
            continue
        if bool(part.isfinite().all()) or bool(((part == 0) | (part == -math.inf)).all()):
            continue
        what = "NaN" if bool(part.isnan().any()) else "infinite numbers"
        if not part.ndim:
            return BadRows(place, what, "a single number")
        found = torch.cat([~part[w].isfinite().reshape(w.stop - w.start, -1).all(1) for w in windows(part)])
        rows = found.nonzero()[:, 0].tolist()
        where = f"row {rows[0]}" if len(rows) == 1 else f"{len(rows)} rows ({listed(list(map(str, rows)))})"
        first = part[rows[0]]
        column = ""
        if first.ndim:
            at = (~first.isfinite()).nonzero()[0].tolist()
            column = f", at {tuple(at) if len(at) > 1 else at[0]}"
        return BadRows(place, what, where + column)
    return None


def tensors(batch: object) -> list[tuple[str, Tensor]]:
    """The tensors of a batch, with what they are called."""
    found: list[tuple[str, Tensor]] = []

    def visit(value: object, name: str) -> None:
        if isinstance(value, Tensor):
            found.append((name, value))
        elif isinstance(value, Mapping):
            for key, entry in value.items():
                visit(entry, str(key))
        elif isinstance(value, tuple | list):
            for i, entry in enumerate(value):
                visit(entry, name if len(value) == 1 else f"{name}[{i}]")

    if isinstance(batch, tuple | list) and len(batch) == 2:
        visit(batch[0], "inputs")
        visit(batch[1], "targets")
    else:
        visit(batch, "batch")
    return found


# --- words ------------------------------------------------------------------------------------------------------------


def event(
    step: int, seen: Departure, spoiled: Spoiled, before: Sequence[StepRecord], stable: Stable | None = None
) -> Event:
    """The departure in words."""
    forward, backward = seen.found.forward, seen.found.backward
    what = "the weights" if spoiled.broken else "the loss" if forward is not None else "the gradient"
    parts = [f"{what} left the finite numbers"]
    if seen.cause in ("data", "weights", "unknown"):
        parts[0] += f": {seen.why}"
    if forward is not None and seen.cause != "data":
        parts.append(f"Forward, it began in {described(forward)}")
    if backward is not None and seen.cause != "data":
        begins = f"Backward, it began in {described(backward)}"
        parts.append(f"Backward, the first is that of {backward.place}" if backward.inherited else begins)
    if seen.cause in ("rate", "sign"):
        parts.append(f"{seen.why[:1].upper()}{seen.why[1:]}")
    if last := healthy(seen.found, spoiled, before):
        parts.append(f"Last healthy values: {last}")
    if stable is not None and seen.cause == "rate":
        parts.append(stable.told(max(before[-1].rates, default=math.nan)))
    first = forward or backward
    place = first.place if first is not None else (*spoiled.broken, *spoiled.gradients, "")[0]
    place = seen.place or place
    numbers = {"loss": before[-1].loss, "gradient_norm": before[-1].norm} if before else {}
    return Event(". ".join(parts), "bad", step, f"nonfinite/{seen.cause}", place, numbers)


def described(origin: Origin) -> str:
    """ "fc1 (Linear), linear, net.py, line 12: it overflows (inputs -3 to 2e+38)"."""
    where = ", ".join(filter(None, (origin.place, origin.operation, origin.source)))
    went = [str(values) for values in origin.inputs if values.type][:SHOWN]
    return f"{where}: {origin.why}" + (f" (what went in: {'; '.join(went)})" if went else "")


def healthy(found: Found, spoiled: Spoiled, before: Sequence[StepRecord]) -> str:
    """The last numbers that were finite."""
    said = []
    if before:
        last = before[-1]
        said.append(f"step {last.step}")
        if last.heard:
            said.append(f"loss {short(last.loss)}")
        said.append(f"gradient norm {short(last.norm)}")
    sizes = {name: float(p.abs().max()) for name, p in spoiled.weights.items() if p.numel() and p.is_floating_point()}
    finite = {name: size for name, size in sizes.items() if math.isfinite(size)}
    if finite:
        name = max(finite, key=lambda key: finite[key])
        said.append(f"largest weight {short(finite[name])} ({name})")
    if found.largest.module:
        said.append(f"largest activation {short(found.largest.value)} ({found.largest.module})")
    return ", ".join(said)


def listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


__all__ = ["Departure", "Stable", "bad_rows", "departure", "event", "moved", "replay"]
