"""Knobs of the functions. Every function of the zoo is a formula and has the knobs of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from calclab.schema.knob import Schema, knob


@dataclass(frozen=True, kw_only=True)
class Formula(Schema):
    expr: Any = knob(
        "the formula, or a list of formulas for a vector function; sum(i, 0, n - 1, x[i]**2) writes sums",
        "'x**2 + y**2'",
    )
    at: Any = knob(
        "the start: one number for each variable; a shorter list is repeated to n; null is all ones", "'[1, 2]'"
    )
    n: int | None = knob("number of variables, where the formula is written for any", 5, at_least=1, at_most=100_000)
    variables: list[str] | None = knob("the variables in their order; null sorts them", "'[x, y]'")
    domain: list[Any] | None = knob("[low, high] for all variables, or one such pair for each", "'[-2, 2]'")
    minima: list[Any] | None = knob("known minimisers, one list for each", "'[[1, 1]]'")
    source: str = knob("where the function comes from", "'Rosenbrock 1960'")


@dataclass(frozen=True, kw_only=True)
class Links(Schema):
    links: Any = knob(
        "the links of a composition, innermost first, each using the one before", "'[h = x**2, f = h + 1]'"
    )
    at: Any = knob("the start: one number for each variable of the first link; null is all ones", "2")
    n: int | None = knob("number of variables, where the first link is written for any", 5, at_least=1, at_most=100_000)
    variables: list[str] | None = knob("the variables of the first link in their order; null sorts them", "'[x, y]'")
    domain: list[Any] | None = knob("[low, high] for all variables, or one such pair for each", "'[-2, 2]'")
    minima: list[Any] | None = knob("known minimisers, one list for each", "'[[1, 1]]'")
    source: str = knob("where the function comes from", "'a textbook'")


@dataclass(frozen=True, kw_only=True)
class Custom(Schema):
    callable: str | None = knob("dotted path of a Python function of one tensor (n,), giving () or (m,)", "my.module.f")
    at: Any = knob("the start: one number for each variable", "'[1, 2]'")
    arguments: dict[str, Any] | None = knob("further arguments of the callable, by name", "'{scale: 2.0}'")
    variables: list[str] | None = knob("names of the variables; null takes x0, x1, ...", "'[x, y]'")
    outputs: list[str] | None = knob("names of the outputs of a vector function; null takes f0, f1, ...", "'[u, v]'")
    domain: list[Any] | None = knob("[low, high] for all variables, or one such pair for each", "'[-2, 2]'")
    minima: list[Any] | None = knob("known minimisers, one list for each", "'[[1, 1]]'")
    source: str = knob("where the function comes from", "'a paper'")
