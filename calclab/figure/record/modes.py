"""Records of a walk in the eigendirections of a quadratic, and of rates over learning rate and momentum."""

from __future__ import annotations

from dataclasses import replace

import torch

from calclab.core import Columns, Components, Labels, Rates
from calclab.figure.record.curves import numbers
from calclab.figure.record.scale import course
from calclab.figure.records import CurvesPanel, Line, RatesPanel

ENDS = 3  # of the flattest and of the steepest directions, so many


def components(picture: Components, columns: Columns, labels: Labels, title: str) -> CurvesPanel | None:
    """None where the path was not logged, or knows no directions."""
    column = columns.get(picture.path)
    if column is None or column.data.ndim != 2 or len(column.steps) < 2:
        return None
    path = column.data.double()
    path = path[path.isfinite().all(1)]
    if len(path) < 2:
        return None
    found = picture.modes(path[-1], float((path - path[-1]).norm(dim=1).max()))
    if found is None:
        return None
    steps = tuple(map(float, column.steps[: len(path)]))
    sizes = ((path - found.origin) @ found.directions).abs()
    n = len(found.eigenvalues)
    shown = range(n) if n <= 2 * ENDS else [*range(ENDS), *range(n - ENDS, n)]
    lines: list[Line] = []
    guides: list[Line] = []
    for i in shown:
        lines.append(Line(f"λ = {float(found.eigenvalues[i]):.4g}", steps, numbers(sizes[:, i])))
        rate, begin = found.rates[i], sizes[0, i]
        if bool(rate.isfinite()) and begin > 0:
            ks = torch.tensor(steps, dtype=torch.float64)
            theory = begin * rate ** (ks - ks[0])
            floor = sizes[sizes > 0].min()
            theory = torch.where(theory >= floor / 10, theory, torch.nan)
            guides.append(Line("" if guides else "theory: ρᵢ^k", steps, numbers(theory), dashed=True))
    panel = course(title, "step", lines, "y")
    note = f"the {ENDS} flattest and the {ENDS} steepest of {n} directions" if n > 2 * ENDS else ""
    notes = "; ".join(filter(None, (note, panel.note)))
    return replace(panel, guides=tuple(guides), note=notes, whole=True, ylabel="distance along the eigenvector")


def rates(picture: Rates, columns: Columns, labels: Labels, title: str) -> RatesPanel:
    found = picture.rates()
    off = (found.measured - found.predicted).abs()
    stable = found.predicted < 1
    worst = (
        f"measured and predicted differ by {float(off[stable].median()):.1g} (median where stable)"
        if bool(stable.any())
        else ""
    )
    measured, predicted = (tuple(map(numbers, table)) for table in (found.measured, found.predicted))
    return RatesPanel(
        title, numbers(found.lrs), numbers(found.momenta), measured, predicted, picture.at, found.best, worst
    )
