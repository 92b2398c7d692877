"""Small parts of formulas: cuts, powers of numbers, names that are not known, depths, and how long integers may get."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from calclab.errors import UserError
from calclab.subject.formula import evaluate, formula, one_sided, spectra
from calclab.subject.formula.parse import DEPTH
from calclab.subject.formula.rules import flint, power
from calclab.subject.formula.symbols import raised


def enclosed(expr: str, at: list[float], order: int) -> tuple[list[float], list[float]]:
    f = formula(expr=expr, at=at)
    assert f.exact is not None
    ball = f.exact.enclose(f.start, order)
    return ball.mid.reshape(-1).tolist(), ball.rad.reshape(-1).tolist()


def test_on_its_cut_atan2_jumps_only_for_whoever_can_cross_it() -> None:
    """atan2(0, x) is π for all x < 0; in y there is a jump."""
    (value,), _ = enclosed("atan2(0, x) + 0*y", [-2.0, 1.0], 0)
    assert value == pytest.approx(math.pi, abs=1e-15)
    slopes, radii = enclosed("atan2(0, x) + 3*y", [-2.0, 1.0], 1)
    assert slopes == [0.0, 3.0]
    assert radii == [0.0, 0.0]
    (value,), (radius,) = enclosed("atan2(sin(pi), x) + 0*y", [-2.0, 1.0], 0)  # no precision tells sin π from 0
    assert math.isnan(value) or radius - abs(value) >= math.pi  # so that π and -π are held
    slopes, _ = enclosed("atan2(y, x)", [-2.0, 0.0], 1)
    assert math.isnan(slopes[1])
    for y in (1e-300, -1e-300):
        slopes, _ = enclosed("atan2(y, x)", [-2.0, y], 1)
        assert slopes == pytest.approx([-y / 4, -0.5])
        (value,), _ = enclosed("atan2(y, x)", [-2.0, y], 0)
        assert value == pytest.approx(math.copysign(math.pi, y))


@pytest.mark.parametrize(
    ("base", "exponent", "power"),
    [
        (Fraction(2), Fraction(3), Fraction(8)),
        (Fraction(1, 3), Fraction(-2), Fraction(9)),
        (Fraction(0), Fraction(2), Fraction(0)),
        (Fraction(0), Fraction(0), Fraction(1)),
        (Fraction(0), Fraction(-1), None),
        (Fraction(2), Fraction(1, 2), None),
        (Fraction(2), Fraction(64), Fraction(2**64)),
        (Fraction(2), Fraction(65), None),
        (Fraction(2), Fraction(-65), None),
        (0.25, 1.5, 0.125),
        (-1.0, 0.5, None),
        (10.0, 400.0, None),
    ],
)
def test_powers_of_numbers_stay_fractions_where_they_are_read_easily(base, exponent, power) -> None:
    found = raised(base, exponent)
    assert found == power
    assert type(found) is type(power)


def test_the_first_unknown_name_is_told_with_its_own_neighbour() -> None:
    with pytest.raises(UserError, match=r"unknown name 'ratte'; the variables are rate, width\.(?!.*width\?).*rate"):
        formula(expr="ratte*wdth", variables=["rate", "width"], at=[1.0, 2.0])


def test_what_is_known_to_a_promised_number() -> None:
    with pytest.raises(UserError, match="unknown name 'y'; known are numbers only"):
        evaluate("2*y")
    with pytest.raises(UserError, match="unknown name 'z'; known are y, w"):
        evaluate("2*z", {"y": 1.0, "w": 2.0})
    assert float(evaluate("y/w + 1", {"y": 1.0, "w": 4.0})) == 1.25
    assert evaluate([["1/4", 2], ["y", "-1"]], {"y": 3.0}).tolist() == [[0.25, 2.0], [3.0, -1.0]]


def test_expressions_may_be_nested_so_deep_and_no_deeper() -> None:
    """Powers are nested to the right without a bracket."""
    deep = lambda n: "x**" * n + "x"  # noqa: E731
    with pytest.raises(UserError, match="nested too deeply"):
        formula(expr=deep(DEPTH + 1), at=[0.5])
    assert formula(expr=deep(DEPTH), at=[0.5]).scalar


def test_the_first_letter_that_is_not_plain_is_named() -> None:
    with pytest.raises(UserError, match=r"'²' \(U\+00B2\) is not plain ASCII"):
        formula(expr="\x7fx²+é", at=[1.0])


def test_roots_are_typeset_as_roots() -> None:
    f = formula(expr="cbrt(x) + sqrt(x)", at=[2.0])
    assert f.exact is not None
    assert r"\sqrt[3]{x}" in f.exact.latex
    assert r"\sqrt{x}" in f.exact.latex


@pytest.mark.parametrize("far", [0, 30, 60])
def test_integers_of_a_characteristic_polynomial_are_as_long_as_their_exponents_are_apart(
    far: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """diag(1, 2^far, -2^far): far + 1 bits each, three rows."""
    arb = flint().arb
    matrix = [[arb(0)] * 3 for _ in range(3)]
    for i, value in enumerate((1, 2**far, -(2**far))):
        matrix[i][i] = arb(value)
    monkeypatch.setattr(spectra, "BITS", 3 * 31)
    found = spectra.roots(matrix)
    assert bool(found) == (far <= 30)
    if found:
        assert sorted(float(root) for root in found) == sorted([1.0, 2.0**far, -(2.0**far)])


@pytest.mark.parametrize("n", [3, 16, 17])
@pytest.mark.parametrize("zero", [False, True])
def test_eigenvalues_are_enclosed_to_their_last_digits_at_every_size(n: int, zero: bool) -> None:
    """A matrix of whole numbers with a known spectrum: Householder's reflection of whole eigenvalues, by small ones."""
    arb = flint().arb
    v = torch.arange(1.0, n + 1, dtype=torch.float64)
    λ = torch.arange(n, dtype=torch.float64) + (0.0 if zero else 1.0)
    P = float(v @ v) * torch.eye(n, dtype=torch.float64) - 2 * torch.outer(v, v)  # P² = (v·v)² I
    H = P @ torch.diag(λ) @ P
    found = spectra.eigenvalues([[arb(float(entry)) for entry in row] for row in H])
    truth = (λ * float(v @ v) ** 2).tolist()
    for ball, number in zip(found, truth, strict=True):
        assert ball.contains(arb(number))
        assert float(ball.rad()) <= 1e-9 * truth[-1]
    if zero and n <= 16:
        assert found[0].is_zero()


def test_variables_stand_in_their_natural_order() -> None:
    """A name without a number before those with one, w2 before w10."""
    f = formula(expr="w10 + w + w1*w0 + w2 + b", at=[0.0] * 6)
    assert f.variables == ("b", "w", "w0", "w1", "w2", "w10")


@pytest.mark.parametrize("extra", [0, 1])
def test_names_that_are_known_are_listed_as_far_as_a_line_goes(extra: int) -> None:
    names = ["a" * 39, "b" * (39 + extra)]  # with ", " between them 80, and 81
    with pytest.raises(UserError) as error:
        evaluate("2*z", dict.fromkeys(names, 1.0))
    assert (f"known are {', '.join(names)}." in str(error.value)) == (extra == 0)


@pytest.mark.parametrize("order", [1, 2])
def test_quotients_from_both_sides_are_taken_of_formulas_of_a_size(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps times variables times the order: at the limit they are, beyond it nothing is known."""
    f = formula(expr="3*x + x*abs(x)" if order == 2 else "abs(x)", at=[0.0])  # of the first slope nothing is proven
    assert f.exact is not None
    size = len(f.exact.tape.nodes) * order
    monkeypatch.setattr("calclab.subject.formula.one_sided.SIDES", size)
    left, right = f.exact.one_sided(f.start, order)
    assert (float(left), float(right)) == pytest.approx((-1.0 * order, 1.0 * order))
    monkeypatch.setattr("calclab.subject.formula.one_sided.SIDES", size - 1)
    assert all(bool(side.isnan().all()) for side in f.exact.one_sided(f.start, order))


def test_quotients_grow_die_out_settle_or_tell_nothing() -> None:
    inf = math.inf
    cases = {
        (1.0, 1.0, 1.0): 1.0,
        (1.0, 2.0, 4.0): inf,
        (-1.0, -2.0, -4.0): -inf,
        (1.0, inf, inf): inf,
        (1.0, inf, 1.0): math.nan,
        (1.0, 1e-4, 1e-8): 0.0,
        (1.0, 1e-4, 1e-4): 1e-4,
        (1.0, 2.0, 1.0): math.nan,
    }
    for seen, truth in cases.items():
        found = one_sided.limit(*(torch.tensor([v], dtype=torch.float64) for v in seen))
        assert found.item() == truth or (math.isnan(truth) and math.isnan(found.item())), seen


def test_powers_of_balls_around_zero_are_no_wider_than_they_are() -> None:
    arb = flint().arb
    x = arb(0, 0.5)
    for k in (2, 3, 4):
        found = power(x, arb(k))
        for t in (-0.5, -0.1, 0.0, 0.3, 0.5):
            assert found.contains(arb(t) ** k)
        low, high = (0.0, 0.5**k) if k % 2 == 0 else (-(0.5**k), 0.5**k)
        assert float(found.lower()) == pytest.approx(low, abs=1e-8)
        assert float(found.upper()) == pytest.approx(high, abs=1e-8)
    assert float(power(x, arb(1)).upper()) == pytest.approx(0.5, abs=1e-8)


def test_a_constant_power_of_zero() -> None:
    assert enclosed("x**0 + y", [0.0, 1.0], 1)[0] == [0.0, 1.0]
    assert enclosed("x**(y - y) + y", [3.0, 1.0], 1)[0][0] == 0.0


@pytest.mark.parametrize(("expr", "value"), [("sigmoid(800)", 1.0), ("sigmoid(-800)", 0.0), ("softplus(-800)", 0.0)])
def test_constants_far_out_do_not_overflow(expr: str, value: float) -> None:
    assert float(evaluate(expr)) == pytest.approx(value, abs=1e-300)
    assert float(evaluate("softplus(800)")) == 800


def test_what_each_output_is_written_with() -> None:
    f = formula(expr=["x*y", "z", "3 + 0*x", "sum(i, 0, 1, y**i)"], at=[1.0, 2.0, 3.0])
    assert f.exact is not None
    assert f.exact.depends() == [[0, 1], [2], [0], [1]]
