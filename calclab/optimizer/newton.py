"""Newton's method, which asks the Hessian: raw, and damped so that it goes only downhill.

The step s = -H⁻¹ g goes to the stationary point of f(x) + gᵀs + ½ sᵀHs. Near one where H is regular and Lipschitz, the
error is squared at every step (Nocedal and Wright, theorem 3.5); it does not depend on the units of x. The Hessian is
formed, n backward passes, and solved for, n³/3 operations: ``limit`` bounds n, and UserError names what to type beyond.

>>> import calclab
>>> f = calclab.formula("x**2 + 100*y**2 + x*y", at=[3, -2])
>>> calclab.descent(f, optimizer="newton", lr=1, steps=1, tol=0).x.abs().max() < 1e-12  # one step on a quadratic
tensor(True)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from calclab import schema
from calclab.core import Function, Point, State
from calclab.errors import UserError
from calclab.numerics.operators import dense_hessian
from calclab.optimizer import theory
from calclab.optimizer.counting import Counting, counter
from calclab.optimizer.levenberg import search
from calclab.optimizer.theory import Theory


def refuse_many(name: str, n: int, limit: int) -> None:
    if n > limit:
        raise UserError(
            f"optimizer={name} forms the Hessian, of {n} variables here and {limit} at most. "
            f"Type optimizer=lbfgs, or optimizer.limit={n}"
        )


@dataclass(frozen=True, kw_only=True)
class Newton(schema.optimizer.Newton, Counting):
    """x_{k+1} = x_k - lr H_k⁻¹ g_k, and nothing to hold it back: it goes to the stationary point of the local
    quadratic, be it a minimum, a saddle or a maximum. Where H is singular to the last bit it leaves the finite numbers.
    """

    def admit(self, function: Function) -> None:
        """UserError where there are too many variables."""
        refuse_many("newton", len(function.start), self.limit)

    def init(self, x: Tensor) -> State:
        refuse_many("newton", len(x), self.limit)
        return {"spent": counter(x)}

    def update(self, point: Point, state: State, lr: float | Tensor) -> tuple[Tensor, State]:
        H = dense_hessian(point.function.call, point.x)
        s, info = torch.linalg.solve_ex((H + H.T) / 2, point.gradient)
        s = torch.where(info == 0, s, torch.nan)
        return s * -lr, {"spent": state["spent"] + len(point.x)}

    def theory(self, smallest: float, largest: float) -> Theory:
        return theory.newton()


@dataclass(frozen=True, kw_only=True)
class DampedNewton(schema.optimizer.DampedNewton, Counting):
    """(|H| + λ I) s = -g, x_{k+1} = x_k + lr s, only ever downhill: |H| has the absolute eigenvalues of H, so that s
    leads away from saddles and maxima (Dauphin et al. 2014), and λ is held as Levenberg (1944) has it: four times
    as large until f falls enough, and a quarter when it did at once. Near a minimum it is Newton's method.
    """

    def admit(self, function: Function) -> None:
        """UserError where there are too many variables."""
        refuse_many("damped_newton", len(function.start), self.limit)

    def init(self, x: Tensor) -> State:
        refuse_many("damped_newton", len(x), self.limit)
        return {"damping": x.new_tensor(self.damping), "spent": counter(x)}

    def update(self, point: Point, state: State, lr: float | Tensor) -> tuple[Tensor, State]:
        raw = dense_hessian(point.function.call, point.x)
        H = (raw + raw.T) / 2
        if not bool(H.isfinite().all()):  # a kink or beyond the numbers: LAPACK would refuse
            H = torch.zeros_like(H)
        λ, V = torch.linalg.eigh(H)
        g = V.T @ point.gradient

        def step(damping: Tensor) -> Tensor:
            return V @ (g / (λ.abs() + damping)) * -lr

        move, damping, trials = search(point, step, state["damping"])
        return move, {"damping": damping, "spent": state["spent"] + len(point.x) + trials}
