"""Operators of subjects: a curvature, or a Jacobian, in the hands of whoever goes on by himself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from calclab.core import Function
from calclab.errors import UserError
from calclab.library.operator import Operator, Shapes
from calclab.numerics.operators import jacobian as jacobian_of
from calclab.schema.topic import OPERATORS
from calclab.subject.network import Network
from calclab.topic.hessian.problem import TITLES, CurvatureProblem, curvature_problem


def curvature(
    subject: Function | Network,
    operator: str = "hessian",
    *,
    parameters: Sequence[str] | None = None,
    rows: int | None = None,
    held_out: bool = False,
    memory: float | None = None,
    lanes: int | None = None,
    seed: int = 0,
) -> Operator:
    """The curvature of a loss or function at its start, (n, n), as an operator: the Hessian, or a relative of it.

    ``operator`` is one of hessian, gauss_newton, fisher, empirical_fisher, gradient_covariance; the keywords are those
    of `hessian`: ``parameters`` or layers to keep to, ``rows`` of the data to use, ``memory`` in gigabytes that kept
    graphs may take, ``lanes`` columns that share a pass.

    >>> import calclab, torch
    >>> H = calclab.curvature(calclab.formula("x**2*y + x*y**2", at=[1, 2]))
    >>> (H @ torch.tensor([1.0, 0.0], dtype=torch.float64)).tolist()
    [4.0, 6.0]
    >>> (H + 2 * H.identity).dense().tolist()
    [[6.0, 6.0], [6.0, 4.0]]
    """
    if operator not in OPERATORS:
        raise UserError(f"operator={operator}: the curvatures are {', '.join(OPERATORS)}. Type hessian")
    if not isinstance(subject, Function | Network):
        raise UserError(
            f"curvature is of a subject, not of a {type(subject).__name__}. Make one: calclab.loss(model, criterion, "
            "data) or calclab.formula('x**2', at=1)"
        )
    problem = curvature_problem(subject, operator, parameters, rows, held_out, memory, lanes, seed)
    found = operator_of(problem)
    found.linear  # noqa: B018  what cannot be had is refused now
    return found


def operator_of(problem: CurvatureProblem) -> Operator:
    """What curvature is asked of, with what is known of a network beyond its products."""
    f, network = problem.function, problem.network
    title, eps = f"{TITLES[problem.kind]} of {f.name}", torch.finfo(f.start.dtype).eps
    if network is None:
        shapes: Shapes = dict.fromkeys(f.variables, ())
        return Operator(title, lambda: problem.A, shapes, shapes, eps)

    def restricted(names: tuple[str, ...]) -> Operator:
        memory = None if problem.memory is None else problem.memory / 1e9
        return operator_of(
            curvature_problem(network, problem.kind, names, None, False, memory, problem.lanes, problem.seed)
        )

    shapes = {name: tuple(network.shapes[name]) for name in problem.named}
    diagonal = problem.exact_diagonal if problem.has_diagonal else None
    return Operator(title, lambda: problem.A, shapes, shapes, eps, restricted, diagonal)


def jacobian_operator(
    subject: Function | Network, *, by: str = "input", row: int = 0, rows: int | None = None
) -> Operator:
    """J_ij = ∂f_i/∂x_j at the start, (m, n), as an operator: ``J @ v`` pushes forward, ``J.T @ u`` pulls back.

    Of a network by the ``input`` of one row, or by the ``parameters``: then of ``rows`` rows from ``row`` on (None:
    all), one under the other, (rows · outputs, n); ``J @ J.T`` is the neural tangent kernel.

    >>> import calclab, torch
    >>> J = calclab.jacobian_operator(calclab.formula(["x0**2 + x1", "x0*x1"], at=[1, 2]))
    >>> (J.T @ torch.tensor([1.0, 1.0], dtype=torch.float64)).tolist()
    [4.0, 2.0]
    """
    if by not in ("input", "parameters"):
        raise UserError(f"by={by}: a Jacobian is by input or by parameters. Type by=parameters")
    if isinstance(subject, Network) and by == "parameters":
        return jacobian_by_parameters(subject, row, rows)
    if by != "input" or rows is not None:
        raise UserError("rows is for by=parameters of a network. Leave it out")
    f = subject.row_response(row) if isinstance(subject, Network) else subject.response()
    into = dict.fromkeys(f.variables, ())
    eps = torch.finfo(f.start.dtype).eps
    made = jacobian_of(f.call, f.start)
    return Operator(f"Jacobian of {f.name}", lambda: made, into, dict.fromkeys(f.outputs or ("f",), ()), eps)


def jacobian_by_parameters(network: Network, row: int, rows: int | None) -> Operator:
    """The outputs of rows of the data by all trainable parameters."""
    whole = network.objective()  # refused without parameters
    there = len(network.data.inputs)
    last = there if rows is None else row + rows
    if not 0 <= row < last <= there:
        raise UserError(f"row={row}, rows={rows}: {network.data.name} has {there} rows. Type row=0, rows={there}")
    x = network.data.inputs[row:last]

    def call(θ: Tensor) -> Tensor:
        return network.evaluate(x, network.unflatten(θ)).reshape(-1)

    made = jacobian_of(call, whole.start)
    into = {name: tuple(shape) for name, shape in network.shapes.items()}
    out = {"outputs": (last - row, made.shape[0] // (last - row))}
    title = f"Jacobian of {network.name} by its parameters"
    return Operator(title, lambda: made, into, out, torch.finfo(whole.start.dtype).eps)


__all__ = ["Operator", "curvature", "jacobian_operator"]
