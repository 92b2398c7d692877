"""The vocabulary of calclab: question, method, answer. No logic lives here, and nothing but torch is imported.

A *function* is the question, a *topic* the method, an *outcome* the answer. A topic is a scan: ``init() -> state``
and ``step(state, k) -> (state, values)``. A state is a dict of tensors and holds all that is needed to go on.
Values are tensors by name; their rank says what they are: 0 a scalar, 1 a row of a trajectory, 2 a matrix.
"""

from __future__ import annotations

from calclab.core.answer import Answer, Claim, Status
from calclab.core.evidence import Ball, Evidence, Verdict
from calclab.core.geometry import Curvature, Deformation, Discs, Gradient, Tangent, Walk
from calclab.core.layout import Layout, Part
from calclab.core.method import Point, Rule, Scan, Topic
from calclab.core.picture import (
    Bars,
    Components,
    Contours,
    Curves,
    Dependence,
    Drawn,
    Graph,
    Guide,
    Heatmap,
    Images,
    Multiples,
    Picture,
    PrincipalPlane,
    Ranking,
    Rates,
    Spectrum,
    Spread,
    Surface,
    Tracks,
)
from calclab.core.question import Data, Exact, Function, Units
from calclab.core.rows import Rows
from calclab.core.run import Outcome, Run, Sink
from calclab.core.values import HISTOGRAM, Column, Columns, Labels, State, Values
from calclab.lines import Line, Said, Table

__all__ = [
    "HISTOGRAM",
    "Answer",
    "Ball",
    "Bars",
    "Claim",
    "Column",
    "Columns",
    "Components",
    "Contours",
    "Curvature",
    "Curves",
    "Data",
    "Deformation",
    "Dependence",
    "Discs",
    "Drawn",
    "Evidence",
    "Exact",
    "Function",
    "Gradient",
    "Graph",
    "Guide",
    "Heatmap",
    "Images",
    "Labels",
    "Layout",
    "Line",
    "Multiples",
    "Outcome",
    "Part",
    "Picture",
    "Point",
    "PrincipalPlane",
    "Ranking",
    "Rates",
    "Rows",
    "Rule",
    "Run",
    "Said",
    "Scan",
    "Sink",
    "Spectrum",
    "Spread",
    "State",
    "Status",
    "Surface",
    "Table",
    "Tangent",
    "Topic",
    "Tracks",
    "Units",
    "Values",
    "Verdict",
    "Walk",
]
