"""Every function of the zoo: it parses, three ways of differentiating agree, and its claimed minima are minima.

A minimum is held against what its source prints (``truth/zoo_minima.json``), against proven derivatives at the point,
and against the values at thousands of seeded points of the domain.
"""

from __future__ import annotations

import json
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import flint
import pytest
import torch
from omegaconf import OmegaConf

from calclab.core import Ball, Function
from calclab.subject.formula import formula
from calclab.subject.formula.enclosure import entries
from calclab.subject.formula.exact import FormulaExact
from calclab.subject.formula.precision import assemble

FOLDER = Path(__file__).parents[1] / "conf" / "function"
OWN = {"formula", "links", "custom"}  # wait for the user's own
TARGET = "calclab.subject.formula.formula"
TEXTS = {p.stem: p.read_text() for p in sorted(FOLDER.glob("*.yaml"))}
NAMES = [name for name, text in TEXTS.items() if name not in OWN and TARGET in text]
CONFIGS: dict[str, dict[str, Any]] = {
    name: OmegaConf.to_container(OmegaConf.create(TEXTS[name]))  # type: ignore[misc]
    for name in NAMES
}
WITH_MINIMA = [name for name in NAMES if CONFIGS[name]["minima"] is not None]
ANY_DIMENSION = [name for name in NAMES if "function.n sets" in TEXTS[name]]
PUBLISHED = json.loads((Path(__file__).parent / "truth" / "zoo_minima.json").read_text())["values"]

# Minima where the formula has no derivative, and why: nothing is stationary there.
KINKS = {
    **dict.fromkeys(("ackley", "ackley2", "deflected_spring", "drop_wave"), "sqrt of a sum of squares at 0"),
    **dict.fromkeys(("salomon", "schaffer6", "sharp_ridge", "ursem4"), "sqrt of a sum of squares at 0"),
    **dict.fromkeys(("absolute", "alpine1", "bukin4", "nesterov_kinks", "quintic"), "abs at 0"),
    **dict.fromkeys(("schwefel20", "schwefel22", "ursem3", "xin_she_yang2"), "abs at 0"),
    **dict.fromkeys(("schwefel6", "schwefel21"), "two sides of max meet"),
    "bartels_conn": "abs(sin(x)) at 0",
    "bukin6": "sqrt(abs(...)) along the valley",
    "happy_cat": "an eighth root along the sphere",
    "stretched_v": "a fourth root at 0",
    "tripod": "abs at the foot of a leg",
    "xin_she_yang4": "sin(sqrt(abs(x)))**2 at 0",
}
# Formulas that are smooth where they are defined although abs, max, sqrt, where or a root stands in them, and why.
SMOOTH = {
    **dict.fromkeys(("chichinadze", "griewank", "rotated_ellipse"), "a root of a constant"),
    **dict.fromkeys(("rotated_hyper_ellipsoid", "schwefel2"), "where decides on indices"),
    **dict.fromkeys(("penalized1", "penalized2"), "a fourth power of max(abs(x) - a, 0)"),
    **dict.fromkeys(("huber", "univariate18"), "the pieces meet with one slope"),
    **dict.fromkeys(("alpine2", "amgm", "deb3", "paviani", "univariate13"), "a root that is 0 on the border only"),
    **dict.fromkeys(("helical_residuals", "helical_valley", "to_polar"), "polar coordinates, smooth off the axis"),
    "ellipsoid": "max of numbers",
    "schwefel": "x sin(sqrt(abs(x))) has the slope 0 at 0",
    "sodp": "abs(x) to powers of 2 and more",
}
# Where more kinks meet than the balls try out, although they agree on the derivative.
TIES = {("sodp", 7): "abs at 0, seven times"}
# Functions with lower values than their listed minimum, and why.
LOCAL = {"cubic": "a local minimum; unbounded below"}
# Values and derivatives that float64 cannot compute from the formula as written, and why.
HARD = {
    "expm1_cancel": "e^x - 1 - x cancels",
    "lse_overflow": "e^1000 overflows",
    "rump": "terms of 1e36 cancel",
    "sin_large": "the argument 7e7 is rounded",
}


@cache
def load(name: str) -> Function:
    return build(name)


def build(name: str, **overrides: object) -> Function:
    config = {**CONFIGS[name], **overrides}
    assert config.pop("_target_") == TARGET
    return formula(name=name, **config)


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-300))


def stationary(f: Function, x: torch.Tensor) -> bool:
    """As stationary as a point of doubles can be: within what some units in its last place change."""
    assert isinstance(f.exact, FormulaExact)
    assert f.exact.tape is not None
    g = f.exact.enclose(x, 1)
    with flint.ctx.workprec(212):
        blurred = [flint.arb(v, 0.5 * math.ulp(v)) for v in x.tolist()]
        moved = assemble(entries(f.exact.tape, blurred, 1, f.exact.vector), f.exact.shape(1)).rad
    return bool((g.mid.abs() + g.rad <= 8 * moved + 1e-300).all())


def values(f: Function) -> Ball:
    """Proven values at the minima."""
    assert f.exact is not None
    assert f.minima is not None
    balls = [f.exact.enclose(x, 0) for x in f.minima]
    return Ball(torch.stack([b.mid for b in balls]), torch.stack([b.rad for b in balls]))


def unit(text: str) -> float:
    """One unit in the last digit printed: 0.01 of 3.14; of a whole number rounding alone, as it is meant exactly."""
    mantissa, _, exponent = text.partition("e")
    digits = len(mantissa.partition(".")[2])
    return float(f"1e{int(exponent or 0) - digits}") if digits else 1e-12


def test_at_least_130_and_most_with_minima() -> None:
    assert len(NAMES) >= 130
    assert len(WITH_MINIMA) >= 130
    assert set(PUBLISHED) <= set(WITH_MINIMA)
    # One minimum is of our own making: no source prints it.
    assert set(WITH_MINIMA) - set(PUBLISHED) == {"softplus_loss"}


@pytest.mark.parametrize("name", NAMES)
def test_described(name: str) -> None:
    text = TEXTS[name]
    first = text.splitlines()[0]
    assert first.startswith("# ")
    assert len(first) < 110
    f = load(name)
    assert f.source
    assert f.exact is not None
    assert "f" in f.exact.latex
    assert len(f.variables) == len(f.start)
    if f.domain is not None:
        assert bool(((f.start >= f.domain[:, 0]) & (f.start <= f.domain[:, 1])).all())
        if f.minima is not None:
            assert bool(((f.minima >= f.domain[:, 0]) & (f.minima <= f.domain[:, 1])).all())


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_agree(name: str) -> None:
    f = load(name)
    assert f.exact is not None
    transform = torch.func.jacrev(f.call)
    for order, value in ((1, transform(f.start)), (2, torch.func.jacrev(transform)(f.start))):
        ball = f.exact.enclose(f.start, order)
        assert bool(ball.rad.isfinite().all())
        assert float(ball.rad.max()) <= 1e-15 * float(ball.mid.abs().max()) + 1e-250
        if name not in HARD:
            assert relative(value, ball.mid) < 1e-11


@pytest.mark.parametrize("name", NAMES)
def test_kinks_are_named(name: str) -> None:
    expr = str(CONFIGS[name]["expr"])
    bent = re.search(r"\b(abs|sqrt|max|min|where|sign|relu|cbrt)\(|\*\*(0\.\d|\(1/)", expr)
    assert bool(bent) == ("kink" in TEXTS[name] or name in SMOOTH)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_value(name: str) -> None:
    value = values(load(name))
    texts = PUBLISHED[name]
    printed = [texts] * len(value.mid) if isinstance(texts, str) else texts
    assert len(printed) == len(value.mid)
    for text, mid, rad in zip(printed, value.mid.tolist(), value.rad.tolist(), strict=True):
        assert text is None or abs(mid - float(text)) + rad <= unit(text) * (1 + 1e-9)


@pytest.mark.parametrize("name", WITH_MINIMA)
def test_minima(name: str) -> None:
    f = load(name)
    assert f.exact is not None
    assert f.minima is not None
    assert len({tuple(x) for x in f.minima.tolist()}) == len(f.minima)
    for x in f.minima:
        if name in KINKS:
            assert not bool(f.exact.enclose(x, 1).rad.isfinite().all())
            continue
        assert stationary(f, x)
        eigenvalues = f.exact.eigenvalues(x)
        scale = float(eigenvalues.mid.abs().max())
        assert float((eigenvalues.mid + eigenvalues.rad).min()) >= -1e-13 * scale


@pytest.mark.parametrize("name", WITH_MINIMA)
def test_nothing_lower(name: str) -> None:
    """Not in 4,000 points of the domain, nor in 200 around each minimum, 1e-6 to 1 of its size away."""
    f = load(name)
    assert f.minima is not None
    generator = torch.Generator().manual_seed(0)
    n = len(f.start)
    size = 1 + f.minima.abs()
    low, high = (
        f.domain.T if f.domain is not None else (f.minima.min(0).values - size[0], f.minima.max(0).values + size[0])
    )
    away = 10 ** (-6 * torch.rand(len(f.minima), 200, 1, dtype=torch.float64, generator=generator)) * size[:, None]
    near = f.minima[:, None] + away * torch.randn(len(f.minima), 200, n, dtype=torch.float64, generator=generator)
    wide = low + (high - low) * torch.rand(4000, n, dtype=torch.float64, generator=generator)
    call = torch.func.vmap(f.call)
    value = values(f).mid
    if name not in LOCAL:
        points = torch.cat([wide, near.reshape(-1, n).clamp(low, high)])
        best = float(value.min())
        found = call(points)
        # Where a formula cancels (NaN on the border of a domain is no value), float64 may fall below by its rounding.
        assert float(found[~found.isnan()].min()) >= best - 1e-10 * abs(best) - 1e-12
    # Each listed minimum, the local ones too, is lowest among its nearest points.
    for x, v in zip(f.minima, value, strict=True):
        moves = torch.randn(100, n, dtype=torch.float64, generator=generator) * 1e-3 * (1 + x.abs())
        assert float(call(x + moves).min()) >= float(v) - 1e-10 * abs(float(v)) - 1e-12


@pytest.mark.parametrize("name", ANY_DIMENSION)
@pytest.mark.parametrize("n", [3, 7])
def test_any_dimension(name: str, n: int) -> None:
    at = load(name).start.tolist()
    f = build(name, n=n, at=at[:n])
    assert f.start.tolist() == [at[k % len(at)] for k in range(n)]
    assert f.exact is not None
    ball = f.exact.enclose(f.start, 1)
    assert relative(torch.func.grad(f.call)(f.start), ball.mid) < 1e-12
    if f.minima is not None:
        assert f.minima.shape[1] == n
        # A minimiser given by one number is repeated: it must be one in every dimension.
        assert name in KINKS or (name, n) in TIES or all(stationary(f, x) for x in f.minima)
