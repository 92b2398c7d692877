"""The look that attends every step: it overhears the training, judges it, and takes a step again that was no number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from calclab.watch.health import Health, Layer, Sharpness
from calclab.watch.moment import Event, Moment, Reading, Training
from calclab.watch.nonfinite import Stable, bad_rows, departure, event
from calclab.watch.norms import brought, norms_of
from calclab.watch.record import Recorder, Spoiled, StepRecord
from calclab.watch.steps import groups as groups_of

UNUSUAL = 10.0  # times the median norm of the gradient: a step whose loss is asked for where it was not heard
KNOWN = 5  # first steps whose loss is asked for


@dataclass(frozen=True)
class Well:
    """The weights before a step at which nothing was amiss, and its batches."""

    step: int
    weights: Mapping[str, Tensor]
    batches: Sequence[Any]


class Monitor:
    """What is told of a training in words. Its own look, ``take``, is at single layers; ``each`` is at every step."""

    name = "health"
    cost = 0.2
    step = True

    def attach(self, training: Training) -> None:
        """Listen to a training."""
        model, names, optimizer = training.model, training.names, training.optimizer
        parameters = {names[id(p)]: p for p in model.parameters() if id(p) in names and p.requires_grad}
        self.model, self.optimizer, self.names = model, optimizer, names
        self.objective, self.lent = training.objective, training.lent
        self.recorder = Recorder(optimizer, parameters, self.objective.criterion, training.spent)
        maximises = any(group.get("maximize", False) for group in optimizer.param_groups)
        self.health = Health(parameters, maximises, self.again, self.stable)
        self.first: Any = None  # the batch of the first step
        self.begun = False
        self.well = Well(0, {name: p.detach().clone() for name, p in parameters.items()}, [])
        self.looked = False  # whether the step before was looked at
        self.known: Stable | None = None  # the last reading of the largest stable rate while all was well
        self.gone = False  # it has left the finite numbers, and that has been told

    def detach(self) -> list[Event]:
        """Stop listening; what the last step has left is told."""
        self.recorder.close()
        last = self.health.history.records
        if self.gone or not last or all(bool(p.isfinite().all()) for p in self.recorder.parameters.values()):
            return []
        return self.left([], self.recorder.copied(), last[-1].step + 1)

    # --- at each step

    def each(self, batches: Sequence[Any], step: int, loss: Any = None) -> list[Event]:
        """What is to be told of a step that has been taken; ``loss`` is the one that the loop has in hand, if any."""
        record = self.recorder.taken(step)
        if loss is not None:
            record = replace(record, loss=float(loss), heard=True)
        if self.first is None and batches:
            self.first, self.well = batches[0], replace(self.well, batches=batches)
        if (spoiled := self.recorder.spoiled) is not None:
            if self.gone:
                self.recorder.spoiled = None
                return []
            self.gone, self.recorder.spoiled = True, None
            return self.left(batches, spoiled, step)
        if not record.norms:
            return []
        begins, self.begun = not self.begun, True
        if not record.heard and batches and not self.gone:
            if begins:  # afterwards the first step has been taken
                self.health.begin(self.evaluated(batches[0], self.well.weights))
            if self.asks(record) or any(map(bad_rows, batches)):
                record = replace(record, loss=self.evaluated(batches[0]), heard=True)
        self.looked = False
        if record.heard and not math.isfinite(record.loss):  # though its gradient is
            was, self.gone = self.gone, True
            now = self.recorder.copied()
            if now.broken:  # by this very step
                self.health.history.add(replace(record, loss=math.nan, heard=False))
            return [] if was else self.left(batches, now, step)
        self.gone = False
        return self.health.step(record)

    def left(self, batches: Sequence[Any], spoiled: Spoiled, step: int) -> list[Event]:
        """Why the numbers of a step are not finite; of broken weights, the step before."""
        before = list(self.health.history.records)
        rule, knobs = type(self.optimizer).__name__, self.optimizer.param_groups[0]
        with self.lent():
            seen = departure(self.model, self.objective, batches, spoiled, before, rule, knobs, self.health.uphill)
        at = before[-1].step if seen.cause == "weights" and before else step
        return [event(at, seen, spoiled, before, self.stable() if seen.cause == "rate" else None)]

    def stable(self) -> Stable | None:
        """The largest stable rate when the training was last well: as it was read, or found now; None of rules with a
        rate for every entry, whose state of then is gone."""
        from calclab.watch.curvature import Sharpness as Look

        if self.known is not None or not self.well.batches:
            return self.known
        well, groups = self.well, groups_of(self.optimizer, self.names)
        moment = Moment(well.step, self.model, self.optimizer, self.objective, well.batches, well.weights, groups)
        with self.lent():
            found = {reading.name: reading for reading in Look().take(moment)}
        if (rate := found.get("curvature/largest_stable_rate")) is not None and rate.value > 0:
            self.known = Stable(rate.value, rate.error / rate.value, well.step)
        return self.known

    def asks(self, record: StepRecord) -> bool:
        """Whether the loss of a step is worth a pass, where nobody says it: at the start, after a look, where the
        gradient is unusual, and as long as the loss is high."""
        norms = sorted(known.norm for known in self.health.history.records)
        odd = len(norms) < KNOWN or not 0 < record.norm <= UNUSUAL * norms[len(norms) // 2]
        return odd or self.looked or self.health.high > 0

    def again(self) -> float:
        return math.nan if self.first is None else self.evaluated(self.first)

    def evaluated(self, batch: Any, weights: Mapping[str, Tensor] | None = None) -> float:
        """The loss of a batch, at the weights of now where none are given."""
        own = {name: p.detach() for name, p in self.recorder.parameters.items()}
        with self.lent(), torch.no_grad():
            return float(self.objective(own if weights is None else weights, batch))

    # --- at looks

    def take(self, moment: Moment) -> Sequence[Event]:
        """Weights that the step has replaced, or could not change; at the first look, whether it goes down."""
        self.looked = True
        if moment.taken is None:
            return []
        if not self.health.high and not self.gone and moment.batches:
            self.well = Well(moment.step - 1, moment.taken.before, moment.batches)
        found = self.sign(moment) if moment.batches and not moment.memory.setdefault("looked", False) else []
        moment.memory["looked"] = True
        before, gradient = moment.taken.before, moment.taken.gradient
        names = [n for n, p in moment.parameters.items() if p.ndim > 1 and n in before and n in gradient and p.numel()]
        if not names:
            return found
        after = [moment.parameters[name] for name in names]
        moved: list[Tensor] = [p - before[name] for p, name in zip(after, names, strict=True)]
        parts = norms_of([*(before[n] for n in names), *moved, *(gradient[n] for n in names)])
        values = brought(parts)
        n, rates = len(names), moment.rates
        layers = {
            name: Layer(
                values[i], values[n + i], values[2 * n + i], p.numel(), p[0].numel(), values[n + i] == 0 < rates[name]
            )
            for i, (name, p) in enumerate(zip(names, after, strict=True))
        }
        return [*found, *self.health.look(layers, moment.step)]

    def sign(self, moment: Moment) -> list[Event]:
        """Whether the gradient that the step took is that of the loss, or one that points the other way."""
        assert moment.taken is not None
        mine = {name: p.detach().requires_grad_() for name, p in moment.taken.before.items()}
        held = [name for name in mine if name in moment.taken.gradient]
        there = torch.autograd.grad(moment.loss(mine), [mine[name] for name in held], allow_unused=True)
        pairs = [(moment.taken.gradient[n], g.to_dense()) for n, g in zip(held, there, strict=True) if g is not None]
        if not pairs:
            return []
        both = [torch.cat([pair[i].double().flatten() for pair in pairs]) for i in (0, 1)]
        cosine = float(torch.nn.functional.cosine_similarity(both[0], both[1], dim=0))
        return self.health.direction(cosine, moment.step)

    def heard(self, readings: Sequence[Reading], step: int) -> list[Event]:
        """What the readings of other looks mean for the training."""
        found = {reading.name: reading for reading in readings}
        ratio, rate = found.get("curvature/stability_ratio"), found.get("curvature/largest_stable_rate")
        if ratio is None or not math.isfinite(ratio.value):
            return []
        prefix = "layers/curvature_share/"
        shares = {name.removeprefix(prefix): one.value for name, one in found.items() if name.startswith(prefix)}
        block = max(shares, key=lambda name: shares[name], default="")
        error = ratio.error if math.isfinite(ratio.error) else 0.0
        largest = math.nan if rate is None else rate.value
        plain = isinstance(self.optimizer, torch.optim.SGD) and not self.optimizer.param_groups[0]["momentum"]
        what = "λmax·lr/2" if plain else f"the stability ratio of {type(self.optimizer).__name__}"
        seen = Sharpness(ratio.value, error, self.described(block), largest, what)
        if rate is not None and rate.value > 0 and not self.health.high:
            self.known = Stable(rate.value, rate.error / rate.value, step)
        return self.health.sharp(seen, step)

    def described(self, layer: str) -> str:
        """ "3.attn.proj (Linear)"."""
        parts = dict(self.model.named_modules())
        return f"{layer} ({type(parts[layer]).__name__})" if layer in parts else layer
