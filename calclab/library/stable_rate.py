"""The largest stable learning rate of an optimizer where a model stands, before or in the middle of its training."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from math import inf, isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from calclab.core import Answer, Evidence, Line, Outcome, Run, Status, Verdict
from calclab.errors import UserError
from calclab.library.result import Result, keep
from calclab.numerics.lanczos import Ritz
from calclab.optimizer.stability import NONE_YET, Diagonals, Frozen, diagonals, frozen
from calclab.report.numbers import number
from calclab.schema import catalogue
from calclab.second_order.held import Held
from calclab.second_order.kernels import QuickTwice
from calclab.second_order.sharpness import BatchSharpness, along, batch_sharpness, scaled, sharpness
from calclab.watch.given import checked_loss, inner_optimizer, whole
from calclab.watch.objective import Criterion, LossOf, Objective
from calclab.watch.objective import batches as parts_of
from calclab.watch.untouched import untouched

PRODUCTS = 60
WITHIN = 0.002
AGREE = 0.02  # of λ: how far differences of the gradient may be from it


def stable_lr(
    model: nn.Module,
    criterion: Criterion | None = None,
    data: Any = None,
    optimizer: torch.optim.Optimizer | Callable[..., torch.optim.Optimizer] | None = None,
    *,
    loss: LossOf | None = None,
    batches: int = 4,
    ahead: int = 20,
    seed: int = 0,
) -> Result:
    """The largest learning rate at which steps of this optimizer do not grow where the model stands, with its bound.

    ``model``, ``criterion``, ``optimizer`` and ``loss`` are those of a training loop, as `Watch` takes them. Copies
    are looked at, in the mode that the model is in: ``model.train()`` for the loss that training sees, with batch
    statistics and one draw of dropout. ``optimizer`` may also be a class or ``functools.partial`` of one. ``data`` is a
    batch, such as (inputs, targets), a list of batches, a Dataset or a DataLoader, of which the first ``batches`` are
    taken; the loss is their mean.

    Of SGD with and without momentum the answer is about this point; of Adam, RMSprop and the like, which move by their
    rate whatever the gradient at first, about where it stands with the second moments that it has; a fresh one takes
    ``ahead`` steps first. After as many steps the rate is looked at again: ``later`` is how far the boundary moves.

    Beyond it a quadratic runs away. Networks often bend back: beyond twice λmax·lr/2 = 1 they may settle where it is
    flatter (Lewkowycz et al. 2020, arXiv 2003.02218), and below it λmax rises until it meets 2/lr (Cohen et al. 2021).

    Raises UserError where the rule has no such rate, and says which have.

    >>> import calclab, torch
    >>> line = torch.nn.Linear(1, 1, bias=False)
    >>> rows = torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [2.0]])  # mean of x² is 5: H = 10 of the mean square
    >>> found = calclab.stable_lr(line, torch.nn.MSELoss(), rows, torch.optim.SGD(line.parameters(), lr=0.1))
    >>> round(found.largest_stable_lr, 4), found.bounds["largest_stable_lr"] < 1e-6
    (0.2, True)
    """
    began = time.perf_counter()
    taken = some(data, batches)
    twin, rule, criterion, loss = copies(model, criterion, optimizer, loss)
    modules = [twin, *([criterion] if isinstance(criterion, nn.Module) else [])]
    about = Question(twin, rule, Objective(twin, criterion, loss), taken, seed)
    with untouched(modules, twin.parameters()):
        looks = list(about.looks(ahead))
        here = next((look for look in looks if look.ratio is not None), None)
        if here is None:
            raise UserError(
                f"{type(rule).__name__} {NONE_YET}, and took no {ahead} steps that stay finite. Type ahead=20, or give "
                "an optimizer with a smaller rate"
            )
        evidence = about.differences(here)
    answer = answered(here, looks[-1], about)
    like, name = about.parameters[0], type(model).__name__
    own = {"topic": "stable_lr", "seed": seed, "figures": False, "device": str(like.device)}
    config = {**catalogue.values("", "config"), **own, "dtype": str(like.dtype).removeprefix("torch.")}
    run = Run("stable_lr", name, f"largest stable lr of {type(rule).__name__} on {name}", Path(), 0, {}, (), config)
    outcome = Outcome(Status.COMPLETED, 0, time.perf_counter() - began, {}, answer, evidence, notes=about.notes)
    return keep(Result(run, outcome, {}, {}))


# --- what is given ---


def some(data: Any, most: int) -> list[Any]:
    """The first batches of what brings batches, or the one that was given."""
    if data is None:
        raise UserError("data is missing: calclab.stable_lr(model, criterion, (inputs, targets), optimizer)")
    if isinstance(data, torch.utils.data.Dataset) and not isinstance(data, tuple | list):
        data = torch.utils.data.DataLoader(data, batch_size=256)
    whole = isinstance(data, tuple | Mapping | Tensor) or (isinstance(data, list) and data)
    found = parts_of(data) if whole else list(islice(iter(data), most))
    if not found:
        raise UserError("data brings no batch. Give a batch, (inputs, targets), or a DataLoader that has one")
    return found[:most]


def copies(
    model: nn.Module, criterion: Criterion | None, optimizer: Any, loss: LossOf | None
) -> tuple[nn.Module, torch.optim.Optimizer, Criterion | None, LossOf | None]:
    """Model and optimizer as they are, of one piece, to be walked with."""
    criterion, loss = checked_loss(criterion, loss)
    own = whole(model)
    if callable(optimizer) and not isinstance(optimizer, torch.optim.Optimizer):
        twin = copy.deepcopy(own)
        return twin, inner_optimizer(optimizer(twin.parameters())), criterion, loss
    twin, rule = copy.deepcopy((own, inner_optimizer(optimizer)))
    return twin, rule, criterion, loss


# --- what is looked at ---


@dataclass(frozen=True)
class LookAt:
    """At a point λmax, the stability ratio (None where the rule has none yet), and the curvature along the gradient."""

    steps: int
    at: Mapping[str, Tensor]
    top: Ritz
    ratio: Ritz | None
    share: Frozen | None  # what all parameters have alike
    adaptive: bool
    along: float

    @property
    def factor(self) -> float:
        """What every rate may be multiplied by; infinite where none is too large."""
        return inf if self.ratio is None or float(self.ratio.value) <= 0 else 1 / float(self.ratio.value)

    @property
    def least(self) -> float:
        """The same with the bound: no smaller than this."""
        assert self.ratio is not None
        most = float(self.ratio.value) + self.ratio.bound
        return 1 / most if most > 0 else inf


class Question:
    """A copy of a training, to be looked at and walked with."""

    def __init__(
        self, model: nn.Module, rule: torch.optim.Optimizer, objective: Objective, taken: Sequence[Any], seed: int
    ) -> None:
        self.model, self.rule, self.objective, self.taken, self.seed = model, rule, objective, taken, seed
        held = {id(p) for group in rule.param_groups for p in group["params"]}
        self.names = [n for n, p in model.named_parameters() if id(p) in held and p.requires_grad]
        if not self.names:
            raise UserError("the optimizer trains none of the model's parameters. Make it of this model's parameters")
        own = dict(model.named_parameters())
        self.parameters = [own[name] for name in self.names]
        self.notes: list[str] = []
        self.batch: BatchSharpness | None = None

    def held(self, at: Mapping[str, Tensor], taken: Sequence[Any]) -> Held:
        """The mean loss over batches, on the graph of parameters ``at``; what is drawn is the same every time."""
        leaves = {name: p.detach().requires_grad_() for name, p in at.items()}
        with QuickTwice():
            losses = []
            for i, batch in enumerate(taken):
                torch.manual_seed(self.seed + i)
                losses.append(self.objective(leaves, batch))
        return Held(losses[0] if len(losses) == 1 else torch.stack(losses).mean(), list(leaves.values()))

    def looks(self, ahead: int) -> Iterator[LookAt]:
        """Where it stands, and after ``ahead`` steps, as far as they stay finite."""
        yield self.look(0)
        if len(self.taken) > 1:
            each = [self.held(self.here(), [batch]) for batch in self.taken]
            self.batch = batch_sharpness([float(along(one.hessian, one.gradient)) for one in each])
        if not ahead:
            return
        for k, batch in enumerate(islice(cycle(self.taken), ahead)):
            self.rule.zero_grad()
            torch.manual_seed(self.seed + k)
            loss = self.objective(dict(self.model.named_parameters()), batch)
            if not bool(loss.isfinite()):
                self.notes.append(f"at its own rate the loss leaves the finite numbers within {k} steps")
                return
            loss.backward()  # type: ignore[no-untyped-call]
            self.rule.step()
        yield self.look(ahead)

    def here(self) -> dict[str, Tensor]:
        """A copy of the parameters."""
        return {name: p.detach().clone() for name, p in zip(self.names, self.parameters, strict=True)}

    def look(self, steps: int) -> LookAt:
        at = self.here()
        about = self.held(at, self.taken)
        top = sharpness(about.hessian, seed=self.seed, most=PRODUCTS, within=WITHIN, eps=about.eps)
        if not bool(top.value.isfinite()):
            raise UserError("the loss or its curvature is not finite where the model stands: no rate is stable there")
        rule = self.felt()
        ratio = None
        if rule is not None:
            A = scaled(about.hessian, rule.c, rule.d, rule.sign)
            ratio = sharpness(A, seed=self.seed, most=PRODUCTS, within=WITHIN, eps=about.eps)
        slope = float(along(about.hessian, about.gradient))
        share, adaptive = (None, False) if rule is None else (rule.uniform, rule.adaptive)
        return LookAt(steps, at, top, ratio, share, adaptive, slope)

    def felt(self) -> Diagonals | None:
        """What the rule does to each entry; None where it is too young."""
        if not any(float(group["lr"]) for group in self.rule.param_groups):
            raise UserError("every rate of the optimizer is 0: it never moves. Give it one, such as lr=0.01")
        try:
            return diagonals(frozen(self.rule), self.parameters)
        except UserError as error:
            if NONE_YET in str(error):
                return None
            raise

    def differences(self, look: LookAt) -> list[Evidence]:
        """The curvature along the sharpest direction by central differences of the gradient at two distances: a wrong
        second derivative, or a kink, is not in them."""
        v = look.top.vector / look.top.vector.norm()
        size = float(torch.cat([p.flatten() for p in look.at.values()]).norm()) or 1.0
        h = size * max(torch.finfo(p.dtype).eps for p in look.at.values()) ** (1 / 3)
        near, far = (self.difference(look.at, v, length) for length in (h, 2 * h))
        value, gap, spread = float(look.top.value), abs(float(look.top.value) - near), abs(near - far)
        allowed = AGREE * abs(value) + spread + look.top.noise
        fine = gap <= allowed
        note = "" if fine else "a kink is near, or a backward pass is wrong the second time: calclab.check tells"
        verdict = Verdict.CONSISTENT if fine else Verdict.INCONCLUSIVE
        return [Evidence(0, "λmax", "gradient differences", value, near, gap, gap + spread, allowed, verdict, note)]

    def difference(self, at: Mapping[str, Tensor], v: Tensor, h: float) -> float:
        """vᵀ(g(θ + h v) - g(θ - h v))/2h."""
        pieces = v.split_with_sizes([p.numel() for p in at.values()])
        ends = []
        for step in (h, -h):
            moved = {
                name: p + (step * piece).view_as(p).to(p.dtype)
                for (name, p), piece in zip(at.items(), pieces, strict=True)
            }
            ends.append(self.held(moved, self.taken).gradient)
        return float(v @ (ends[0] - ends[1])) / (2 * h)


# --- what is said ---


def answered(here: LookAt, later: LookAt, about: Question) -> Answer:
    """The answer from where the rule has a ratio, and from where it was after some steps."""
    assert here.ratio is not None
    name, rates = type(about.rule).__name__, sorted({float(group["lr"]) for group in about.rule.param_groups})
    own, ratio = rates[-1], float(here.ratio.value)
    where = f" after {here.steps} steps" if here.steps else ""
    headline = f"no lr is too large{where}: the loss curves downwards wherever {name} moves"
    values = interval("stability_ratio", ratio, ratio, ratio + here.ratio.bound)
    if isfinite(here.factor):
        headline = f"largest stable lr{where}: {spanned(own, here)}"
        values |= interval("largest_stable_lr", own * here.factor, own * here.least, own * here.factor)
    top, side = float(here.top.value), f"{number(ratio, 3)} times that"
    values |= interval("sharpness", top, top, top + here.top.bound)
    lines = [
        Line("λmax", number(top, 4), "sharpness"),
        Line("rule", rule_of(name, here, rates)),
        Line("now", f"lr={number(own)} is {side}" + (": steps along the sharpest direction grow" if ratio > 1 else "")),
    ]
    if here.along > 0:
        values["one_step_lr"] = tensor(2 / here.along)
        text = "a step of gradient descent lowers the loss up to about this lr, 2‖g‖²/gᵀHg: as far as it is a parabola"
        lines.append(Line("one step", f"{number(2 / here.along, 3)}; {text}"))
    batch = about.batch
    if batch is not None and batch.batches > 1 and batch.value > 0:
        values |= {"batch_sharpness": tensor(batch.value), "batch_sharpness_error": tensor(batch.error)}
        edge = f"SGD on such batches is at its edge at lr={number(2 / batch.value, 3)}"
        text = f"{edge}, since the curvature along their gradients is {number(batch.value, 3)}"
        lines.append(Line("batches", text, "batch_sharpness"))
    if later is not here and later.ratio is not None and isfinite(later.factor):
        values |= interval("later_lr", own * later.factor, own * later.least, own * later.factor)
        text = f"{spanned(own, later)} after {later.steps} steps at lr={number(own)}"
        lines.append(
            Line("later", f"{text}: the boundary moves as λmax does, which mostly rises until it meets the rate")
        )
    return Answer(headline, values, (), lines)


def spanned(own: float, look: LookAt) -> str:
    """The largest stable rate with its bound."""
    bound = own * (look.factor - look.least)
    return f"{number(own * look.factor, 4)}{f' ± {number(bound, 2)}' if isfinite(bound) else ', its bound not known'}"


def rule_of(name: str, here: LookAt, rates: Sequence[float]) -> str:
    """What the rate of a rule is held against."""
    share = here.share
    held = "; P as its second moments are now, which a rate near this one would soon change" if here.adaptive else ""
    if share is None:
        several = f"{len(rates)} rates: the largest is told, the others go with it" if len(rates) > 1 else "its groups"
        return f"{name} with {several}{held}"
    what = "λmax(P^-½ H P^-½)" if here.adaptive else "λmax"
    decay = ", weight decay included" if share.coupled or share.decoupled else ""
    return f"{name}: lr · {what} below {number(share.threshold, 4)}{decay}{held}"


def tensor(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def interval(name: str, value: float, low: float, high: float) -> dict[str, Tensor | str]:
    return {name: tensor(value), f"{name}_low": tensor(low), f"{name}_high": tensor(high)}
