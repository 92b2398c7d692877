"""A walk that moves: the picture of a walk, drawn once, whose path grows frame by frame."""

from __future__ import annotations

import io
from typing import Any

FRAMES, PAUSE, LAST = 48, 80, 1500  # at most; milliseconds of a frame and of the last


def gif(figure: Any) -> bytes | None:
    """A GIF of a figure with a line labelled "path" and, where it is drawn, a mark labelled "end"; None of others, and
    of paths of a single place. Every frame shows as many steps more, and the last stays."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    lines = [line for axes in figure.axes for line in axes.get_lines()]
    path = next((line for line in lines if line.get_label() == "path"), None)
    end = next((line for line in lines if line.get_label() == "end"), None)
    if path is None or len(path.get_xdata()) < 2:
        return None
    xs, ys = list(path.get_xdata()), list(path.get_ydata())
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")  # it stays as it is while the path grows
    count = min(FRAMES, len(xs))
    frames = []
    for i in range(count):
        k = round(i * (len(xs) - 1) / (count - 1)) + 1
        path.set_data(xs[:k], ys[:k])
        if end is not None:
            end.set_data(xs[k - 1 : k], ys[k - 1 : k])
        canvas.draw()
        width, height = canvas.get_width_height()
        frame = Image.frombuffer("RGBA", (width, height), canvas.buffer_rgba(), "raw", "RGBA", 0, 1)
        frames.append(frame.convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE))
    buffer = io.BytesIO()
    pauses = [PAUSE] * (count - 1) + [LAST]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=pauses, loop=0)
    return buffer.getvalue()
