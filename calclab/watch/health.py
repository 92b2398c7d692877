"""Whether a training is well, told in words when it is not: once each time, and never without a measured reason.

An alarm that is false is worse than silence, so each asks for more than an unusual number. That λmax·lr/2 is above 1
is information alone: full batches go there and stay (progressive sharpening, Cohen et al. 2021, arXiv 2103.00065); it
is an alarm when the loss grows with it. A loss is high against the median and the median absolute deviation of the
steps before (Iglewicz and Hoaglin 1993), and only when a good part of what was learned is lost. What is dead, rounded
away or never given a gradient is exactly 0, or bit for bit what it was, many steps in a row.

>>> from calclab.watch.record import StepRecord
>>> health = Health()
>>> [event.name for k in range(30) for event in health.step(StepRecord(k, 1.0, True, {"w": 1.0}, [], [0.0]))]
['rate zero']
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from calclab.numerics.undefined import short
from calclab.watch.moment import Event
from calclab.watch.nonfinite import Stable, listed
from calclab.watch.record import StepRecord

WINDOW = 100  # steps that are remembered
LEAST = 20  # steps before a spread is known
NEVER = 20  # steps without a gradient, or at a rate of 0, in a row
DEAD = 50  # steps with a gradient of exactly 0, in a row
SPREADS = 10.0  # deviations above the median: 3.5 is usual for one look, a training looks thousands of times
LOST = 0.5  # of what was learned, for a spike
TIMES = 3.0  # the loss it began with: a training that is there several steps in a row grows
STEPS = 5  # so many
SETTLED = 25  # steps with a loss that is not high, after which it may be told again
STILL = 300  # steps after which a loss that has not fallen is told
AWAY = 0.5  # λmax·lr/2 of a training that has left the edge of stability: about it, it hovers
TURNED = -0.5  # cosine of the gradient taken with that of the loss
LARGE = 1.0  # ‖Δw‖ ≥ ‖w‖: a step that replaces the weights


@dataclass(frozen=True)
class Layer:
    """What a look showed of a weight of two axes or more: ‖w‖ before the step, ‖Δw‖, ‖g‖, its size, its fan-in, and
    whether the step left it bit for bit as it was."""

    weight: float
    update: float
    gradient: float
    size: int
    inputs: int
    same: bool


@dataclass(frozen=True)
class Sharpness:
    """λmax·lr/2, or what stands for it of another rule, and the half width of its error; the block with the largest
    part of the eigenvector; the largest stable rate."""

    ratio: float
    error: float
    block: str = ""
    rate: float = math.nan
    what: str = "λmax·lr/2"


class History:
    """The last steps, and what the training began with."""

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=WINDOW)
        self.records: deque[StepRecord] = deque(maxlen=WINDOW)
        self.start = math.nan  # the loss of the first step
        self.first_norms: Mapping[str, float] = {}
        self.early: list[float] = []  # losses of the first steps
        self.lowest = math.inf

    def add(self, record: StepRecord) -> None:
        self.records.append(record)
        self.first_norms = self.first_norms or record.norms
        if record.heard and math.isfinite(record.loss):
            self.losses.append(record.loss)
            self.lowest = min(self.lowest, record.loss)
            if math.isnan(self.start):
                self.start = record.loss
            if len(self.early) < WINDOW // 2:
                self.early.append(record.loss)

    @property
    def scale(self) -> float:
        """How far above the first a loss has to be to be far: of one that may be negative its size tells nothing."""
        size = (TIMES - 1) * abs(self.start)
        if self.lowest > 0:
            return size
        middle = median(self.early)
        return max(size, SPREADS * 1.4826 * median(abs(loss - middle) for loss in self.early))

    @property
    def spread(self) -> float:
        """The deviation of the losses of the window, from the median of absolute deviations."""
        middle = median(self.losses)
        return 1.4826 * median(abs(loss - middle) for loss in self.losses)


class Health:
    """Judges the steps of a training as they come, and looks at its layers and its sharpness where they are taken.

    ``trained`` are the names of the weights that the optimizer has; ``maximises`` says that it goes up the gradient;
    ``again`` tells the loss of the first step's batch at the weights of now, ``stable`` the largest stable rate when
    the training was last well.
    """

    def __init__(
        self,
        trained: Iterable[str] = (),
        maximises: bool = False,
        again: Callable[[], float] | None = None,
        stable: Callable[[], Stable | None] | None = None,
    ) -> None:
        self.history = History()
        self.sign, self.again, self.stable = -1.0 if maximises else 1.0, again, stable
        self.uphill = False  # whether the steps are known to go against what they should
        self.trained = list(trained)
        self.steps = 0
        self.zero: Counter[str] = Counter()  # steps in a row with a gradient of exactly 0
        self.ever: set[str] = set()  # what ever had a gradient
        self.still = 0  # steps in a row at a rate of 0
        self.high = 0  # steps in a row with a loss above the usual
        self.low = 0  # ... and with one that is not
        self.open: set[tuple[str, str]] = set()  # what has been told, and lasts
        self.same: Counter[str] = Counter()
        self.sharpness: Sharpness | None = None
        self.layers: Mapping[str, Layer] = {}

    # --- at each step

    def step(self, record: StepRecord) -> list[Event]:
        """What is to be told of a step whose numbers are finite. Of what is maximised, the negative is judged."""
        self.steps += 1
        record = replace(record, loss=self.sign * record.loss)
        found = [*self.rate(record), *self.gradients(record)]
        if record.heard:
            found += self.loss(record)
        self.history.add(record)
        return found

    def begin(self, loss: float) -> None:
        """The loss before the first step, where no step will tell it."""
        if math.isfinite(loss):
            self.history.start = self.sign * loss

    def rate(self, record: StepRecord) -> list[Event]:
        """A learning rate of 0, or one that is negative or no number, in every group."""
        rates = record.rates
        self.still = self.still + 1 if rates and not any(rates) else 0
        if self.still < NEVER:
            return self.over("rate zero") if not self.still else []
        text = f"the learning rate has been 0 for {self.still} steps: nothing is learned (a schedule that has ended?)"
        return self.told("rate zero", "", text, {"steps": self.still}, record.step)

    def gradients(self, record: StepRecord) -> list[Event]:
        """Parameters that never get a gradient, or one that is exactly 0."""
        self.ever.update(record.norms)
        for name, norm in record.norms.items():
            self.zero[name] = self.zero[name] + 1 if norm == 0 else 0
        found = []
        if self.steps == NEVER and self.ever:
            found += self.never(record.step)
        dead = [name for name, count in self.zero.items() if count >= DEAD]
        if dead:
            new = [name for name in dead if ("dead", name) not in self.open]
            all_of = len(dead) == len(record.norms)
            if new:
                self.open.update(("dead", name) for name in new)
                what = "every parameter" if all_of else listed(new)
                text = (
                    f"the gradient of {what} has been exactly 0 for {DEAD} steps: its units are dead or saturated, or "
                    "nothing of it reaches the loss"
                )
                found.append(Event(text, "bad", record.step, "dead", new[0], {"parameters": len(new)}))
        return found

    def never(self, step: int) -> list[Event]:
        """Trained parameters that have had no gradient so far."""
        if not (names := [name for name in self.trained if name not in self.ever]):
            return []
        text = (
            f"{listed(names)} never got a gradient in {self.steps} steps, though the optimizer has "
            f"{'it' if len(names) == 1 else 'them'}: detached, or not called in the forward pass"
        )
        return self.told("no gradient", names[0], text, {"parameters": len(names)}, step, "doubtful")

    def loss(self, record: StepRecord) -> list[Event]:
        """Losses that grow, spike or do not fall."""
        history = self.history
        if not history.losses or not math.isfinite(record.loss):
            return []
        far = record.loss - history.start > history.scale
        self.high = self.high + 1 if far else 0
        if self.high >= STEPS:
            return self.grows(record)
        self.low = 0 if far else self.low + 1
        if far:
            return []
        if self.low >= SETTLED:
            self.over("loss grows")
        return [*self.spike(record), *self.fallen(record)]

    def grows(self, record: StepRecord) -> list[Event]:
        """The loss is far above where it began, and stays; that of the first batch too, where it can be asked for."""
        history = self.history
        if ("loss grows", "") in self.open:
            return []
        text = f"the loss grows: {short(history.start)} at the start, {short(record.loss)} now"
        if self.again is not None and math.isfinite(now := self.sign * self.again()):
            if now - history.start <= history.scale:
                self.high = 0  # the first batch was an easy one
                return []
            text += f" ({short(now)} on the first batch)"
        place = ""
        if history.first_norms:
            ratio = {
                name: norm / history.first_norms[name]
                for name, norm in record.norms.items()
                if history.first_norms.get(name)
            }
            place = max(ratio, key=lambda name: ratio[name], default="")
            if place and ratio[place] > 1:
                text += f"; the gradient has grown most in {place}, {short(ratio[place])} times"
        if self.sharpness is not None and self.sharpness.ratio > 1:
            text += f"; {self.beyond()}"
        elif self.uphill:
            text += ". The steps go up its gradient, as if its sign were turned"
        elif rates := record.rates:
            known = None if self.stable is None else self.stable()
            text += f". The rate, {short(max(rates))}, is too large"
            text += (
                ": calclab.stable_lr tells the largest stable one" if known is None else f". {known.told(max(rates))}"
            )
        numbers = {"loss": record.loss, "start": history.start}
        return self.told("loss grows", place, text, numbers, record.step)

    def spike(self, record: StepRecord) -> list[Event]:
        """A loss far above those before, by which a good part of what was learned is lost."""
        history = self.history
        if len(history.losses) < LEAST:
            return []
        middle, spread = median(history.losses), history.spread
        lost = LOST * (history.start - middle)
        far = record.loss - middle
        if lost <= 0 or far <= max(SPREADS * spread, lost):
            return self.over("loss spike")
        # one batch may be odd; that the batch after it is too is the model's doing
        recent = list(history.losses)[-2:]
        if any(loss - middle <= max(SPREADS * spread, lost) for loss in recent):
            return []
        text = (
            f"the loss rose from about {short(middle)} (± {short(spread)}) to {short(record.loss)} and stays there: "
            f"{far / (history.start - middle):.0%} of what had been learned is lost"
        )
        return self.told("loss spike", "", text, {"loss": record.loss, "median": middle, "spread": spread}, record.step)

    def fallen(self, record: StepRecord) -> list[Event]:
        """A loss that after many steps is where it began, with what is found to be amiss; silence where nothing is."""
        history = self.history
        if self.steps != STILL or len(history.losses) < WINDOW or len(history.early) < WINDOW // 2:
            return []
        late, early = median(history.losses), median(history.early)
        if early - late > max(history.spread / 2, 1e-3 * abs(early)):
            return []
        if not (reasons := self.reasons()):
            return []
        text = f"the loss has not fallen in {self.steps} steps ({short(early)} at first, {short(late)} now): {reasons}"
        return self.told("not falling", "", text, {"early": early, "late": late}, record.step)

    def reasons(self) -> str:
        """What is known to keep a loss where it is."""
        found = []
        if self.still:
            found.append("the learning rate is 0")
        if silent := [name for name, count in self.zero.items() if count]:
            found.append(f"the gradient of {listed(silent)} is exactly 0")
        rms = {name: layer.gradient / math.sqrt(layer.size) for name, layer in self.layers.items() if layer.gradient}
        if rms:
            low, high = min(rms, key=lambda n: rms[n]), max(rms, key=lambda n: rms[n])
            if rms[low] < 1e-6 * rms[high]:
                found.append(f"the gradient vanishes on its way to {low} (by {short(rms[low] / rms[high])})")
        if small := [layer.update / layer.weight for layer in self.layers.values() if layer.weight]:
            largest = max(small)
            if largest < 1e-6:
                found.append(
                    f"a step changes no weight by more than {short(largest)} of its norm: the rate is too small"
                )
        return "; ".join(found)

    # --- at looks

    def direction(self, cosine: float, step: int) -> list[Event]:
        """The cosine of the gradient that a step took and that of the loss at the same weights: -1 is a turned sign.

        With other random numbers (dropout) it is not quite 1; what is descended may also be another loss, and then it
        is anything about 0.
        """
        self.uphill = self.sign * cosine < TURNED
        if not self.uphill:
            return []
        text = (
            "the training goes up the gradient of the loss: the cosine of the gradient it takes with that of the loss "
            f"is {short(cosine)}. The sign of the loss is turned (or maximize=True is meant)"
        )
        return self.told("uphill", "", text, {"cosine": cosine}, step)

    def look(self, layers: Mapping[str, Layer], step: int) -> list[Event]:
        """Weights that a step replaces, or cannot change."""
        self.layers = layers
        found: list[Event] = []
        wide = {
            name: layer.update / layer.weight
            for name, layer in layers.items()
            if layer.weight > 0.1 * math.sqrt(layer.size / layer.inputs) and layer.update > LARGE * layer.weight
        }
        if wide:
            name = max(wide, key=lambda key: wide[key])
            text = (
                f"a step is larger than the weights it changes: in {name} by {short(wide[name])} (1e-3 is usual). "
                "The rate is too large, or the gradient has exploded"
            )
            found += self.told("update", name, text, {"ratio": wide[name]}, step)
        else:
            found += self.over("update")
        for name, layer in layers.items():
            self.same[name] = self.same[name] + 1 if layer.same and layer.gradient > 0 and not self.still else 0
        stuck = [name for name, count in self.same.items() if count >= 2]
        if stuck:
            text = (
                f"steps no longer change {listed(stuck)}: lr times the gradient is less than half of what its type "
                "resolves, and is rounded away. Keep the weights in float32, or take a larger rate"
            )
            found += self.told("rounded away", stuck[0], text, {"parameters": len(stuck)}, step)
        return found

    def sharp(self, seen: Sharpness, step: int) -> list[Event]:
        """λmax·lr/2: at the edge it is information, beyond it with a loss that grows an alarm."""
        self.sharpness = seen
        if not math.isfinite(seen.ratio) or seen.ratio + seen.error < 1:
            return [*self.over("unstable"), *(self.over("edge") if seen.ratio < AWAY else [])]
        if seen.ratio - seen.error > 1 and self.rising():
            losses = self.history.losses
            text = f"{self.beyond()}. The loss grows: {short(median(list(losses)[:STEPS]))} to {short(losses[-1])}"
            numbers = {"ratio": seen.ratio, "error": seen.error, "rate": seen.rate}
            return self.told("unstable", seen.block, text, numbers, step)
        text = (
            f"{seen.what} is {short(seen.ratio)} ± {short(seen.error)}: the training is at the edge of stability, "
            "where full batches go and stay (progressive sharpening); the loss does not grow with it"
        )
        return self.told("edge", seen.block, text, {"ratio": seen.ratio, "error": seen.error}, step, "")

    def beyond(self) -> str:
        """ "λmax·lr/2 passed 1 in block 3: it is 1.4 ± 0.02; the largest stable rate here is 0.0021 ± 2 %"."""
        seen = self.sharpness
        assert seen is not None
        where = f" in {seen.block}" if seen.block else ""
        text = f"{seen.what} passed 1{where}: it is {short(seen.ratio)} ± {short(seen.error)}"
        if math.isfinite(seen.rate):
            text += f"; the largest stable rate here is {short(seen.rate)} ± {100 * seen.error / seen.ratio:.2g} %"
        return text

    def rising(self) -> bool:
        """Whether the loss has grown: the last few steps lie above all but a few of the window, and grow."""
        losses = list(self.history.losses)
        if len(losses) < 2 * STEPS:
            return len(losses) >= 3 and losses[-1] > losses[-2] > losses[-3] and losses[-1] > 2 * abs(losses[0])
        last, before = losses[-STEPS:], losses[:-STEPS]
        return min(last) > max(sorted(before)[: max(len(before) * 9 // 10, 1)]) and last[-1] > 2 * abs(median(before))

    # --- once an episode

    def told(
        self, name: str, place: str, text: str, numbers: Mapping[str, float], step: int, kind: str = "bad"
    ) -> list[Event]:
        """The event, unless it has been told and lasts."""
        if (name, "") in self.open:
            return []
        self.open.add((name, ""))
        return [Event(text, kind, step, name, place, numbers)]

    def over(self, name: str) -> list[Event]:
        """What was told has ended, and may be told again."""
        self.open.discard((name, ""))
        return []


def summary(events: Sequence[Event]) -> str:
    """ "3 bad (nonfinite/rate, unstable), 1 doubtful (no gradient)", of what has been told."""
    said = []
    for kind in ("bad", "doubtful"):
        names = [event.name for event in events if event.kind == kind]
        if names:
            said.append(f"{len(names)} {kind} ({', '.join(dict.fromkeys(names))})")
    return ", ".join(said) or "nothing amiss"
