"""What is to be seen in a picture, as small frozen records of plain numbers: tests compare these, `draw` draws them.

Values that are not finite stay in the records as NaN, and are never drawn. ``note`` says what is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

Numbers = tuple[float, ...]
Points = tuple[tuple[float, float], ...]
SHAPE = 0.8  # height over width of the plane of a path, a unit being as long on either axis


@dataclass(frozen=True)
class Field:
    """Values (rows are y) over a grid, and the levels to draw: NaN where the function is not finite."""

    x: Numbers
    y: Numbers
    values: tuple[Numbers, ...]
    levels: Numbers


@dataclass(frozen=True)
class Line:
    name: str
    x: Numbers
    y: Numbers
    zeros: Numbers = ()  # where y is 0 and a logarithmic axis cannot show it
    dashed: bool = False


@dataclass(frozen=True)
class Band:
    """What lies around a line: between ``low`` and ``high``, with gaps where either is NaN."""

    x: Numbers
    low: Numbers
    high: Numbers


@dataclass(frozen=True)
class CurvesPanel:
    title: str
    xlabel: str
    lines: tuple[Line, ...]
    xlog: bool
    ylog: bool
    note: str = ""
    ticks: tuple[str, ...] = ()  # names of steps 0, 1, 2, ...: links, layers
    guides: tuple[Line, ...] = ()  # theory: behind the lines, dashed and grey
    top: float = 0.0  # of a linear axis from 0; 0: as the values ask for
    bands: tuple[Band, ...] = ()  # one for each line, in its colour
    whole: bool = False  # the horizontal axis counts
    ylabel: str = ""  # of the vertical axis, where several lines share one


@dataclass(frozen=True)
class ContoursPanel:
    title: str
    axes: tuple[str, str]
    path: Points
    minima: Points
    field: Field
    note: str = ""
    ends: bool = True  # the last of the path is within the window


@dataclass(frozen=True)
class PlanePanel:
    """``contours`` are those on the plane, ``minima`` there those that lie on it; ``beside`` are those that do not,
    projected, and ``distances`` how far they lie off it. ``warning`` is empty where the plane tells the story."""

    contours: ContoursPanel
    beside: Points
    distances: Numbers
    losses: CurvesPanel
    off: CurvesPanel
    warning: str = ""


@dataclass(frozen=True)
class HeatmapPanel:
    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    matrix: tuple[Numbers, ...]
    limit: float  # colours go from -limit to limit
    note: str = ""


@dataclass(frozen=True)
class BarsPanel:
    title: str
    names: tuple[str, ...]  # empty: too many to name
    values: Numbers
    note: str = ""
    log: bool = False
    low: Numbers = ()  # the ends of the interval of each; empty: none
    high: Numbers = ()


@dataclass(frozen=True)
class MultiplesPanel:
    """Small panels with axes of their own, side by side."""

    title: str
    panels: tuple[CurvesPanel, ...]
    note: str = ""


@dataclass(frozen=True)
class SurfacePanel:
    """``field`` filled, and lines of ``model`` over it at the same levels."""

    title: str
    axes: tuple[str, str]
    field: Field
    model: Field
    note: str = ""


@dataclass(frozen=True)
class SpectrumPanel:
    """Bars of ``counts`` between neighbouring ``edges``, on an axis that is linear up to ``linear`` and logarithmic
    beyond; ``standing`` and ``others`` are the eigenvalues known one by one, outliers and the rest."""

    title: str
    edges: Numbers
    counts: Numbers
    linear: float
    standing: Numbers
    others: Numbers
    legend: str
    note: str = ""


@dataclass(frozen=True)
class RatesPanel:
    """Rates (momenta, lrs), ``measured`` and ``predicted``; ``here`` and ``best`` are pairs (lr, momentum)."""

    title: str
    lrs: Numbers
    momenta: Numbers
    measured: tuple[Numbers, ...]
    predicted: tuple[Numbers, ...]
    here: tuple[float, float]
    best: tuple[float, float]
    note: str = ""


@dataclass(frozen=True)
class RankingPanel:
    """Bars of ``values``, signed by the way they work; ``ways`` is 1, -1 or 0 of each, ``low`` and ``high`` the ends of
    its interval on the same side; the first ``leaders`` of them may each be the first; ``ranks`` that are possible."""

    title: str
    names: tuple[str, ...]
    values: Numbers
    ways: tuple[int, ...]
    low: Numbers
    high: Numbers
    leaders: int
    ranks: tuple[str, ...]
    axis: str
    towards: tuple[str, str]
    note: str = ""


@dataclass(frozen=True)
class DependencePanel:
    title: str
    panels: tuple[CurvesPanel, ...]
    axis: str
    note: str = ""


@dataclass(frozen=True)
class ImagesPanel:
    """Images, row by row of pixels, each with its ``caption``; ``under`` is empty or has one for each."""

    title: str
    captions: tuple[str, ...]
    images: tuple[tuple[Numbers, ...], ...]
    under: tuple[tuple[Numbers, ...], ...]
    limit: float
    signed: bool
    legend: str
    note: str = ""


@dataclass(frozen=True)
class Joint:
    """A node of a graph: ``value`` and ``adjoint`` are NaN where there is none; ``place`` is its middle, in inches."""

    name: str
    text: str
    value: float
    adjoint: float
    place: tuple[float, float]
    size: tuple[float, float]


@dataclass(frozen=True)
class Edge:
    """From node ``tail`` to node ``head``, by the points ``bends``."""

    tail: int
    head: int
    bends: Points
    local: float
    flow: float


@dataclass(frozen=True)
class GraphPanel:
    """Layers ``across`` the picture or down it. ``norms``: the numbers are norms of tensors. ``written``: there is room
    for names on the edges."""

    title: str
    joints: tuple[Joint, ...]
    edges: tuple[Edge, ...]
    size: tuple[float, float]
    across: bool
    norms: bool
    written: bool
    note: str = ""


@dataclass(frozen=True)
class Group:
    """Jobs of one colour in a panel of a sweep: every one as a dot, the best of each value on the line ``best``;
    ``lost`` are the values of the jobs that ran away, ``limits`` the least and the largest that theory calls stable."""

    name: str
    dots: Points
    best: Points
    lost: Numbers = ()
    limits: Numbers = ()


@dataclass(frozen=True)
class KnobPanel:
    """The objective over one knob; of words, ``names`` are the values and the knob counts them."""

    knob: str
    groups: tuple[Group, ...]
    log: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class SweepPanel:
    """``star`` is the best job: its value of each knob that has a panel, and its objective. Zeros are drawn at
    ``floor`` where an axis cannot show them."""

    title: str
    objective: str
    log: bool
    knobs: tuple[KnobPanel, ...]
    star: tuple[Numbers, float] | None
    note: str = ""
    floor: float = 0.0


@dataclass(frozen=True)
class View:
    """A curve around the point (x, y), with what touches or cuts it there, in a window (low, high) of either axis."""

    title: str
    axes: tuple[str, str]
    point: tuple[float, float]
    across: tuple[float, float]
    upward: tuple[float, float]
    curve: Line
    tangents: tuple[Line, ...] = ()
    secants: tuple[Line, ...] = ()


@dataclass(frozen=True)
class TangentPanel:
    """``view``, and the same enlarged, both axes alike."""

    title: str
    view: View
    zooms: tuple[View, ...]
    note: str = ""


@dataclass(frozen=True)
class Arrow:
    """From a point by (dx, dy)."""

    name: str
    start: tuple[float, float]
    step: tuple[float, float]


@dataclass(frozen=True)
class GradientPanel:
    """``slices`` along each variable; of two variables ``field`` around the point, of which the contour at ``height``
    goes through it, and the ``gradient``, None where there is none or it is zero."""

    title: str
    slices: tuple[View, ...]
    axes: tuple[str, str] = ("", "")
    field: Field | None = None
    height: float = 0.0
    gradient: Arrow | None = None
    note: str = ""


@dataclass(frozen=True)
class WalkPanel:
    """Positions (x, f(x)) in the order they were visited, on a curve; NaN those outside of the window, and the last of
    them lies in it where ``ends``."""

    title: str
    axis: str
    curve: Line
    path: Points
    minima: Points
    note: str = ""
    ends: bool = True


@dataclass(frozen=True)
class CurvaturePanel:
    """``ellipse``: the curve dᵀHd = c around ``point``, or those of dᵀHd = ±c; ``eigenvectors`` are as long as the
    eigenvalues say, ``steps`` are -∇f, as a direction, and Newton's."""

    title: str
    axes: tuple[str, str]
    field: Field
    point: tuple[float, float]
    ellipse: tuple[Line, ...]
    eigenvectors: tuple[Arrow, ...]
    steps: tuple[Arrow, ...]
    minima: Points = ()
    note: str = ""


@dataclass(frozen=True)
class DiscsPanel:
    """Around each of ``centres``, the diagonal, a disc whose radius is the sum of what stands beside it in its row."""

    title: str
    names: tuple[str, ...]
    centres: Numbers
    radii: Numbers
    eigenvalues: Numbers
    note: str = ""


@dataclass(frozen=True)
class DeformationPanel:
    """Lines of a grid and where they go, a circle and where it goes, and the ellipse that the Jacobian makes of it;
    ``right`` are the directions that become the half axes ``left`` of the ellipse. The first ``along`` lines of the
    grid go along the first axis. ``reach`` is how far around the image of the centre is shown, at most; 0: all."""

    title: str
    axes: tuple[str, str]
    images: tuple[str, str]
    grid: tuple[Line, ...]
    image: tuple[Line, ...]
    along: int
    circle: Line
    circle_image: Line
    ellipse: Line
    right: tuple[Arrow, ...]
    left: tuple[Arrow, ...]
    area: str
    reach: float
    note: str = ""


Panel = (
    CurvesPanel
    | ContoursPanel
    | PlanePanel
    | HeatmapPanel
    | BarsPanel
    | MultiplesPanel
    | SurfacePanel
    | SpectrumPanel
    | GraphPanel
    | RankingPanel
    | RatesPanel
    | DependencePanel
    | ImagesPanel
    | SweepPanel
    | TangentPanel
    | GradientPanel
    | WalkPanel
    | CurvaturePanel
    | DiscsPanel
    | DeformationPanel
)
