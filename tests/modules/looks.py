"""Every topic on a module of the zoo, as the command line would have it, and the truth by plain autograd beside it."""

from __future__ import annotations

import copy
import functools
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import module_zoo
import numpy as np
import torch
from module_zoo import KINDS, Kind
from torch import Tensor, nn

from calclab.app.compose import compose, lab_config
from calclab.app.compute import compute
from calclab.app.request import ask
from calclab.app.words import prepare
from calclab.errors import UserError

NETWORK = "network._target_=module_zoo.make network.kind=x data._target_=module_zoo.rows figures=false topic={}"
LINES = {
    "partial": "partial",
    "chain": "chain",
    "descent": "descent optimizer=gd lr=0.01 steps=3",
    "descent_adam": "descent optimizer=adam lr=0.01 steps=3 batch=4 sharpness.every=2",
    "hessian": "hessian slices=0 probes=0",
    "hessian_free": "hessian matrix=never slices=0 probes=2 depth=4 layers=true",
    "gauss_newton": "hessian operator=gauss_newton slices=0 probes=0",
    "gauss_newton_free": "hessian operator=gauss_newton matrix=never slices=3 probes=0 diagonal=true",
    "fisher": "hessian operator=fisher slices=0 probes=0",
    "empirical_fisher": "hessian operator=empirical_fisher slices=0 probes=0",
    "jacobian": "jacobian row=1",
    "jacobian_rows": "jacobian rows=null",
    "jacobian_parameters": "jacobian by=parameters rows=2",
    "jacobian_layers": "jacobian by=layers rows=2",
    "importance": "importance train=0 trust=false bootstrap=20 method='[gradient,integrated_gradients,ablation]'",
    "importance_trust": "importance train=2 retrains=1 bootstrap=20 method='[permutation,shapley]'",
    "newton": "descent optimizer=newton steps=2 lr=1",
    "descent_gauss_newton": "descent optimizer=gauss_newton steps=2",
}


@dataclass
class Look:
    """What came of it: ``status`` is the exit status, ``told`` the sentence of a refusal or of a failure."""

    status: int
    told: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    crash: str = ""  # a traceback that the user would have seen
    where: str = ""  # the last places in the lab that a refusal came through

    @property
    def values(self) -> dict[str, Any]:
        return (self.record.get("answer") or {}).get("values") or {}


@functools.cache
def composed(topic: str) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    import shlex

    words = prepare(shlex.split(NETWORK.format(LINES[topic])))
    config = compose(words)
    return lab_config(config), dict(config.hydra.runtime.choices), tuple(words)


def look(kind: str, topic: str, outputs: Path, **given: Any) -> Look:
    config, choices, words = composed(topic)
    config = {**copy.deepcopy(config), **given, "outputs": str(outputs)}
    config["network"] = {**config["network"], "kind": kind}
    config["data"] = {**config["data"], "codes": KINDS[kind].codes}
    try:
        request = ask(config, choices, words, words)
        record = request.finished() or compute(request)
    except UserError as mistake:
        return Look(2, str(mistake), where=within(mistake))
    except (Exception, SystemExit, KeyboardInterrupt) as crash:
        return Look(1, repr(crash), crash=traceback.format_exc())
    return Look(record["exit"], record.get("error") or "", record)


def within(mistake: UserError) -> str:
    cause = mistake.__cause__ or mistake.__context__
    if cause is None:
        return ""
    found = [place for place in traceback.extract_tb(cause.__traceback__) if "/calclab/" in place.filename]
    places = [f"{Path(place.filename).name}:{place.lineno}" for place in found]
    return " ".join(places[-4:])


# --- the truth ---


@dataclass
class Truth:
    """Plain autograd and central differences on a copy of the module for every call."""

    kind: str

    @functools.cached_property
    def start(self) -> nn.Module:
        from calclab.network.build import seeded

        known = KINDS[self.kind]
        with seeded(0):
            module = copied((known.same or known.make)()).double().eval()
            if any(nn.parameter.is_lazy(p) for p in module.parameters()):
                module(self.data.inputs[:2])
        return module

    @functools.cached_property
    def data(self) -> Any:
        return module_zoo.rows(codes=KINDS[self.kind].codes)

    @functools.cached_property
    def names(self) -> list[str]:
        return [name for name, p in self.start.named_parameters() if p.requires_grad]

    @functools.cached_property
    def θ(self) -> Tensor:
        own = dict(self.start.named_parameters())
        none = self.data.inputs.new_zeros(0)
        return torch.cat([none, *(own[name].detach().reshape(-1) for name in self.names)])

    def module(self, θ: Tensor) -> nn.Module:
        module = copied(self.start)
        first, own = 0, dict(module.named_parameters())
        with torch.no_grad():
            for name in self.names:
                own[name].copy_(θ[first : first + own[name].numel()].view(own[name].shape))
                first += own[name].numel()
        return module

    def outputs(self, θ: Tensor, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        module = self.module(θ)
        own = dict(module.named_parameters())
        y = module(x.clone().long() if KINDS[self.kind].codes else x.clone())
        return y.reshape(len(x), -1), [own[name] for name in self.names]

    def loss(self, θ: Tensor) -> Tensor:
        return (self.outputs(θ, self.data.inputs)[0] - self.data.targets).square().mean()

    def gradient(self, θ: Tensor) -> Tensor:
        y, leaves = self.outputs(θ, self.data.inputs)
        g = torch.autograd.grad((y - self.data.targets).square().mean(), leaves, allow_unused=True)
        return flat(g, leaves)

    @functools.cached_property
    def hessian(self) -> Tensor:
        """By differences of gradients, which need no second derivative: to about 1e-8."""
        h, n = 1e-5, len(self.θ)
        step = h * torch.eye(n, dtype=self.θ.dtype)
        columns = [(self.gradient(self.θ + e) - self.gradient(self.θ - e)) / (2 * h) for e in step]
        H = torch.stack(columns)
        return (H + H.T) / 2

    @functools.cached_property
    def by_parameters(self) -> Tensor:
        """∂y/∂θ (B, m, n)."""
        y, leaves = self.outputs(self.θ, self.data.inputs)
        rows = []
        for entry in y.reshape(-1):
            g = torch.autograd.grad(entry, leaves, retain_graph=True, allow_unused=True)
            rows.append(flat(g, leaves))
        return torch.stack(rows).reshape(*y.shape, -1)

    @functools.cached_property
    def gauss_newton(self) -> Tensor:
        J = self.by_parameters
        return torch.einsum("bmi,bmj->ij", J, J) * 2 / J.shape[0] / J.shape[1]

    @functools.cached_property
    def empirical_fisher(self) -> Tensor:
        J = self.by_parameters
        y = self.outputs(self.θ, self.data.inputs)[0]
        g = torch.einsum("bm,bmi->bi", 2 * (y - self.data.targets) / y.shape[1], J)
        return g.T @ g / len(g)

    def by_inputs(self, row: int) -> Tensor:
        """∂y/∂x (m, d) at one row."""
        x = self.data.inputs[row : row + 1].clone()
        columns = []
        for e in 1e-6 * torch.eye(x.shape[1], dtype=x.dtype):
            with torch.no_grad():
                ahead, behind = (self.outputs(self.θ, x + s * e)[0][0] for s in (1, -1))
            columns.append((ahead - behind) / 2e-6)
        return torch.stack(columns, 1)

    def descended(self, lr: float, steps: int) -> Tensor:
        θ = self.θ.clone()
        for _ in range(steps):
            θ = θ - lr * self.gradient(θ)
        return self.loss(θ).detach()


def flat(g: Sequence[Tensor | None], leaves: Sequence[Tensor]) -> Tensor:
    pairs = zip(g, leaves, strict=True)
    return torch.cat([torch.zeros_like(p).reshape(-1) if d is None else d.to_dense().reshape(-1) for d, p in pairs])


def copied(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception:
        inner = copy.copy(module)  # locks and the like: parameters of its own are enough
        inner.__dict__ = {**module.__dict__, "_parameters": {}, "_modules": {}, "_buffers": dict(module._buffers)}
        for name, p in module._parameters.items():
            inner._parameters[name] = None if p is None else nn.Parameter(p.detach().clone(), p.requires_grad)
        for name, part in module._modules.items():
            inner._modules[name] = copied(part)
        return inner


def number(value: Any) -> float:
    return float(value)


def tensor(value: Any) -> Tensor:
    return torch.tensor(np.array(value, dtype=float))


def differ(found: Any, true: Tensor, tolerance: float) -> str:
    """How far a number or an array is from the truth; nothing where it is close to it."""
    if found is None:
        return "nothing there"
    if isinstance(found, dict):
        return ""  # too large to be in the record
    found, true = tensor(found).reshape(-1), true.detach().double().reshape(-1)
    if found.shape != true.shape:
        return f"{tuple(found.shape)} where {tuple(true.shape)} is right"
    gap, size = float((found - true).abs().max()), float(true.abs().max())
    return "" if gap <= tolerance * max(size, 1e-3) else f"{gap:.3g} off, of {size:.3g}"


def wrong(kind: str, topic: str, seen: Look, truth: Truth) -> str:
    """What is wrong with a look that came to an answer; nothing where it is right, or where nothing is known."""
    known: Kind = KINDS[kind]
    tolerance = 1e-4 if known.rough else 1e-5
    values = seen.values
    first = known.order >= 1
    if topic == "partial" and first:
        return differ(values.get("gradient"), truth.gradient(truth.θ), tolerance)
    if topic == "chain" and first:
        by_name = truth.gradient(truth.θ).split([p.numel() for p in own(truth)])
        for name, g in zip(truth.names, by_name, strict=True):
            if (at := f"∂loss/∂{name}") in values and (said := differ(values[at], g, tolerance)):
                return f"{at}: {said}"
        return differ(values.get("loss"), truth.loss(truth.θ), tolerance)
    if topic == "descent" and first:
        return differ(seen.record["last"].get("loss"), truth.descended(0.01, 3), tolerance)
    matrix = {"hessian": "hessian", "hessian_free": "hessian"}.get(topic)
    matrix = matrix or (topic.removesuffix("_free") if topic.startswith("gauss") else None)
    matrix = "empirical_fisher" if topic == "empirical_fisher" else matrix
    if matrix is not None and (known.order >= 2 if matrix == "hessian" else first):
        λ = torch.linalg.eigvalsh(getattr(truth, matrix))
        found = values.get("eigenvalues")
        if topic.endswith("_free"):
            found = found if isinstance(found, list) else None
            top = None if found is None else max(map(float, found))
            return differ(top if found is not None else values.get("largest"), λ[-1], 2e-3)
        if matrix != "hessian" and not known.apart:
            return ""
        return differ(found, λ, max(tolerance, 1e-4))
    if topic == "jacobian" and known.inputs >= 1 and not known.codes:
        return differ(values.get("jacobian"), truth.by_inputs(1), 1e-3 if known.rough else 1e-5)
    if topic == "jacobian_parameters" and first and known.apart:
        return (
            differ(values.get("frobenius_norm"), truth.by_parameters[0].norm(), tolerance)
            if "frobenius_norm" in values
            else ""
        )
    return ""


def own(truth: Truth) -> list[Tensor]:
    by_name = dict(truth.start.named_parameters())
    return [by_name[name] for name in truth.names]


def judged(kind: str, topic: str, outputs: Path) -> tuple[Look, str]:
    """A look, and what is wrong with it: nothing where it is right, refuted, or refused in a sentence."""
    seen, known = look(kind, topic, outputs), KINDS[kind]
    if seen.crash:
        return seen, "a traceback"
    if "\n" in seen.told:
        return seen, "more than a line"
    if seen.status == 2:
        return seen, "" if len(seen.told) > 20 else "refused without a word"
    if seen.status == 3:
        expected = known.order < 2 or known.doubted or topic == "newton" or (kind, topic) == ("looped", "importance")
        return seen, "" if expected else "refuted, and autograd is right"
    if seen.status != 0:
        return seen, f"exit {seen.status}"
    if known.refused:
        return seen, "it should have been refused"
    try:
        return seen, wrong(kind, topic, seen, Truth(kind))
    except Exception as error:
        return seen, f"no truth: {type(error).__name__}: {error} {traceback.format_exc()}"


def main() -> None:
    """python looks.py [kinds] [topics]: the table of all, or of those named."""
    import io
    import tempfile
    import time
    from contextlib import redirect_stdout

    named = sys.argv[1:]
    kinds = [k for k in KINDS if k in named] or [k for k in KINDS if not KINDS[k].slow]
    topics = [t for t in LINES if t in named] or list(LINES)
    for kind in kinds:
        for topic in topics:
            began = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
                seen, fault = judged(kind, topic, Path(folder))
            took = time.perf_counter() - began
            mark = "FAULT" if fault else {0: "right", 2: "said", 3: "refuted"}[seen.status]
            said = seen.told or (seen.record.get("evidence") or {}).get("sentence") or ""
            print(f"{mark:8}{kind:24}{topic:22}{took:5.2f} {fault[:400]} | {said[:230]} [{seen.where}]", flush=True)
            if seen.crash and "-v" in named:
                print(seen.crash)


if __name__ == "__main__":
    main()
