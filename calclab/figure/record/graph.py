"""The record of a graph: what stands in each node and on each edge, whether it is proven, and where it is drawn."""

from __future__ import annotations

import math

from calclab.core import Columns, Graph, Labels
from calclab.figure.record.curves import numbers
from calclab.figure.record.layered import Size, depths, layered
from calclab.figure.records import Edge, GraphPanel, Joint

PROVEN = 1e-10  # a number's bound, as a share of it, up to which it counts as proven
ACROSS = 6  # layers up to which they go from left to right, beyond from top to bottom
WRITTEN = 8  # edges up to which they are labelled with names as well as numbers
LETTER, LINE = 0.083, 0.19  # inches, about, that a letter and a line of text take
LONGEST = 30  # letters of a node's text


def graph(picture: Graph, columns: Columns, labels: Labels, title: str) -> GraphPanel | None:
    """None where the tables were not logged."""
    if any(name not in columns or not len(columns[name].steps) for name in picture.shows):
        return None
    nodes = [numbers(row) for row in columns[picture.nodes].data[-1]]
    edges = [numbers(row) for row in columns[picture.edges].data[-1]]
    links = picture.links
    across = max(depths(len(nodes), links)) < ACROSS
    written = len(links) <= WRITTEN and not picture.norms
    texts = [clipped(name, text) for name, text in picture.joints]
    sizes = [size(name, text, row, picture.norms) for (name, text), row in zip(texts, nodes, strict=True)]
    gap = (2.1 if written else 1.0) if across else 0.4 if picture.norms else 0.7
    if across:
        found = layered(sizes, links, gap, 0.35)
        places, bends, whole = found
    else:
        found = layered([(height, width) for width, height in sizes], links, gap, 0.3 if picture.norms else 0.4)
        whole = found.size[1], found.size[0]
        places, bends = (
            tuple((found.size[1] - v, found.size[0] - u) for u, v in found.places),
            tuple(tuple((found.size[1] - v, found.size[0] - u) for u, v in way) for way in found.bends),
        )
    joints = tuple(
        Joint(name, text, row[0], row[2], at, box)
        for (name, text), row, at, box in zip(texts, nodes, places, sizes, strict=True)
    )
    lines = tuple(Edge(*link, way, row[0], row[2]) for link, way, row in zip(links, bends, edges, strict=True))
    pairs = [(row[i], row[i + 1]) for row in (*nodes, *edges) for i in (0, 2) if not math.isnan(row[i])]
    return GraphPanel(title, joints, lines, whole, across, picture.norms, written, said(pairs, picture.norms))


def clipped(name: str, text: str) -> tuple[str, str]:
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return (name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"), short


def size(name: str, text: str, row: tuple[float, ...], norms: bool) -> Size:
    """Of a node's box, in inches."""
    first = len(name) + (len(text) + 3 if text else 0)
    lines = 2 if norms else 1 + (not math.isnan(row[0])) + (not math.isnan(row[2]))
    return LETTER * max(first, len(name) + 12, 24 if norms else 0) + 0.2, LINE * lines + 0.16


def said(pairs: list[tuple[float, float]], norms: bool) -> str:
    """How far the numbers can be from the true ones."""
    known = [(value, bound) for value, bound in pairs if not math.isnan(bound)]
    if not known:
        return ""
    near = [bound / abs(value) if value else bound for value, bound in known if bound <= PROVEN * abs(value)]
    if norms:
        alike = "bit for bit" if max(near, default=1.0) == 0 else f"to within {max(near, default=1.0):.1g} of each"
        return f"the chain rule by hand gives the signals of autodiff, {alike}" if len(near) == len(known) else ""
    digits = "exactly" if max(near, default=1.0) == 0 else f"to within {max(near, default=1.0):.1g} of itself"
    if len(near) == len(known):
        return f"✓ all {len(known)} numbers are proven, each {digits}"
    return f"{len(near)} of {len(known)} numbers are proven to ten digits"
