"""The record of rows as images."""

from __future__ import annotations

import math

from torch import Tensor

from calclab.core import Columns, Images, Labels
from calclab.figure.record.curves import numbers
from calclab.figure.record.matrices import axis_names
from calclab.figure.records import ImagesPanel, Numbers

MOST = 12  # images in one picture


def images(picture: Images, columns: Columns, labels: Labels, title: str) -> ImagesPanel | None:
    """None where they were not logged. A vector is one image."""
    if any(name not in columns or not len(columns[name].steps) for name in picture.shows):
        return None
    rows = columns[picture.values].data[-1]
    rows = rows if rows.ndim == 2 else rows[None]
    captions = axis_names(labels.get(picture.values, ()), 0, len(rows))
    shown = pictured(rows[:MOST], picture.shape)
    under = pictured(columns[picture.under].data[-1][:MOST], picture.shape) if picture.under else ()
    flat = [v for image in shown for line in image for v in line if math.isfinite(v)]
    note = f"the first {MOST} of {len(rows)}" if len(rows) > MOST else ""
    limit = max(map(abs, flat), default=0.0) or 1.0
    return ImagesPanel(title, captions[:MOST], shown, under, limit, min(flat, default=0.0) < 0, picture.legend, note)


def pictured(rows: Tensor, shape: tuple[int, int, int]) -> tuple[tuple[Numbers, ...], ...]:
    """Rows (r, c h w) as images, (r, h, w): the sum over channels."""
    return tuple(tuple(numbers(line) for line in image) for image in rows.double().reshape(-1, *shape).sum(1))
