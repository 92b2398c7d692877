"""Pictures of a function near a point, as data: tangents, gradients, curvature, how a map deforms the plane.

Each holds the function, which is evaluated when the picture's record is made, and names the values that it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from calclab.core.question import Function

Slopes = Callable[[], Tensor]
"""Slopes (2, n) along each variable from below and from above: equal where there is a derivative, NaN where there is
none from that side, or none is known."""


@dataclass(frozen=True)
class Tangent:
    """``function`` along its variable number ``index`` with its tangent at the start, secants that close in, and
    enlargements until the curve is straight."""

    name: str
    function: Function
    index: int
    slopes: Slopes

    @property
    def shows(self) -> tuple[str, ...]:
        return ("h",)


@dataclass(frozen=True)
class Gradient:
    """``function`` along each of its variables with its tangent; of two variables also the contours, with the gradient
    standing perpendicular to the one through the point."""

    name: str
    function: Function
    slopes: Slopes

    @property
    def shows(self) -> tuple[str, ...]:
        return ("gradient",)


@dataclass(frozen=True)
class Walk:
    """The trajectory ``path`` of one variable, on the curve of ``function``."""

    name: str
    path: str
    function: Function

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.path,)


@dataclass(frozen=True)
class Curvature:
    """``function`` of two variables around its start: contours, the ellipse dᵀHd = c, eigenvectors as long as their
    eigenvalues say, -∇f and Newton's step beside each other."""

    name: str
    function: Function

    @property
    def shows(self) -> tuple[str, ...]:
        return ("hessian", "gradient", "eigenvalues", "eigenvectors")


@dataclass(frozen=True)
class Discs:
    """Gershgorin's discs of the symmetric matrix ``matrix``, one for each row, with its ``eigenvalues``."""

    name: str
    matrix: str
    eigenvalues: str

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.matrix, self.eigenvalues)


@dataclass(frozen=True)
class Deformation:
    """What a map of the plane to the plane does around its start: a grid and its image, a circle and its ellipse, of
    which the singular values of ``matrix``, its Jacobian, are the half axes."""

    name: str
    function: Function
    matrix: str

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.matrix,)
