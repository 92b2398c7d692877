"""The Jacobian of a vector function, of a network, or of one of its layers, with respect to the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite

import torch
from torch import Tensor, nn

from calclab import schema
from calclab.core import Answer, Bars, Evidence, Function, Heatmap, Labels, Picture, State, Values
from calclab.errors import UserError
from calclab.function.network import Network
from calclab.numerics import operators
from calclab.numerics.spectrum import condition_of_singular_values, rank
from calclab.numerics.tolerance import tolerance_of
from calclab.numerics.verify import check_gradient, check_jacobian, check_singular_values, check_value, identity
from calclab.topic import words
from calclab.topic.base import OneLook
from calclab.topic.hessian import condition_bounds, condition_values
from calclab.topic.layers import Layers
from calclab.topic.rounding import slack

ENTRIES = 20_000  # a Jacobian with more entries is not written; its singular values always are


@dataclass(frozen=True, kw_only=True)
class Jacobian(schema.topic.Jacobian, OneLook):
    """J_ij = ∂f_i/∂x_j at the start, (m, n), with singular values σ descending and κ = σ_1 / σ_min(m, n).

    Of a network: the outputs (or the layer ``layer``) for row ``row`` by its inputs. With ``batch`` = B rows at once
    the array is (B, m, B, n), written as a (B m, B n) matrix: rows do not mix, so it is block-diagonal.
    """

    subject: Function | Network
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.subject, Network):
            if self.layer is not None or self.batch is not None or self.row:
                raise UserError(
                    f"row, layer and batch are for networks, and {self.subject.name} is a function. Leave them out"
                )
            return
        rows, last = len(self.subject.rows), self.row + (self.batch or 1)
        if last > rows:
            raise UserError(
                f"row={self.row}" + (f" batch={self.batch}" if self.batch else "") + f": {self.subject.data.name} has "
                f"{rows} rows, 0 to {rows - 1}. Type for example row={max(0, rows - (self.batch or 1))}"
            )
        if self.batch is not None and self.layer is not None:
            raise UserError("batch and layer do not go together: the batch array is that of the outputs. Leave one out")
        if self.layer is not None and self.layer not in (self.subject.name, *dict(self.subject.module.named_modules())):
            names = [name for name, _ in self.subject.layers()]
            raise UserError(f"layer={self.layer}: {self.subject.name} has none. {words.nearest(self.layer, names)}")
        self.function.call  # noqa: B018  a layer that is never called is refused now and not at the first step

    @cached_property
    def function(self) -> Function:
        """The map that is differentiated, flat input to flat output."""
        network = self.subject
        if not isinstance(network, Network):
            return network.response()
        if self.batch is not None:
            return batched(network, self.row, self.batch)
        return network.row_response(self.row) if self.layer is None else network.layer_response(self.layer, self.row)

    def step(self, state: State, k: int) -> tuple[State, Values]:
        f = self.function
        value = f.call(f.start).detach()
        J = operators.dense_jacobian(f.call, f.start).reshape(-1, len(f.start))
        σ = singular(J)
        new = {"value": value, "jacobian": J, "singular_values": σ}
        values = {"value": value, "singular_values": σ, "frobenius_norm": J.norm(), "spectral_norm": σ.max()}
        return new, values | ({"jacobian": J} if J.numel() <= ENTRIES else {})

    def verify(self, state: State, k: int) -> list[Evidence]:
        f, x, J = self.function, self.function.start, state["jacobian"]
        evidence = check_value(f, x, state["value"], k)
        evidence += check_gradient(f, x, J[0], k) if f.scalar else check_jacobian(f, x, J, k)
        if not f.scalar and bool(J.isfinite().all()):
            evidence += check_singular_values(f, x, state["singular_values"], k)
        if self.weight is not None:
            evidence.append(identity("jacobian", "of a linear network: the weight", J, self.blocks(self.weight), k))
        return evidence + self.adjoint(J, k)

    def adjoint(self, J: Tensor, k: int) -> list[Evidence]:
        """⟨u, Jv⟩ = ⟨Jᵀu, v⟩ with Jv by forward and Jᵀu by reverse mode, for seeded u and v of unit length."""
        call, x = self.function.call, self.function.start
        maker = torch.Generator(device=x.device).manual_seed(self.seed)
        u, v = (torch.randn(size, generator=maker, dtype=x.dtype, device=x.device) for size in J.shape)
        u, v = u / u.norm(), v / v.norm()
        operator = operators.jacobian(call, x)
        try:
            forward = torch.func.jvp(call, (x,), (v,))[1].reshape(-1)
        except (RuntimeError, NotImplementedError):  # an operation without a forward rule: reverse over reverse
            forward = operator @ v
        forward = forward.to(J.dtype)  # a callable of the user's may promote a float32
        left, right = u @ forward, (operator.T @ u) @ v
        norm = float(J.norm())  # of the terms in ⟨u, Jv⟩: their sum may cancel
        known = slack(self.function, x, J, 1, norm)
        allowed = tolerance_of(x.dtype).identity * norm if known is None else known
        near = x + torch.randn(len(x), generator=maker, dtype=x.dtype, device=x.device) * x.abs().clamp(min=1) / 8
        beside = float((operators.jacobian(call, near).T @ u).norm())  # where J vanishes, its terms cancel: their size
        allowed += 64 * tolerance_of(x.dtype).eps * beside if isfinite(beside) else 0.0
        return [
            identity("⟨u, Jv⟩ = ⟨Jᵀu, v⟩", "forward against reverse mode", left, right, k, tolerance=allowed),
            identity("Jv", "forward mode = matrix", forward, J @ v, k, tolerance=allowed),
        ]

    @cached_property
    def weight(self) -> Tensor | None:
        """The weight of a network that is one linear layer: there the Jacobian is known."""
        if not isinstance(self.subject, Network) or self.layer is not None:
            return None
        scan = Layers(self.subject)
        real = [i for i, m in enumerate(scan.tape.modules) if not isinstance(m, nn.Flatten | nn.Identity)]
        if not scan.tape.sequential or len(real) != 1 or not isinstance(scan.tape.modules[real[0]], nn.Linear):
            return None
        own = self.subject.parameters()
        return next((own[name] for name in scan.own[real[0]] if name.rpartition(".")[2] == "weight"), None)

    def blocks(self, weight: Tensor) -> Tensor:
        """The weight once for each row of the batch, along the diagonal."""
        return torch.kron(torch.eye(self.batch or 1, dtype=weight.dtype, device=weight.device), weight)

    def answer(self, state: State) -> Answer:
        f, J, σ = self.function, state["jacobian"], state["singular_values"]
        array = J
        if self.batch is not None:
            array = J.reshape(self.batch, -1, self.batch, len(f.start) // self.batch)
        rest: dict[str, Tensor | str] = {"value": state["value"], "frobenius_norm": J.norm()}
        if J.numel() <= ENTRIES:
            rest["jacobian"] = array
        if self.weight is not None:
            rest["weight"] = self.blocks(self.weight).reshape(array.shape)
        values: dict[str, Tensor | str] = {}
        latex = [] if f.exact is None else f.exact.derivative_latex(1)
        ball = None if f.exact is None or f.scalar else f.exact.singular_values(f.start)
        if ball is not None and not bool((ball.mid.isfinite() & ball.rad.isfinite()).all()):
            ball = None
        if ball is None and not (bool(J.isfinite().all()) and self.exists()):
            values |= {"rank": "undefined", "condition": "undefined", "conditioning": "undefined"}
            values["shape"] = words.shape(array)
            text = f"the Jacobian of {f.name} does not exist at the point: a kink, an infinite slope or an overflow"
            return Answer(text, {**values, "singular_values": σ, **rest}, latex)
        if ball is not None:
            σ = torch.where(ball.mid.abs() <= ball.rad, 0.0, ball.mid)
        condition = condition_of_singular_values(σ, ball)
        found = rank(σ, tuple(J.shape))
        values = {"rank": torch.as_tensor(found), **condition_values(condition, self.threshold)}
        values |= {"singular_values": state["singular_values"], "shape": words.shape(array), **rest}
        values |= condition_bounds(condition)
        text = (
            f"the Jacobian of {f.name} has shape {words.shape(array)} and rank {found} of {len(σ)}; "
            f"singular value{'s' * (len(σ) > 1)} {words.ends(σ)}; {condition.sentence(self.threshold)}"
        )
        if not bool(J.isfinite().all()):
            text += "; these are the proven values: the float program overflows here"
        if J.numel() > ENTRIES:
            text += f"; its {J.numel():,} entries are not written (up to {ENTRIES:,} are)"
        return Answer(text, values, latex)

    def exists(self) -> bool:
        """Whether nothing speaks against a Jacobian here: autograd gives numbers at kinks too."""
        f = self.function
        return f.exact is None or not bool(f.exact.enclose(f.start, 1).mid.isnan().any())

    def labels(self) -> Labels:
        f = self.function
        m = len(f.outputs) or 1
        labels: dict[str, tuple[Sequence[str], ...]] = {
            "singular_values": (tuple(f"σ{i + 1}" for i in range(min(m, len(f.start)))),),
            "jacobian": (f.outputs or (f.name,), f.variables),
        }
        return labels if f.scalar else labels | {"value": (f.outputs,)}

    def pictures(self) -> Sequence[Picture]:
        small = len(self.function.start) * (len(self.function.outputs) or 1) <= ENTRIES
        return [*([Heatmap("jacobian", "jacobian")] if small else []), Bars("singular_values", "singular_values")]


def singular(J: Tensor) -> Tensor:
    """Singular values, descending; NaN where J is not finite, which LAPACK would refuse."""
    finite = J.isfinite().all()
    return torch.where(finite, torch.linalg.svdvals(torch.where(finite, J, torch.zeros_like(J))), torch.nan)


def batched(network: Network, row: int, batch: int) -> Function:
    """The outputs of ``batch`` rows, from ``row`` on, as a map of all their inputs: (batch d,) to (batch m,)."""
    one = network.row_response(row)
    return Function(
        name=network.name,
        call=lambda x: network.batch_outputs(x.reshape(batch, -1)).reshape(-1),
        start=network.rows[row : row + batch].reshape(-1),
        variables=tuple(f"{row + b}.{name}" for b in range(batch) for name in one.variables),
        outputs=tuple(f"{row + b}.{name}" for b in range(batch) for name in one.outputs),
    )
