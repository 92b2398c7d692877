"""The largest and smallest eigenvalues of a symmetric operator, by products alone, each with its residual.

Lanczos' method with everything measured: A Vᵀ = Vᵀ H + Uᵀ B, where V are the directions multiplied so far and U those
that came out and wait. H and B are inner products with the whole basis, orthogonalised twice, so that no eigenvalue is
found again as a ghost, and no recurrence is trusted. The next direction is the residual of the worst pair wanted: with
one start that is Lanczos' own; with several (a block, or eigenvectors found before) a band of them. When the basis is
full, the best Ritz vectors are kept and the rest given up (thick restart, Wu and Simon 2000); the relation stays.

What one start cannot see are further eigenvectors of the same eigenvalue. So, once the wanted pairs have settled, a
random direction orthogonal to the basis is multiplied a few times: it bounds what can have been missed
(``missed.beyond``), and what it finds joins the basis, so that the search goes on. It cannot see an eigenvector whose
share of the random direction is below t = 2 erfinv(risk)², which happens with probability ``risk``. A look is short:
where many eigenvalues lie close to the last one wanted, its bound stays beyond that one. Then every pair is an
eigenpair, within its residual, but it is not said that it is the k-th.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from math import hypot

import torch
from torch import Tensor

from calclab.numerics.krylov.inner import gaussian, norm, orthogonalise
from calclab.numerics.krylov.missed import beyond
from calclab.numerics.krylov.ritz import Pairs, Ritz, ritz
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
    ``block`` directions are multiplied side by side.

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

    @property
    def capacity(self) -> int:
        """The most vectors in the basis: room for what is kept at a restart, a look, and some to work with."""
        kept = self.top + self.bottom
        return min(self.A.shape[0], max(self.most_basis, 2 * kept + self.check + 2 * self.block + 2))

    def init(self, start: Tensor | None = None) -> State:
        """From random directions, or from ``start`` (n,) or (n, p), such as eigenvectors found before."""
        n = self.A.shape[0]
        like = torch.zeros(0, dtype=self.A.dtype, device=self.A.device)
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
            "coupling": small.new_zeros(len(pending), 0),
            "fresh": torch.tensor(len(pending)),
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

    def step(self, state: State) -> State:
        """One product, or one block of them."""
        if bool(state["done"]):
            return state
        state = self.room(state)
        if len(state["pending"]) == 0:
            state = self.draw(state)
        return self.judge(self.multiply(self.turn(state)))

    def run(self, start: Tensor | None = None, most: int = 1000) -> Pairs:
        """Steps until all is settled, or ``most`` products are spent."""
        state = self.init(start)
        while not bool(state["done"]) and int(state["products"]) < most:
            state = self.step(state)
        return self.pairs(state)

    def pairs(self, state: State) -> Pairs:
        """The pairs wanted, as far as they are known."""
        return self.collect(state, self.top, self.bottom)

    def subspace(self, state: State) -> Pairs:
        """All Ritz pairs of the basis, converged or not: Σ λ is the exact trace of A on what they span."""
        return self.collect(state, len(state["table"]), 0)

    def collect(self, state: State, top: int, bottom: int) -> Pairs:
        m, n = len(state["table"]), self.A.shape[0]
        basis = state["basis"][:m]
        if m == 0 or not bool(state["table"].isfinite().all()):
            none = torch.full((min(top + bottom, m),), torch.nan, dtype=torch.float64)
            vectors = basis.new_full((n, len(none)), torch.nan)
            return Pairs(
                none, vectors, none, none, none > 0, state["products"], min(top, m), state["upper"], state["lower"]
            )
        found = self.ritz(state)
        at = found.ends(top, bottom)
        vectors = (found.vectors[:, at].T.to(basis) @ basis).T
        return Pairs(
            found.values[at],
            vectors,
            found.residuals[at],
            found.estimates()[at],
            self.close(found)[at],
            state["products"],
            min(top, m),
            state["upper"],
            state["lower"],
        )

    def ritz(self, state: State) -> Ritz:
        m = len(state["table"])
        noise = ROUNDINGS * torch.finfo(self.A.dtype).eps * (m * (1 + int(state["restarts"]))) ** 0.5
        return ritz(state["table"], state["coupling"], noise)

    def close(self, found: Ritz) -> Tensor:
        """Which pairs (m,) are near enough to what they stand for: within ``tol``, or all that rounding allows."""
        near = found.residuals <= max(self.tol, 2 * found.noise) * found.scale
        if self.accuracy is not None:
            near = near | (found.estimates() <= self.accuracy * found.scale)
        return near

    def room(self, state: State) -> State:
        """More rows for the basis, or a thick restart where it may not grow."""
        basis, m = state["basis"], len(state["table"])
        needed = m + self.block
        if needed <= len(basis) or len(basis) == self.A.shape[0]:
            return state
        if len(basis) < self.capacity:
            rows = min(2 * len(basis), self.capacity)
            grown = basis.new_zeros(rows, basis.shape[1])
            grown[:m] = basis[:m]
            return {**state, "basis": grown}
        return self.restart(state)

    def restart(self, state: State) -> State:
        """V gives way to its best Ritz vectors: those wanted and their neighbours, a third of the room more."""
        m = len(state["table"])
        found = self.ritz(state)
        spare = max(1, (self.capacity - self.top - self.bottom) // 3)
        share = spare * self.top // max(1, self.top + self.bottom)
        kept = torch.zeros(m, dtype=torch.bool)
        kept[found.ends(self.top + share, self.bottom + spare - share)] = True
        at = kept.nonzero()[:, 0]
        S = found.vectors[:, at]
        basis = torch.zeros_like(state["basis"])
        basis[: len(at)] = S.T.to(basis) @ state["basis"][:m]
        return {
            **state,
            "basis": basis,
            "table": S.T @ state["table"] @ S,
            "coupling": state["coupling"] @ S,
            "restarts": state["restarts"] + 1,
            "look": torch.tensor(-1),
        }

    def draw(self, state: State) -> State:
        """A random direction z, orthogonal to the basis, comes first among those that wait; ‖z‖² is kept."""
        m, pending, coupling = len(state["table"]), state["pending"], state["coupling"]
        z = gaussian(self.A.shape[0], pending, self.seed, int(state["draws"]))
        _, z = orthogonalise(state["basis"][:m], z)
        share, rest = orthogonalise(pending, z)
        size = norm(rest)
        pending = torch.cat([pending, (rest / size)[None]])
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
        if int(state["fresh"]) > 0 or len(pending) <= 1:
            return state
        if int(state["look"]) >= 0:  # along what the last product left, as Lanczos' method has it
            ahead = coupling[:, -1:]
        else:
            found = self.ritz(state)
            troubles = torch.where(self.troubles(found), found.residuals, 0)
            at = troubles.argsort(descending=True, stable=True)[: len(pending)]
            ahead = coupling @ found.vectors[:, at]
        pending, coupling = turned(pending, coupling, ahead)
        return {**state, "pending": pending, "coupling": coupling}

    def multiply(self, state: State) -> State:
        """A times the first ``block`` waiting directions, which join the basis; what is left of A u waits in turn."""
        m, pending, coupling = len(state["table"]), state["pending"], state["coupling"]
        fresh, looking = int(state["fresh"]), int(state["look"]) >= 0
        count = 1 if looking else min(self.block, fresh or len(pending), len(state["basis"]) - m)
        basis, table = state["basis"], state["table"]
        images = self.A @ pending[:count].T
        for column in range(count):
            basis[m] = pending[0]
            known = basis[: m + 1] if len(pending) == 1 else torch.cat([basis[: m + 1], pending[1:]])
            h, w = orthogonalise(known, images[:, column])
            left = norm(w)
            numbers = torch.cat([h, left[None]]).to(table)
            h, left_over = numbers[:-1], float(numbers[-1])
            table = torch.cat([torch.cat([table, coupling[:1]]), h[: m + 1, None]], 1)
            coupling = torch.cat([coupling[1:], h[m + 1 :, None]], 1)
            pending, m = pending[1:], m + 1
            tiny = torch.finfo(self.A.dtype).eps * float(numbers.norm())
            if m + len(pending) < self.A.shape[0] and left_over > tiny:
                pending = torch.cat([pending, (w / left)[None]])
                coupling = torch.cat([coupling, coupling.new_zeros(1, m)])
                coupling[-1, -1] = left_over
        return {
            **state,
            "pending": pending,
            "table": table,
            "coupling": coupling,
            "fresh": torch.tensor(max(0, fresh - count)),
            "products": state["products"] + count,
        }

    def judge(self, state: State) -> State:
        """Whether the wanted pairs have settled, and whether more could have been missed."""
        n, m = self.A.shape[0], len(state["table"])
        if not bool(state["table"].isfinite().all()):
            return {**state, "done": torch.tensor(True)}
        if int(state["fresh"]) > 0:
            return state
        settled = False
        if m >= min(n, max(self.top, self.bottom)):
            found, looking = self.ritz(state), int(state["look"]) >= 0
            settled = not bool((self.far(found) if looking else self.troubles(found)).any())
        state = {**state, "settled": torch.tensor(settled)}
        if m == n:
            none = state["upper"].new_full((), torch.inf)
            return {**state, "upper": -none, "lower": none, "done": torch.tensor(True)}
        if not settled:
            return {**state, "look": torch.tensor(-1)}
        if self.check == 0:
            return {**state, "done": torch.tensor(True)}
        if int(state["look"]) < 0:
            state = self.restart(state) if m + self.check > self.capacity < n else state
            state = {**state, "look": torch.tensor(len(state["table"]))}
            return self.draw(state)
        state = self.bound(state)
        found = self.ritz(state)
        at, slack = found.ends(self.top, self.bottom), 2 * self.tol * found.scale
        fine = True
        if self.top:
            fine &= bool(state["upper"] <= found.values[at[min(self.top, m) - 1]] + slack)
        if self.bottom:
            fine &= bool(state["lower"] >= found.values[at[-1]] - slack)
        spent = m - int(state["look"]) >= self.check or bool(state["coupling"][:, -1].norm() == 0)
        return {**state, "done": torch.tensor(fine or spent)}

    def far(self, found: Ritz) -> Tensor:
        """Which Ritz pairs (m,) are wanted and not yet near enough."""
        wanted = torch.zeros_like(found.values, dtype=torch.bool)
        wanted[found.ends(self.top, self.bottom)] = True
        return wanted & ~self.close(found)

    def troubles(self, found: Ritz) -> Tensor:
        """Which Ritz pairs (m,) keep the wanted ones from standing: those far off, and others that may overtake."""
        m, λ, reach = len(found.values), found.values, found.residuals
        slack = max(self.tol, 2 * found.noise) * found.scale
        trouble = self.far(found)
        if 0 < self.top < m:
            trouble[: m - self.top] |= (λ + reach)[: m - self.top] > λ[m - self.top] + slack
        if 0 < self.bottom < m:
            trouble[self.bottom :] |= (λ - reach)[self.bottom :] < λ[self.bottom - 1] - slack
        return trouble

    def bound(self, state: State) -> State:
        """``upper`` and ``lower`` from a look that began at column m: A = [[W, 0, E], [0, R, C], [Eᵀ, Cᵀ, P]].

        W are the pairs wanted, R the other Ritz values of the first m columns, P the operator on what is orthogonal to
        them, bounded by the look. The eigenvalues beside W lie below those of [[max R, ‖C‖], [‖C‖, max P]], plus ‖E‖
        (Weyl's inequality), and for the smallest in the same way.
        """
        H, first = (state["table"] + state["table"].T) / 2, int(state["look"])
        whole = torch.cat([state["table"], state["coupling"]])
        head, outside = H[:first, :first], whole[first:, :first]
        look = H[first:, first:]
        β = torch.cat([look.diagonal(1), state["coupling"][:, -1].norm()[None]])
        λ, S = torch.linalg.eigh(head)
        reach = outside @ S
        bounds = []
        for sign, count in ((1, self.top), (-1, self.bottom)):
            at = λ.argsort(descending=sign > 0)
            wanted, others = at[:count], at[count:]
            corner = beyond(sign * look.diagonal(), β.abs(), float(state["square"]), self.risk)
            if len(others):
                a, c = float((sign * λ[others]).max()), float(torch.linalg.matrix_norm(reach[:, others], 2))
                corner = (a + corner) / 2 + hypot((a - corner) / 2, c)
            if count:
                corner += float(torch.linalg.matrix_norm(reach[:, wanted], 2))
            bounds.append(λ.new_tensor(sign * corner))
        return {**state, "upper": bounds[0], "lower": bounds[1]}


def orthonormal(rows: Tensor) -> Tensor:
    """Orthonormal rows that span the given ones (p, n); those that add nothing are left out."""
    kept = rows[:0]
    for row in rows:
        _, rest = orthogonalise(kept, row)
        size, before = norm(rest), norm(row)
        if bool(size > 10 * torch.finfo(rows.dtype).eps * before):
            kept = torch.cat([kept, (rest / size)[None]])
    return kept


def turned(pending: Tensor, coupling: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
    """The same space with its first direction along the first column of ``ahead`` (p, q), the next as near as it goes.

    An orthogonal change of basis within the directions that wait: A Vᵀ = Vᵀ H + Uᵀ B stays.
    """
    Q, _ = torch.linalg.qr(ahead, mode="complete")
    return Q.T.to(pending) @ pending, Q.T @ coupling
