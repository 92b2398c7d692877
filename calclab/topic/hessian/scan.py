"""Curvature at a point: the Hessian or a relative of it, its eigenvalues, what they say, and the condition number."""

from __future__ import annotations

from typing import Any

from calclab.core import Function
from calclab.errors import UserError
from calclab.schema.topic import Hessian as Knobs
from calclab.subject.network import Network
from calclab.topic.hessian.dense import Dense
from calclab.topic.hessian.matrix_free import MatrixFree
from calclab.topic.hessian.problem import curvature_problem


def hessian(subject: Function | Network, *, seed: int = 0, **knobs: Any) -> Dense | MatrixFree:
    """A at the start: H_ij = ∂²f/∂x_i∂x_j, (n, n), or what ``operator`` names; ``knobs`` are those of the topic.

    Of a network f is the mean loss over its rows, as a function of its trainable parameters. Small matrices are formed
    (`Dense`); larger ones are known by their products (`MatrixFree`), a scan that takes one product after the other.
    Raises UserError for knobs that do not go together.
    """
    asked = Knobs(seed=seed, **knobs)
    parts = (asked.operator, asked.parameters, asked.rows, asked.held_out, asked.memory, asked.lanes)
    problem = curvature_problem(subject, *parts, seed)
    refuse(problem.n, subject, asked)
    layers = problem.layers() if asked.layers else ()
    dense = asked.matrix == "always" or (asked.matrix == "auto" and problem.n <= asked.limit)
    return (Dense if dense else MatrixFree)(problem, asked, layers, seed)


def refuse(n: int, subject: Function | Network, asked: Knobs) -> None:
    """UserError for what cannot be had of this subject with n variables."""
    if asked.matrix == "always" and n > asked.limit:
        raise UserError(
            f"limit={asked.limit}: {subject.name} has {n:,} variables, and the matrix would have {n * n:,} "
            f"entries. Type limit={n} to form it all the same, or matrix=never to go by products"
        )
    if asked.layers and not isinstance(subject, Network):
        raise UserError(f"layers=true: {subject.name} is a function and has no layers. Leave layers out")
    if asked.against is not None and (not isinstance(subject, Network) or asked.against == asked.operator):
        raise UserError(
            f"against={asked.against}: another operator of a network. Type for example "
            "operator=hessian against=gauss_newton"
        )
