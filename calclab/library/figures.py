"""The pictures of a result by name, each drawn when it is asked for."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calclab.core import Columns, Drawn, Picture, Run
from calclab.errors import UserError

if TYPE_CHECKING:
    from calclab.sink.figures import FiguresSink

FORMULA = "formula"  # what is typeset of the function and its derivatives
FORMATS = ("png", "svg", "pdf")


class Figures(Mapping[str, Any]):
    """matplotlib figures by name: ``figures["spectrum"].savefig("spectrum.pdf")``, ``figures.save("pictures", "svg")``.

    In a notebook a figure shows itself, and all of them do as ``figures``.
    """

    def __init__(self, run: Run, columns: Columns, latex: Sequence[str]) -> None:
        self._run, self._columns, self._latex = run, columns, [*run.latex, *latex]
        self._records: dict[str, Any] = {}

    @cached_property
    def _sink(self) -> FiguresSink:
        from calclab.sink.figures import FiguresSink

        sink = FiguresSink()
        sink.open(self._run)
        sink.write(self._columns)
        return sink

    @cached_property
    def _pictures(self) -> dict[str, Picture]:
        return {picture.name: picture for picture in self._run.pictures}

    def record(self, name: str) -> Any:
        """What is to be seen in a picture, as plain numbers; None where nothing of it was logged."""
        if name not in self._records:
            self._records[name] = self._sink.record(self._pictures[name])
        return self._records[name]

    def drawn(self) -> tuple[Drawn, ...]:
        """The pictures without what they were made of."""
        return tuple(Drawn(name, self.record(name)) for name in self if name != FORMULA)

    def __getitem__(self, name: str) -> Any:
        from calclab.figure.draw.formula import draw_formulas
        from calclab.figure.kinds import figure

        if name == FORMULA and self._latex:
            return draw_formulas(self._latex)
        if name not in self._pictures or self.record(name) is None:
            raise UserError(f"there is no picture {name!r}. There are: {', '.join(self) or 'none'}")
        return figure(self.record(name))

    def __iter__(self) -> Iterator[str]:
        names = [FORMULA] if self._latex else []
        return iter([*names, *(name for name in self._pictures if self.record(name) is not None)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in list(iter(self))

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def __repr__(self) -> str:
        return f"<figures: {', '.join(self) or 'none'}>"

    def save(self, folder: str | os.PathLike[str], format: str = "png") -> list[Path]:
        """Write every picture into ``folder``, as png, svg or pdf; their paths."""
        if format not in FORMATS:
            raise UserError(f"format={format}: pictures are written as {', '.join(FORMATS)}. Type format=svg")
        from calclab.figure.kinds import written
        from calclab.sink.csv import filename

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{filename(name)}.{format}" for name in self]
        for name, path in zip(self, paths, strict=True):
            path.write_bytes(written(self[name], format))
        return paths

    def _repr_html_(self) -> str:
        return "".join(map(self._embedded, self))

    def _embedded(self, name: str) -> str:
        """A figure as an image within HTML, on white whatever the theme; one that cannot be drawn as words."""
        from calclab.figure.draw.canvas import DPI

        buffer = io.BytesIO()
        try:
            figure = self[name]
            figure.savefig(buffer, format="png", dpi=1.25 * DPI)
        except Exception as error:
            said = f"{name} could not be drawn: {type(error).__name__}: {error}"
            return f"<p>{html.escape(said)}</p>"
        image = base64.b64encode(buffer.getvalue()).decode()
        width = round(72 * figure.get_size_inches()[0])
        style = f"width:{width}px;max-width:100%;background:#fff;border-radius:4px;margin:4px"
        return f"<img alt='{html.escape(name)}' style='{style}' src='data:image/png;base64,{image}'>"
