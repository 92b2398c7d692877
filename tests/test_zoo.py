"""Every function of the zoo: it parses, three ways of differentiating agree, and its claimed minima are minima."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from calclab.core import Function
from calclab.function.formula import formula

FOLDER = Path(__file__).parents[1] / "conf" / "function"
OWN = {"formula", "links", "custom"}  # wait for the user's own
TARGET = "calclab.function.formula.formula"
NAMES = sorted(p.stem for p in FOLDER.glob("*.yaml") if p.stem not in OWN and TARGET in p.read_text())

# Minima where the formula has no derivative, and why: nothing is stationary there.
KINKS = {
    "absolute": "|x| at 0",
    "ackley": "sqrt of a sum of squares at 0",
    "bukin6": "sqrt(abs(...)) along the valley",
    "drop_wave": "sqrt of a sum of squares at 0",
    "salomon": "sqrt of a sum of squares at 0",
}
# Values and derivatives that float64 cannot compute from the formula as written, and why.
HARD = {
    "expm1_cancel": "e^x - 1 - x cancels",
    "lse_overflow": "e^1000 overflows",
    "rump": "terms of 1e36 cancel",
    "sin_large": "the argument 7e7 is rounded",
}


def load(name: str, **overrides: object) -> Function:
    config = {**OmegaConf.to_container(OmegaConf.load(FOLDER / f"{name}.yaml"), resolve=True), **overrides}  # type: ignore[dict-item]
    assert config.pop("_target_") == TARGET
    return formula(name=name, **config)


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-300))


def test_at_least_fifty() -> None:
    assert len(NAMES) >= 50


@pytest.mark.parametrize("name", NAMES)
def test_described(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
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
def test_three_derivatives_agree(name: str) -> None:
    f = load(name)
    assert f.exact is not None
    transform = torch.func.jacrev(f.call)
    for order, value in ((1, transform(f.start)), (2, torch.func.jacrev(transform)(f.start))):
        ball = f.exact.enclose(f.start, order)
        assert bool(ball.rad.isfinite().all())
        assert float(ball.rad.max()) <= 1e-15 * float(ball.mid.abs().max()) + 1e-250
        if name not in HARD:
            assert relative(value, ball.mid) < 1e-11
        closed = f.exact.closed_form(f.start, order)
        if closed is not None:
            half_ulp = 2.0**-53 * closed.abs()
            assert bool(((closed - ball.mid).abs() <= ball.rad + half_ulp + 1e-300).all())


@pytest.mark.parametrize("name", [name for name in NAMES if load(name).minima is not None])
def test_minima(name: str) -> None:
    f = load(name)
    assert f.exact is not None
    assert f.minima is not None
    for x in f.minima:
        if name in KINKS:
            assert not bool(f.exact.enclose(x, 1).rad.isfinite().all())
            moves = torch.randn(200, len(x), dtype=x.dtype, generator=torch.Generator().manual_seed(0)) * 1e-3
            assert all(f.call(x + move) >= f.call(x) for move in moves)
            continue
        g = f.exact.enclose(x, 1)
        # As stationary as a point of doubles can be: within what two units in its last place change.
        assert bool((g.mid.abs() + g.rad <= 8 * f.exact.sensitivity(x, 1) + 1e-300).all()), g  # type: ignore[attr-defined]
        eigenvalues = f.exact.eigenvalues(x)
        scale = float(eigenvalues.mid.abs().max())
        assert float((eigenvalues.mid + eigenvalues.rad).min()) >= -1e-13 * scale


@pytest.mark.parametrize("name", [name for name in NAMES if "function.n sets" in (FOLDER / f"{name}.yaml").read_text()])
@pytest.mark.parametrize("n", [3, 7])
def test_any_dimension(name: str, n: int) -> None:
    at = load(name).start.tolist()
    f = load(name, n=n, at=at[:n])
    assert f.start.tolist() == [at[k % len(at)] for k in range(n)]
    assert f.exact is not None
    ball = f.exact.enclose(f.start, 1)
    assert relative(torch.func.grad(f.call)(f.start), ball.mid) < 1e-12
    if f.minima is not None:
        assert f.minima.shape[1] == n
