"""What an attribution gives back: a number for every input of every row, how far off it may be, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Attribution:
    """``values`` (B, d): what each input of each row has to do with the target. Of permutation importance (1, d), of
    the methods that look at a layer (B, width of the layer).

    ``error``, of the same shape, is how far a value may be off, and ``error_kind`` says in which sense: "rounding",
    "quadrature change", "standard error over 26 permutations"; None where the method has none to give.
    ``forwards`` counts the points that went forward alone, ``gradients`` those that went forward and back.
    ``gap`` (B,) is Σ_j values - (F(x) - F(baseline)), for the methods that promise 0 (completeness). ``score`` (B,) is
    F(x), ``reference_score`` (B,) is F(baseline). ``converged`` is False where quadrature ended above its tolerance.
    ``shapes`` are those of one row of the module's inputs, of the methods that look at a layer that of its output.
    """

    method: str
    values: Tensor
    error: Tensor | None
    error_kind: str
    forwards: int
    gradients: int
    gap: Tensor | None
    score: Tensor
    reference_score: Tensor | None
    converged: bool
    notes: tuple[str, ...]
    shapes: tuple[torch.Size, ...]

    def parts(self) -> tuple[Tensor, ...]:
        """The values as the module takes its inputs: (B, *shape) each."""
        pieces = torch.split(self.values, [shape.numel() for shape in self.shapes], dim=1)
        return tuple(piece.reshape(len(self.values), *shape) for piece, shape in zip(pieces, self.shapes, strict=True))


@dataclass(frozen=True)
class Found:
    """What a method hands back: its values in the coordinates that it differentiates by, and their error."""

    values: Tensor
    error: Tensor | None = None
    error_kind: str = ""
    gap: Tensor | None = None
    reference_score: Tensor | None = None
    converged: bool = True
    notes: tuple[str, ...] = ()
    inner: torch.Size | None = None  # of values that are those of a layer, not of the inputs: what it gives of a row
