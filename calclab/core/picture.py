"""What is to be seen of a run, as data: each kind names the values that it is made of (``shows``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from calclab.core.question import Function


class Picture(Protocol):
    """What every kind has; how each is recorded and drawn is told in `calclab.figure.kinds`."""

    @property
    def name(self) -> str: ...

    @property
    def shows(self) -> tuple[str, ...]:
        """Names of the values that the picture is made of."""
        ...


@dataclass(frozen=True)
class Guide:
    """Theory beside a curve: the line y_0 ρ^(power k), y_0 being the value of ``of`` at its first step, k counted from
    there, or a number. ``factor`` is ρ, or the scalar that holds it."""

    name: str
    of: str | float
    factor: float | str
    power: float = 1.0


@dataclass(frozen=True)
class Curves:
    """Scalars over the scan, in one picture: horizontal axis ``against`` ("step" or a scalar's name), called ``axis``
    where a step is a row or a layer. ``guides`` are drawn over steps only."""

    name: str
    columns: tuple[str, ...]
    against: str = "step"
    log: str = "y"  # which axes are logarithmic: "", "x", "y" or "xy"
    axis: str = ""
    guides: tuple[Guide, ...] = ()

    @property
    def shows(self) -> tuple[str, ...]:
        guides = (name for guide in self.guides for name in (guide.of, guide.factor) if isinstance(name, str))
        return (*self.columns, self.against, *guides)


@dataclass(frozen=True)
class Contours:
    """The trajectory ``path`` of two variables over filled contours of ``function``."""

    name: str
    path: str
    function: Function

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.path,)


@dataclass(frozen=True)
class PrincipalPlane:
    """The trajectory ``path`` of many variables in the plane of its two principal directions, over contours of
    ``function`` there; beside it the loss on the path and on the plane, and how far the path is from the plane.
    """

    name: str
    path: str
    function: Function

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.path,)


@dataclass(frozen=True)
class Heatmap:
    """The matrix ``matrix`` of the last step at which it was logged, annotated with its numbers where they fit."""

    name: str
    matrix: str

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.matrix,)


@dataclass(frozen=True)
class Bars:
    """One bar for each entry of the vector ``vector``, by its last row, largest first when ``ranked``; with an interval
    from the vector ``low`` to the vector ``high``, where these are named."""

    name: str
    vector: str
    ranked: bool = False
    low: str = ""
    high: str = ""

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.vector, self.low, self.high) if self.low else (self.vector,)


@dataclass(frozen=True)
class Spread:
    """A line with a band for each row of the matrix ``middle``, between those of ``middle``_25 and ``middle``_75, over
    the rows of the matrix ``across``, which is called ``axis``: of the last step at which they were logged. Both axes
    are logarithmic where they can be."""

    name: str
    middle: str
    across: str
    axis: str

    @property
    def columns(self) -> tuple[str, ...]:
        return (f"{self.middle}_25", self.middle, f"{self.middle}_75")

    @property
    def shows(self) -> tuple[str, ...]:
        return (*self.columns, self.across)


@dataclass(frozen=True)
class Tracks:
    """A line over the steps for each entry of the vector ``vector``; ``log`` as in `Curves`."""

    name: str
    vector: str
    log: str = ""

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.vector,)


@dataclass(frozen=True)
class Multiples:
    """A small panel for each row of the matrices ``lines``, over the same row of the matrix ``across``, which is called
    ``axis``: of the last step at which they were logged. All lines but the first are dashed."""

    name: str
    lines: tuple[str, ...]
    across: str
    axis: str

    @property
    def shows(self) -> tuple[str, ...]:
        return (*self.lines, self.across)


@dataclass(frozen=True)
class Surface:
    """Filled contours of the matrix ``heights`` (a row for each entry of the vector ``upward``, a column for each of
    ``across``), and over them the lines of ``model`` at the same levels."""

    name: str
    heights: str
    model: str
    across: str
    upward: str

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.heights, self.model, self.across, self.upward)


@dataclass(frozen=True)
class Spectrum:
    """How many eigenvalues lie where: the rows of the matrix ``bins`` are (from, to, how many). Those of the vector
    ``found`` are known one by one; of a network with ``classes``, the first ``outliers`` of them, a scalar, stand out.
    """

    name: str
    bins: str
    found: str
    outliers: str = ""
    classes: int = 0

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.bins, self.found, *([self.outliers] if self.outliers else []))


@dataclass(frozen=True)
class Components:
    """How far the trajectory ``path`` is from a stationary point along each eigendirection there, which
    ``modes(last point, extent of the path)`` finds, if there is one. Dashed: theory."""

    name: str
    path: str
    modes: Callable[[Tensor, float], Any]

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.path,)


@dataclass(frozen=True)
class Rates:
    """``rates()`` over learning rate and momentum, measured and predicted; ``at`` is the pair of this run."""

    name: str
    rates: Callable[[], Any]
    at: tuple[float, float]

    @property
    def shows(self) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True)
class Ranking:
    """Features in the order of their importance: the vector ``importance``, its ``error``, the matrix ``ranking`` (rows
    of importance, what they are ranked by, its interval low to high, rank, ranks that are possible first to last),
    the vector ``direction`` in [-1, 1] and ``score`` (the score held out, that of guessing, whether it is better);
    each of these may be missing but the first. ``axis`` is the unit, ``towards`` what is said of either direction,
    ``scored`` what the score is."""

    name: str
    importance: str
    axis: str
    towards: tuple[str, str]
    scored: str
    error: str = "standard_error"
    ranking: str = "ranking"
    direction: str = "direction"
    score: str = "held_out"

    @property
    def columns(self) -> tuple[str, ...]:
        """What must be there."""
        return (self.importance,)

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.importance, self.error, self.ranking, self.direction, self.score)


@dataclass(frozen=True)
class Dependence:
    """A small panel for each feature in the matrix ``curves``, whose rows are (feature, output, at, mean, low, high);
    ``features`` and ``outputs`` are their names, ``axis`` what the mean is of."""

    name: str
    curves: str
    features: tuple[str, ...]
    outputs: tuple[str, ...]
    axis: str

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.curves,)


@dataclass(frozen=True)
class Images:
    """The rows of the matrix ``values`` as images of ``shape`` (channels, height, width), channels summed, in colours
    around zero where any is negative; over those of the matrix ``under`` in grey, where that is named."""

    name: str
    values: str
    shape: tuple[int, int, int]
    under: str = ""
    legend: str = ""

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.values, self.under) if self.under else (self.values,)


@dataclass(frozen=True)
class Graph:
    """The graph of a computation: ``joints`` are its nodes, (name, what they do), each after those that it uses,
    ``links`` its edges, (from, to) by number. The rows of the matrix ``nodes`` are (value, its bound, adjoint, its
    bound), those of ``edges`` (local derivative, its bound, what flows back, its bound): of the last step at which they
    were logged. ``norms``: the numbers are norms of tensors, and an edge has the factor between two."""

    name: str
    nodes: str
    edges: str
    joints: tuple[tuple[str, str], ...]
    links: tuple[tuple[int, int], ...]
    norms: bool = False

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.nodes, self.edges)


@dataclass(frozen=True)
class Drawn:
    """A picture whose record (``figure.records``) is there: what that was made of need not be at hand any more."""

    name: str
    record: Any

    @property
    def shows(self) -> tuple[str, ...]:
        return ()
