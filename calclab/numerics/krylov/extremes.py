"""The largest and smallest eigenvalues of a symmetric operator, by products alone, each with its residual.

Lanczos' method with everything measured: A Vᵀ = Vᵀ H + Uᵀ B, where V are the directions multiplied so far and U those
that came out and wait. H and B are inner products with the whole basis, orthogonalised twice, so that no eigenvalue is
found again as a ghost, and no recurrence is trusted. The next direction is the residual of the worst pair wanted: with
one start that is Lanczos' own; with several (a block, or eigenvectors found before) a band of them. When the basis is
full, the best Ritz vectors are kept and the rest given up (thick restart, Wu and Simon 2000); the relation stays.

What one start cannot see are further eigenvectors of the same eigenvalue. So, once the wanted pairs have settled, a
random direction orthogonal to the basis is multiplied a few times: it bounds what can have been missed
(``undetected_eigenvalues``), and what it finds joins the basis, so that the search goes on. It cannot see an
eigenvector whose share of the random direction is below t = 2 erfinv(risk)², which happens with probability ``risk``.
A look is short: where many eigenvalues lie close to the last one wanted, its bound stays beyond that one. Then every
pair is an eigenpair, within its residual, but it is not said that it is the k-th.

What is known of the result: for a Ritz pair (λ, y), some eigenvalue of A lies within ‖A y - λ y‖ of λ, whatever
rounding has done before (Parlett 1998, theorem 4.5.1); and after m products from a random start the largest Ritz value
is off by at most (λ_1 - λ_n) (tan θ / T_{m-1}(1 + 2γ))², γ = (λ_1 - λ_2)/(λ_2 - λ_n), θ the angle to the start, T the
Chebyshev polynomial (Saad 2011, theorem 6.4): the better the eigenvalue is set apart, the sooner it is there.

Assumed: A is symmetric and the same at every product; where it is not, ‖H s - λ s‖ shows it, as a part of the residual
that no product makes smaller. Cost: a product a step, and 4 m n operations to orthogonalise against m vectors.

>>> from calclab.numerics.operators import hessian
>>> d = torch.tensor([5.0, 5.0, 1.0, -2.0], dtype=torch.float64)  # a double eigenvalue, which one start cannot see
>>> A = hessian(lambda x: (d * x * x).sum() / 2, torch.zeros(4, dtype=torch.float64))
>>> found = Extremes(A, top=2, bottom=1, tol=1e-10).run()
>>> found.values.round(decimals=8).tolist(), bool((found.residuals < 1e-8).all())
([5.0, 5.0, -2.0], True)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from math import isfinite

import torch
from torch import Tensor

from calclab.numerics.krylov.basis import combined, gaussian, grown, norm, orthogonalise, orthonormal, turned
from calclab.numerics.krylov.ritz import Goal, Pairs, Ritz, ritz
from calclab.numerics.krylov.undetected_eigenvalues import bounds_on_others
from calclab.numerics.operators import LinearOperator

State = Mapping[str, Tensor]

ROUNDINGS = 4.0  # residuals are known to this many roundings of the basis's type, times √m
ROWS = 16  # a basis begins with room for so many, and doubles


@dataclass(frozen=True)
class Extremes:
    """``top`` largest and ``bottom`` smallest eigenvalues of ``A`` (n, n), as a scan.

    A pair is settled when its residual is at most ``tol`` of the largest |λ| found, or, if ``accuracy`` is given, when
    the estimate of its error is at most that. ``most_basis`` bounds the vectors held. ``check`` is the most products
    that one look for missed eigenvalues may take (0: none), ``risk`` the probability that such a look errs.
    ``block`` directions are multiplied side by side. ``kept`` is the type of the vectors held, None A's own: of an
    operator that computes in float32 and adds up in float64 float32 will do; inner products are in float64 anyway.

    The state is a dict of tensors: ``basis`` (rows, n), of which the first ``table.shape[0]`` are V, appended to in
    place; ``pending`` U (p, n); ``table`` H (m, m) and ``coupling`` B (p, m) in float64 on the CPU.
    """

    A: LinearOperator
    _: KW_ONLY
    top: int = 1
    bottom: int = 0
    tol: float = 1e-3
    accuracy: float | None = None
    most_basis: int = 64
    block: int = 1
    check: int = 8
    risk: float = 0.01
    seed: int = 0
    kept: torch.dtype | None = None

    @property
    def capacity(self) -> int:
        """The most vectors in the basis: room for what is kept at a restart, a look, and some to work with."""
        kept = self.top + self.bottom
        return min(self.A.shape[0], max(self.most_basis, 2 * kept + self.check + 2 * self.block + 2))

    def init(self, start: Tensor | None = None) -> State:
        """From random directions, or from ``start`` (n,) or (n, p), such as eigenvectors found before."""
        n = self.A.shape[0]
        like = torch.zeros(0, dtype=self.dtype, device=self.A.device)
        draws = 0
        if start is None:
            draws = min(self.block, n)
            start = torch.stack([gaussian(n, like, self.seed, draw) for draw in range(draws)], 1)
        pending = orthonormal(start.reshape(n, -1).T.to(like))
        small = torch.zeros(0, dtype=torch.float64)
        return {
            "basis": like.new_zeros(min(ROWS, self.capacity), n),
            "pending": pending,
            "table": small.new_zeros(0, 0),
            "coupling": small.new_zeros(pending.shape[0], 0),
            "fresh": torch.tensor(pending.shape[0]),
            "draws": torch.tensor(draws),
            "products": torch.tensor(0),
            "restarts": torch.tensor(0),
            "look": torch.tensor(-1),  # the column where a look for missed eigenvalues began
            "square": small.new_zeros(()),  # ‖z‖² of its random direction
            "upper": small.new_full((), torch.inf),
            "lower": small.new_full((), -torch.inf),
            "settled": torch.tensor(False),
            "done": torch.tensor(n == 0),
        }

    @property
    def dtype(self) -> torch.dtype:
        """Of the vectors held."""
        return self.A.dtype if self.kept is None else self.kept

    @property
    def goal(self) -> Goal:
        return Goal(self.top, self.bottom, self.tol, self.accuracy)

    def step(self, state: State, *, spend: bool = False) -> State:
        """One product, or one block of them; ``spend``: nobody needs the state given any more, its basis may be turned
        where it is."""
        if bool(state["done"]):
            return state
        state = self.room(state, spend)
        if state["pending"].shape[0] == 0:
            state = self.draw(state)
        return self.judge(self.multiply(self.turn(state)))

    def run(self, start: Tensor | None = None, most: int = 1000) -> Pairs:
        """Steps until all is settled, or ``most`` products are spent."""
        state = self.init(start)
        while not bool(state["done"]) and int(state["products"]) < most:
            state = self.step(state, spend=True)
        return self.pairs(state)

    def pairs(self, state: State) -> Pairs:
        """The pairs wanted, as far as they are known."""
        return self.collect(state, self.top, self.bottom)

    def subspace(self, state: State) -> Pairs:
        """All Ritz pairs of the basis, converged or not: Σ λ is the exact trace of A on what they span."""
        return self.collect(state, state["table"].shape[0], 0)

    def collect(self, state: State, top: int, bottom: int) -> Pairs:
        """So many Ritz pairs from both ends, with vectors (n, k) put together from the basis; NaN where a product was
        not finite."""
        m, n = state["table"].shape[0], self.A.shape[0]
        basis = state["basis"][:m]
        if m == 0 or not bool(state["table"].isfinite().all()):
            none = torch.full((min(top + bottom, m),), torch.nan, dtype=torch.float64)
            vectors = basis.new_full((n, len(none)), torch.nan)
            return Pairs(
                none, vectors, none, none, none > 0, state["products"], min(top, m), state["upper"], state["lower"]
            )
        found = self.ritz(state)
        at = found.ends(top, bottom)
        vectors = combined(found.vectors[:, at], basis).T
        return Pairs(
            found.values[at],
            vectors,
            found.residuals[at],
            found.estimates()[at],
            self.goal.close(found)[at],
            state["products"],
            min(top, m),
            state["upper"],
            state["lower"],
        )

    def ritz(self, state: State) -> Ritz:
        """All Ritz pairs of the basis in its own coordinates: eigenpairs of H (m, m)."""
        return ritz(state["table"], state["coupling"], self.noise(state))

    def noise(self, state: State) -> float:
        """What rounding may add to a residual, relative to the largest |λ|."""
        m = state["table"].shape[0]
        noise: float = ROUNDINGS * torch.finfo(self.dtype).eps * (m * (1 + int(state["restarts"]))) ** 0.5
        return noise

    def room(self, state: State, spend: bool = False) -> State:
        """More rows for the basis, or a thick restart where it may not grow.

        Room is doubled as it is needed: most searches end long before ``most_basis``, which is memory.
        """
        basis, m = state["basis"], state["table"].shape[0]
        needed = m + self.block
        if needed <= basis.shape[0] or basis.shape[0] == self.A.shape[0]:
            return state
        if basis.shape[0] < self.capacity:
            return {**state, "basis": grown(basis, m, min(2 * basis.shape[0], self.capacity))}
        return self.restart(state, spend)

    def restart(self, state: State, spend: bool = False) -> State:
        """V gives way to its best Ritz vectors: those wanted and their neighbours, a third of the room more.

        With V <- Sᵀ V for eigenvectors S of H the relation becomes A Vᵀ = Vᵀ SᵀHS + Uᵀ BS: nothing waits to be
        repaired, and the next product goes on where the last one ended.
        """
        m, basis = state["table"].shape[0], state["basis"]
        found = self.ritz(state)
        spare = max(1, (self.capacity - self.top - self.bottom) // 3)
        share = spare * self.top // max(1, self.top + self.bottom)
        kept = torch.zeros(m, dtype=torch.bool)
        kept[found.ends(self.top + share, self.bottom + spare - share)] = True
        S = found.vectors[:, kept]
        return {
            **state,
            "basis": combined(S, basis[:m], basis if spend else torch.zeros_like(basis)),
            "table": S.T @ state["table"] @ S,
            "coupling": state["coupling"] @ S,
            "restarts": state["restarts"] + 1,
            "look": torch.tensor(-1),
        }

    def draw(self, state: State) -> State:
        """A random direction z, orthogonal to the basis, comes first among those that wait; ‖z‖² is kept.

        It is put within the span of what waits and itself by a turn, so that the relation A Vᵀ = Vᵀ H + Uᵀ B stays
        exact, and nothing that was waiting is lost.
        """
        m, pending, coupling = state["table"].shape[0], state["pending"], state["coupling"]
        z = gaussian(self.A.shape[0], pending, self.seed, int(state["draws"]))
        _, z = orthogonalise([state["basis"][:m]], z)
        share, rest = orthogonalise([pending], z)
        size = norm(rest)
        pending = torch.cat([pending, (rest / size)[None].to(pending)])
        coupling = torch.cat([coupling, coupling.new_zeros(1, m)])
        ahead = torch.cat([share, size[None]]).cpu().to(coupling)
        pending, coupling = turned(pending, coupling, ahead[:, None])
        return {
            **state,
            "pending": pending,
            "coupling": coupling,
            "fresh": torch.tensor(1),
            "draws": state["draws"] + 1,
            "square": ahead @ ahead,
        }

    def turn(self, state: State) -> State:
        """The waiting directions, turned so that the first ones are those to multiply next."""
        pending, coupling = state["pending"], state["coupling"]
        if int(state["fresh"]) > 0 or pending.shape[0] <= 1:
            return state
        if int(state["look"]) >= 0:  # along what the last product left, as Lanczos' method has it
            ahead = coupling[:, -1:]
        else:
            found = self.ritz(state)
            troubles = torch.where(self.goal.troubles(found), found.residuals, 0)
            at = troubles.argsort(descending=True, stable=True)[: pending.shape[0]]
            ahead = coupling @ found.vectors[:, at]
        pending, coupling = turned(pending, coupling, ahead)
        return {**state, "pending": pending, "coupling": coupling}

    def multiply(self, state: State) -> State:
        """A times the first ``block`` waiting directions, which join the basis; what is left of A u waits in turn.

        What is left is nothing where the span is invariant: then fewer directions wait, and once none does, all of the
        spectrum that the starts can see is known. A product that is not finite ends the search.
        """
        m, pending, coupling = state["table"].shape[0], state["pending"], state["coupling"]
        fresh, looking = int(state["fresh"]), int(state["look"]) >= 0
        count = 1 if looking else min(self.block, fresh or pending.shape[0], len(state["basis"]) - m)
        basis, table, eps = state["basis"], state["table"], torch.finfo(self.dtype).eps
        images = self.A @ pending[:count].T.to(self.A.dtype)
        ended = False
        for column in range(count):
            basis[m] = pending[0]
            m, pending = m + 1, pending[1:]
            h, w = orthogonalise([basis[:m], pending] if pending.shape[0] else [basis[:m]], images[:, column])
            left = norm(w)
            h = torch.cat([h, left[None]]).to(table)
            sizes = h.tolist()
            left_over, size = sizes[-1], sum(map(abs, sizes))
            ended |= not isfinite(size)
            table = torch.cat([torch.cat([table, coupling[:1]]), h[:m, None]], 1)
            if m + pending.shape[0] < self.A.shape[0] and left_over > eps * size:
                rest = (w / left)[None].to(basis)
                pending = torch.cat([pending, rest]) if pending.shape[0] else rest
                lower = torch.nn.functional.pad(coupling[1:], (0, 0, 0, 1))
                coupling = torch.cat([lower, h[m:, None]], 1)
            else:
                coupling = torch.cat([coupling[1:], h[m:-1, None]], 1)
        new = {"pending": pending, "table": table, "coupling": coupling, "products": state["products"] + count}
        if fresh:
            new["fresh"] = torch.tensor(max(0, fresh - count))
        return {**state, **new, "done": torch.tensor(True)} if ended else {**state, **new}

    def judge(self, state: State) -> State:
        """Whether the wanted pairs have settled, and whether more could have been missed."""
        n, m = self.A.shape[0], state["table"].shape[0]
        if bool(state["done"]) or int(state["fresh"]) > 0:
            return state
        settled, small = False, (state["table"], state["coupling"], self.noise(state))
        if m >= min(n, max(self.top, self.bottom)) and (m == n or not self.goal.missed_at_a_glance(*small)):
            found, looking = self.ritz(state), int(state["look"]) >= 0
            settled = not bool((self.goal.far(found) if looking else self.goal.troubles(found)).any())
        if bool(state["settled"]) != settled:
            state = {**state, "settled": torch.tensor(settled)}
        if m == n:
            none = state["upper"].new_full((), torch.inf)
            return {**state, "upper": -none, "lower": none, "done": torch.tensor(True)}
        if not settled:
            return state if int(state["look"]) < 0 else {**state, "look": torch.tensor(-1)}
        if self.check == 0:
            return {**state, "done": torch.tensor(True)}
        if m + state["pending"].shape[0] == n:  # nothing to look for but what waits
            return state
        if int(state["look"]) < 0:
            state = self.restart(state) if m + self.check > self.capacity < n else state
            state = {**state, "look": torch.tensor(state["table"].shape[0])}
            return self.draw(state)
        table, coupling, look = state["table"], state["coupling"], int(state["look"])
        upper, lower = bounds_on_others(
            table, coupling, look, (self.top, self.bottom), float(state["square"]), self.risk
        )
        state = {**state, "upper": upper, "lower": lower}
        found = self.ritz(state)
        at, slack = found.ends(self.top, self.bottom), 2 * self.tol * found.scale
        fine = True
        if self.top:
            fine &= bool(state["upper"] <= found.values[at[min(self.top, m) - 1]] + slack)
        if self.bottom:
            fine &= bool(state["lower"] >= found.values[at[-1]] - slack)
        spent = m - look >= self.check or bool(state["coupling"][:, -1].norm() == 0)
        return {**state, "done": torch.tensor(fine or spent)}
