"""Images side by side, in colours around zero, over a grey image where there is one."""

from __future__ import annotations

from typing import Any

from calclab.figure.draw.canvas import clip, entitle, plain, sheet
from calclab.figure.records import ImagesPanel

ACROSS = 6  # in a row


def draw_images(panel: ImagesPanel) -> Any:
    import numpy as np
    from matplotlib import colormaps

    count = len(panel.images)
    across = min(count, 4 if panel.under and count == 8 else ACROSS if count != 10 else 5)
    down = -(-count // across)
    side = 3.6 if count == 1 else 1.5
    figure = sheet(max(4.8, side * across + 1.1), side * down * 1.16 + 0.2)
    entitle(figure, panel.title, panel.note)
    colours = colormaps["RdBu_r" if panel.signed else "viridis"].with_extremes(bad="#CCCCCC")
    grid, shown = [], None
    for i, image in enumerate(panel.images):
        axes = figure.add_subplot(down, across, i + 1)
        grid.append(axes)
        values = np.ma.masked_invalid(np.array(image))
        strength = None
        if panel.under:
            axes.imshow(
                np.array(panel.under[i]),
                cmap="Greys",
                vmax=2.2 * max(map(max, panel.under[i])) or 1,
                interpolation="nearest",
            )
            strength = np.clip(np.abs(values.filled(0)) / panel.limit, 0, 1) ** 0.5 * 0.9
        low = -panel.limit if panel.signed else 0.0
        shown = axes.imshow(values, cmap=colours, vmin=low, vmax=panel.limit, alpha=strength, interpolation="nearest")
        axes.set_title(clip(panel.captions[i]) if count > 1 else "", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    scale: Any = figure.colorbar(shown, ax=grid, pad=0.02, shrink=0.9, aspect=30)
    scale.solids.set_alpha(1)
    scale.outline.set_visible(False)
    scale.ax.tick_params(labelsize=8)
    scale.set_label(plain(panel.legend), fontsize=9)
    return figure
