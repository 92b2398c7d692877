"""The other tools, each asked for the same things: eigenvalues, trace, density of the Hessian of a problem.

A peer that is not installed is left out, with a word. Their products are counted by wrapping the one function in which
they are made. Each has its defaults and what tuning by hand made of it.
"""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from curvature_problems import Problem
from torch import Tensor, nn
from torch.nn import functional

Density = tuple[Tensor, Tensor]


@dataclass
class Count:
    """Products with the Hessian, columns."""

    columns: int = 0


@dataclass(frozen=True)
class Peer:
    """``run(problem, task, seed, count, **knobs)`` gives eigenvalues, a trace, or nodes and weights."""

    name: str
    package: str
    pip: str
    run: Callable[..., Any]
    settings: dict[str, list[tuple[str, dict[str, Any]]]]  # of a task: a word, and the knobs behind it

    @property
    def installed(self) -> bool:
        return find_spec(self.package) is not None


def pyhessian(about: Problem, task: str, seed: int, count: Count, **knobs: Any) -> Any:
    import sys

    import pyhessian as package

    inside = sys.modules["pyhessian.hessian"]
    plain = getattr(inside, "plain", None) or inside.hessian_vector_product
    inside.plain = plain

    def counted(*arguments: Any) -> Any:
        count.columns += 1
        return plain(*arguments)

    inside.hessian_vector_product = counted
    draw(seed)
    H = package.hessian(about.module, nn.CrossEntropyLoss(), data=(about.inputs, about.targets), cuda=False)
    if task == "top":
        return H.eigenvalues(**knobs)[0]
    if task == "trace":
        return float(np.mean(H.trace(**knobs)))
    nodes, weights = H.density(**knobs)
    return real(nodes), real(weights)


def real(numbers: Any) -> Tensor:
    return torch.tensor(np.abs(np.array(numbers, dtype=complex)) * np.sign(np.real(np.array(numbers)))).ravel()


def eigenthings(about: Problem, task: str, seed: int, count: Count, **knobs: Any) -> Any:
    import hessian_eigenthings as package

    kind = package.HessianOperator
    plain = getattr(kind, "plain", None) or kind._hvp
    kind.plain = plain

    def counted(self: Any, *arguments: Any) -> Any:
        count.columns += 1
        return plain(self, *arguments)

    kind._hvp = counted
    loss = package.supervised_loss(functional.cross_entropy)
    H = kind(about.module, [(about.inputs, about.targets)], loss)
    if task == "top":
        return package.lanczos(H, which="LA", seed=seed, **knobs).eigenvalues.tolist()
    if task == "trace":
        return package.trace(H, seed=seed, **knobs).estimate
    found = package.spectral_density(H, seed=seed, **knobs)
    return found.raw_eigenvalues.flatten().double(), found.raw_weights.flatten().double()


def curvlinops(about: Problem, task: str, seed: int, count: Count, **knobs: Any) -> Any:
    import curvlinops as package
    from scipy.sparse.linalg import eigsh

    kind = package.HessianLinearOperator
    plain = getattr(kind, "plain", None) or kind._matmat_batch
    kind.plain = plain

    def counted(self: Any, inputs: Any, targets: Any, M: Any) -> Any:
        first = next(iter(M.values())) if isinstance(M, dict) else M[0]
        count.columns += first.shape[-1]
        return plain(self, inputs, targets, M)

    kind._matmat_batch = counted
    draw(seed)
    given = [(about.inputs, about.targets)]
    parameters = dict(about.module.named_parameters()) if knobs.pop("named", False) else about.parameters
    H = kind(about.module, nn.CrossEntropyLoss(), parameters, given, check_deterministic=False)
    if task == "top":
        A, first = H.to_scipy(), np.random.default_rng(seed).standard_normal(about.n).astype(np.float32)
        return eigsh(A, which="LA", return_eigenvectors=False, v0=first, **knobs).tolist()
    if task == "trace":
        method = getattr(package, knobs.pop("method"))
        return float(method(H, *knobs.values()))
    grid, density = package.lanczos_approximate_spectrum(H, **knobs)
    return grid.double(), density.double().clamp(min=0)


def backpack(about: Problem, task: str, seed: int, count: Count, **knobs: Any) -> Any:
    if task == "trace":
        from backpack import backpack as context
        from backpack import extend, extensions

        module, loss = extend(about.module), extend(nn.CrossEntropyLoss())
        with context(extensions.DiagHessian()):
            loss(module(about.inputs), about.targets).backward()
        return float(sum(p.diag_h.sum() for p in module.parameters()))
    from backpack.hessianfree.hvp import hessian_vector_product
    from scipy.sparse.linalg import LinearOperator, eigsh

    parameters = about.parameters
    loss = functional.cross_entropy(about.module(about.inputs), about.targets)
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)
    sizes = [p.numel() for p in parameters]

    def product(v: Any) -> Any:
        count.columns += 1
        pieces = torch.from_numpy(np.asarray(v, np.float32).ravel()).to(parameters[0]).split(sizes)
        shaped = [piece.view_as(p) for piece, p in zip(pieces, parameters, strict=True)]
        made = hessian_vector_product(loss, parameters, shaped, grad_params=gradient)
        return torch.cat([piece.reshape(-1) for piece in made]).detach().numpy()

    first = np.random.default_rng(seed).standard_normal(about.n).astype(np.float32)
    A = LinearOperator((about.n, about.n), matvec=product, dtype=np.float32)
    return eigsh(A, which="LA", return_eigenvectors=False, v0=first, **knobs).tolist()


def draw(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


FIVE = {"k": 5}

PEERS = (
    Peer(
        "PyHessian",
        "pyhessian",
        "PyHessian",
        pyhessian,
        {
            "top": [("default", {"top_n": 5}), ("tol 1e-6", {"top_n": 5, "maxIter": 1000, "tol": 1e-6})],
            "loose": [("default", {"top_n": 5})],
            "leading": [("default", {"top_n": 1})],
            "trace": [("default", {})],
            "density": [("80 x 8", {"iter": 80, "n_v": 8})],
        },
    ),
    Peer(
        "hessian-eigenthings",
        "hessian_eigenthings",
        "hessian-eigenthings",
        eigenthings,
        {
            "top": [("default", FIVE), ("20 steps", {**FIVE, "max_iter": 20}), ("30 steps", {**FIVE, "max_iter": 30})],
            "loose": [("16 steps", {**FIVE, "max_iter": 16})],
            "leading": [("default", {"k": 1})],
            "trace": [("Hutch++, 99", {"num_matvecs": 99, "method": "hutch++"})],
            "density": [("80 x 8", {"num_runs": 8, "lanczos_steps": 80})],
        },
    ),
    Peer(
        "curvlinops + eigsh",
        "curvlinops",
        "curvlinops-for-pytorch",
        curvlinops,
        {
            "top": [("tol 1e-3", {**FIVE, "tol": 1e-3}), ("default", FIVE)],
            "loose": [("tol 1e-3", {**FIVE, "tol": 1e-3})],
            "leading": [("tol 1e-2", {"k": 1, "tol": 1e-2})],
            "trace": [("Hutch++, 99", {"method": "hutchpp_trace", "matvecs": 99})],
            "density": [("80 x 8", {"ncv": 80, "num_points": 4096, "num_repeats": 8})],
        },
    ),
    Peer(
        "BackPACK + eigsh",
        "backpack",
        "backpack-for-pytorch",
        backpack,
        {
            "top": [("tol 1e-3", {**FIVE, "tol": 1e-3}), ("default", FIVE)],
            "loose": [("tol 1e-3", {**FIVE, "tol": 1e-3})],
            "leading": [("tol 1e-2", {"k": 1, "tol": 1e-2})],
            "trace": [("exact diagonal", {})],
        },
    ),
)


@contextlib.contextmanager
def quiet() -> Any:
    """Peers print."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
