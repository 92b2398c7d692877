"""The record of a spectrum: how many eigenvalues lie in each bin, and those that are known one by one."""

from __future__ import annotations

from calclab.core import Columns, Labels, Spectrum
from calclab.figure.record.curves import numbers
from calclab.figure.records import SpectrumPanel


def spectrum(picture: Spectrum, columns: Columns, labels: Labels, title: str) -> SpectrumPanel | None:
    """None where there are no bins, or nothing in them."""
    column = columns.get(picture.bins)
    if column is None or not len(column.steps) or not len(column.data[-1]):
        return None
    low, high, counts = (numbers(part) for part in column.data[-1].unbind(1))
    if not any(count > 0 for count in counts):
        return None
    found = columns.get(picture.found)
    known = sorted((v for v in numbers(found.data[-1]) if v == v), reverse=True) if found is not None else []
    counted = columns.get(picture.outliers)
    told = counted is not None and bool(counted.data[-1].isfinite())
    outliers = int(counted.data[-1]) if told and counted is not None else 0
    around = [max(-a, b) for a, b in zip(low, high, strict=True) if a <= 0 <= b and a < b]  # the bins beside zero
    linear = max(around, default=min((abs(edge) for edge in (*low, *high) if edge), default=1.0))
    used = [i for i, count in enumerate(counts) if count > 0]
    first, last = min(used), max(used)
    edges, counts = (*low[first : last + 1], high[last]), counts[first : last + 1]
    legend = f"{outliers} outlier{'s' * (outliers != 1)}" if told else ""
    if legend and picture.classes:
        legend += f" ({picture.classes} classes)"
    note = f"{sum(counts):.6g} eigenvalues; the axis is linear within ±{linear:.2g}"
    return SpectrumPanel(title, edges, counts, linear, tuple(known[:outliers]), tuple(known[outliers:]), legend, note)
