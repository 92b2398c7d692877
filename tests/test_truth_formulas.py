"""Formulas against values known to 50 digits: what float64 computes, and what the balls prove."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from mpmath import mp, mpf
from omegaconf import OmegaConf
from torch import Tensor

from calclab.core import Ball, Function
from calclab.subject.formula import formula

TRUTH = Path(__file__).parent / "truth"
SCALAR = {entry["name"]: entry for entry in json.loads((TRUTH / "public_functions.json").read_text())["items"]}
VECTOR = {entry["name"]: entry for entry in json.loads((TRUTH / "public_jacobians.json").read_text())["items"]}
EPS = 2.0**-52

# name: (why float64 cannot do better, bound of the relative error of the gradient, of the Hessian). Everything else
# must be within 1e-12 and 1e-11.
FLOAT64_LIMITS: dict[str, tuple[str, float, float]] = {
    # The rounding eps of exp(x) ~ 1 is divided by x^3 (gradient 1/6) and x^4 (Hessian 1/12), x = 1e-5.
    "expm1_cancel": ("e^x - 1 - x cancels to x^2/2", 6 * 4 * EPS / 1e-5**3, 12 * 24 * EPS / 1e-5**4),
    # The argument 7e7 is rounded by half an ulp, eps/2 * 7e7; times tan for cos, times 1/tan for sin.
    "sin_large": (
        "the rounded argument 1e8 x",
        EPS * 7e7 * abs(math.tan(7e7)),
        EPS * 7e7 / abs(math.tan(7e7)),
    ),
    "lse_overflow": ("e^1000 is infinite in float64", math.inf, math.inf),
}
# name: (why, bound of the relative error of the condition number). Everything else must be within 1e-8.
CONDITION_LIMITS: dict[str, tuple[str, float]] = {
    "near_singular": ("entries of 1 rounded by eps hide an eigenvalue of 1e-12", 2 * EPS * 1e12),
    "brown_badly_scaled": ("entries of 1 rounded by eps, condition number 4", 1e-8),
    "lse_overflow": ("e^1000 is infinite in float64", math.inf),
    "expm1_cancel": ("one eigenvalue: the condition number is 1", 1e-8),
}


def build(entry: dict[str, Any]) -> Function:
    return formula(name=entry["name"], expr=entry.get("expr", entry.get("exprs")), at=entry["point"])


def tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def relative(value: Tensor, truth: Tensor) -> float:
    return float((value - truth).abs().max() / truth.abs().max().clamp_min(1e-300))


def contains(ball: Ball, truth: Any) -> bool:
    """Whether every ball holds its 50-digit number (which is itself rounded in its 50th digit)."""
    if isinstance(truth, list):
        return all(contains(Ball(m, r), t) for m, r, t in zip(ball.mid, ball.rad, truth, strict=True))
    with mp.workdps(80):
        slack = mpf(10) ** -49 * abs(mpf(truth)) + mpf(10) ** -100  # the reference worked with 120 digits
        return bool(abs(mpf(float(ball.mid)) - mpf(truth)) <= mpf(float(ball.rad)) + slack)


@pytest.mark.parametrize("name", SCALAR)
def test_float64_gradient_and_hessian(name: str) -> None:
    entry = SCALAR[name]
    f = build(entry)
    assert list(f.variables) == entry["vars"]
    _, gradient, hessian = FLOAT64_LIMITS.get(name, ("", 1e-12, 1e-11))
    if math.isfinite(gradient):
        assert relative(torch.func.grad(f.call)(f.start), tensor(entry["gradient"])) <= gradient
        assert relative(torch.func.hessian(f.call)(f.start), tensor(entry["hessian"])) <= hessian


@pytest.mark.parametrize("name", VECTOR)
def test_float64_jacobian(name: str) -> None:
    entry = VECTOR[name]
    f = build(entry)
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        assert relative(transform(f.call)(f.start), tensor(entry["jacobian"])) <= 1e-12
    assert relative(f.call(f.start), tensor(entry["value"])) <= 1e-12


@pytest.mark.parametrize("name", SCALAR)
def test_float64_condition(name: str) -> None:
    entry = SCALAR[name]
    f = build(entry)
    _, bound = CONDITION_LIMITS.get(name, ("", 1e-8))
    if not math.isfinite(bound):
        return
    sizes = torch.linalg.eigvalsh(torch.func.hessian(f.call)(f.start)).abs()
    found = float(sizes.max() / sizes.min())
    if entry["condition"] is None:
        assert found > 1e14
    else:
        assert abs(found - entry["condition"]) <= bound * entry["condition"]


@pytest.mark.parametrize("name", [*SCALAR, *VECTOR])
def test_balls_contain_the_truth(name: str) -> None:
    entry = SCALAR.get(name) or VECTOR[name]
    f = build(entry)
    assert f.exact is not None
    truth = entry["mp50"]
    assert contains(f.exact.enclose(f.start, 0), truth["value"])
    first = f.exact.enclose(f.start, 1)
    assert contains(first, truth["gradient" if f.scalar else "jacobian"])
    assert bool((first.rad <= 1e-15 * first.mid.abs()).all())
    if f.scalar:
        second = f.exact.enclose(f.start, 2)
        for i, row in enumerate(truth["hessian"]):  # the lower triangle
            assert contains(Ball(second.mid[i, : i + 1], second.rad[i, : i + 1]), row)
        spectrum = f.exact.eigenvalues(f.start)
        assert contains(spectrum, truth["eigenvalues"])
    else:
        spectrum = f.exact.singular_values(f.start)
        assert contains(spectrum, truth["singular_values"])
    assert float(spectrum.rad.max()) <= 1e-15 * float(spectrum.mid.abs().max())


# The functions of the zoo that are those of the tables, where the name is another or the size is in it.
RENAMED = {
    "rosenbrock2": "rosenbrock",
    "rosenbrock10": "rosenbrock",
    "rastrigin5": "rastrigin",
    "griewank2": "griewank",
    "griewank4": "griewank",
    "hilbert5": "hilbert",
    "logsumexp3": "logsumexp",
    "tanhnet_231": "tanhnet",
    "nb_partial": "mixed",
    "nb_chain": "tower",
    "robot_arm_2": "robot_arm",
    "mgh_freudenstein_roth": "freudenstein_roth_residuals",
    "mgh_brown_badly_scaled": "brown_residuals",
    "mgh_beale": "beale_residuals",
    "mgh_jennrich_sampson5": "jennrich_sampson",
    "mgh_helical_valley": "helical_residuals",
    "hilbert_map6": "hilbert_map",
}


@pytest.mark.parametrize("name", [*SCALAR, *VECTOR])
def test_zoo_has_them(name: str) -> None:
    entry = SCALAR.get(name) or VECTOR[name]
    path = Path(__file__).parents[1] / "conf" / "function" / f"{RENAMED.get(name, name.removeprefix('nb_'))}.yaml"
    config = dict(OmegaConf.to_container(OmegaConf.load(path)))  # type: ignore[arg-type]
    config.pop("_target_")
    f = formula(**{**config, "at": entry["point"]})
    assert f.exact is not None
    ball = f.exact.enclose(f.start, 1)
    assert contains(ball, entry["mp50"]["gradient" if f.scalar else "jacobian"])
