"""Rigorous eigenvalues and singular values of matrices of balls.

Small matrices: Arb's own certified eigenvalues, which also hold for multiple ones (Johansson's acb_mat_eig_multiple).
Larger ones, or where that fails: an approximate eigenvector basis Q in float64. With e >= ‖QᵀQ − I‖ < 1 the orthogonal
polar factor U of Q is within e of Q, so the eigenvalues of H = those of UᵀHU lie within ‖H‖(2e + e²) + ‖off-diagonal of
QᵀHQ‖ of the diagonal of QᵀHQ, in order (Weyl).

No precision tells zero from a tiny number. Where a ball holds zero and every entry is an exact number, as of a
quadratic, the eigenvalues are the roots of an integer polynomial: zero exactly, or with a sign that is certain.
"""

from __future__ import annotations

from typing import Any

import torch

from calclab.subject.formula.rules import flint

Arb = Any
Matrix = list[list[Arb]]
SMALL = 16  # rows up to which Arb's certified eigenvalues are quick
LARGEST = 300  # rows beyond which nothing is enclosed
BITS = 20_000  # rows times bits of an integer entry up to which a characteristic polynomial is formed


def eigenvalues(matrix: Matrix) -> list[Arb]:
    """Eigenvalues of a symmetric matrix, ascending."""
    fl = flint()
    n = len(matrix)
    if n == 1:
        return [matrix[0][0]]
    if is_diagonal(matrix):
        return ordered([matrix[i][i] for i in range(n)])
    symmetric = [[matrix[max(i, j)][min(i, j)] for j in range(n)] for i in range(n)]
    try:
        found = [value.real for value in fl.acb_mat(symmetric).eig(multiple=True)] if n <= SMALL else []
    except ValueError:  # clusters that are not told apart at this precision
        found = []
    if n <= SMALL and not (found and all(value > 0 or value < 0 for value in found)):
        found = roots(symmetric) or found
    if not all(value.is_finite() for value in found):  # entries of very different sizes
        found = []
    return ordered(found) if found else rotated(symmetric)


def roots(matrix: Matrix) -> list[Arb]:
    """Eigenvalues of a symmetric matrix of exact numbers, each as often as it occurs: the roots of its characteristic
    polynomial over the integers. Empty where an entry is not exact, or the integers would be too long.
    """
    fl = flint()
    entries = [entry for row in matrix for entry in row]
    if not all(entry.is_exact() and entry.is_finite() for entry in entries):
        return []
    parts = [tuple(int(part) for part in entry.man_exp()) for entry in entries]  # entry = p · 2^e
    least = min((e for p, e in parts if p), default=0)
    if len(matrix) * max((p.bit_length() + e - least for p, e in parts if p), default=0) > BITS:
        return []
    whole = fl.fmpz_mat(len(matrix), len(matrix), [p << (e - least) if p else 0 for p, e in parts])
    unit = fl.arb(2) ** least
    return [unit * fl.arb(root.real) for root, times in whole.charpoly().complex_roots() for _ in range(times)]


def singular_values(matrix: Matrix) -> list[Arb]:
    """Singular values, descending: roots of the eigenvalues of J Jᵀ or JᵀJ, whichever is smaller."""
    rows, columns = len(matrix), len(matrix[0])
    if rows > columns:
        matrix = [[matrix[i][j] for i in range(rows)] for j in range(columns)]
    J = flint().arb_mat(matrix)
    squares = eigenvalues((J * J.transpose()).tolist())
    return [root(value) for value in reversed(squares)]


def sign_of_determinant(matrix: Matrix) -> list[Arb]:
    """1 or -1, or the ball from -1 to 1 where that is not certain at this precision."""
    arb, det = flint().arb, flint().arb_mat(matrix).det()
    return [arb(1) if det > 0 else arb(-1) if det < 0 else arb(0, 1)]


def root(value: Arb) -> Arb:
    """√ of a number known not to be negative."""
    if value > 0:
        return value.sqrt()
    upper = value.upper()
    if not upper > 0:
        return flint().arb(0)
    high = upper.sqrt()
    return (high / 2).union(flint().arb(0)).union(high)


def is_diagonal(matrix: Matrix) -> bool:
    return all(entry.is_zero() for i, row in enumerate(matrix) for j, entry in enumerate(row) if i != j)


def ordered(values: list[Arb]) -> list[Arb]:
    """Balls for the order statistics: the k-th smallest number lies between the k-th smallest lower and upper ends."""
    lows = sorted((value.lower() for value in values), key=Key)
    highs = sorted((value.upper() for value in values), key=Key)
    return [low.union(high) for low, high in zip(lows, highs, strict=True)]


class Key:
    """Sorts exact balls."""

    def __init__(self, value: Arb) -> None:
        self.value = value

    def __lt__(self, other: Key) -> bool:
        return bool(self.value < other.value)


def rotated(matrix: Matrix) -> list[Arb]:
    """Weyl's bounds around the diagonal of QᵀHQ."""
    fl = flint()
    H = fl.arb_mat(matrix)
    n = len(matrix)
    unknown = [fl.arb(0, float("inf"))] * n
    if not all(entry.is_finite() for entry in H.entries()):
        return unknown
    unit = fl.arb(2) ** -exponent(H.entries())  # so that float64 holds the largest entry, whatever it is
    middle = torch.tensor([[float((entry * unit).mid()) for entry in row] for row in matrix], dtype=torch.float64)
    try:
        Q = fl.arb_mat(torch.linalg.eigh(middle).eigenvectors.tolist())
    except RuntimeError:  # torch's LinAlgError
        return unknown
    B = (Q.transpose() * H * Q).tolist()
    G = (Q.transpose() * Q).tolist()
    e = norm([G[i][j] - (1 if i == j else 0) for i in range(n) for j in range(n)])
    if not e < 0.5:
        return unknown
    slack = norm(H.entries()) * (2 * e + e**2) + norm([B[i][j] for i in range(n) for j in range(n) if i != j])
    radius = fl.arb(0).union(slack.upper())
    return ordered([B[i][i] + radius.union(-radius) for i in range(n)])


def exponent(entries: list[Arb]) -> int:
    """The power of two just above the largest entry; 0 where all are 0."""
    sizes = [abs(entry).upper().man_exp() for entry in entries]
    return max((int(m).bit_length() + int(e) for m, e in sizes if m), default=0)


def norm(entries: list[Arb]) -> Arb:
    """Frobenius norm, at least."""
    square = flint().arb(0)
    for entry in entries:
        square = square + abs(entry).upper() ** 2
    return square.upper().sqrt().upper() if square.upper() > 0 else flint().arb(0)
