"""All that a method asks of: rows, target, baselines, and the network as an engine, counted and kept in memory; and
what it hands back: a number for every input of every row, how far off it may be, and what it cost.

An *engine* takes points x (..., d) to a lifted space by an affine map z = A x + c, in which a path stays straight and
gradients can be summed, and has t(z) and ∂t/∂z there; ``pull`` is Aᵀ, so that ∂t/∂x = Aᵀ ∂t/∂z. Of a ``Chain`` A is its
first layer's weight, of any other module the identity. A method that is written with lift, push, pull, values and
gradients serves both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from calclab.attribution.baseline import Given, baselines
from calclab.attribution.chain import Chain
from calclab.attribution.guard import finite
from calclab.attribution.model import Model
from calclab.attribution.recording import Recording
from calclab.attribution.sample import Sample
from calclab.attribution.target import Target, Which

PASS = 2**20  # numbers in flight through a chain at once: what a core's cache holds of them


class Engine(Protocol):
    """The network in a space that x is taken to by an affine map z = A x + c; see ``Chain`` and ``Whole``.

    ``numbers`` is what one point takes on its way, about, ``width`` the lifted space's dimension h, ``bent`` names what
    is not piecewise linear. ``which`` are the rows that points belong to, along the last axis but one.
    """

    numbers: int
    width: int
    bent: tuple[str, ...]

    def lift(self, points: Tensor) -> Tensor:
        """z (..., h) of points (..., d)."""
        ...

    def push(self, change: Tensor) -> Tensor:
        """A·change (..., h) of a change (..., d) of points."""
        ...

    def pull(self, g: Tensor) -> Tensor:
        """Aᵀ g (..., d) of cotangents g (..., h)."""
        ...

    def effects(self, change: Tensor, features: slice, onto: Tensor | None = None) -> Tensor:
        """A·(the part of a change (b, d) in one feature), feature by feature: (f, b, h); on top of z where given."""
        ...

    def outputs(self, z: Tensor, which: Which) -> Tensor:
        """y (..., b, m)."""
        ...

    def values(self, z: Tensor, which: Which, target: Target) -> Tensor:
        """t (..., b)."""
        ...

    def gradients(self, z: Tensor, which: Which, target: Target) -> Tensor:
        """∂t/∂z (..., b, h)."""
        ...


@dataclass
class Question:
    """t of each of B rows, made of the outputs (B, m) that were recorded; ``baseline`` is what they are compared with,
    as it was given."""

    recording: Recording
    target: Target
    sample: Sample
    baseline: str | Given
    seed: int
    memory: float
    forwards: int = 0
    gradients_taken: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def rows(self) -> Tensor:
        """(B, d)."""
        return self.model.rows

    @cached_property
    def reference(self) -> Tensor:
        """The training set, (R, d)."""
        if self.sample.reference is None:
            self.notes.append("no reference is given: the rows themselves are taken for the training set")
        return self.sample.training_set(self.model)

    @cached_property
    def baselines(self) -> Tensor:
        """(K, 1 or B, d): K of them for every row, of whose attributions the mean is taken."""
        needed = isinstance(self.baseline, str) and self.baseline.strip() != "zeros"
        reference = self.reference if needed else self.rows
        found = baselines(self.baseline, self.model, reference, self.sample.reference_labels, self.sample.classes)
        finite(found.flatten(0, 1), "the baseline", self.sample.features)
        return found

    @cached_property
    def engine(self) -> Engine:
        """How gradients of all rows are had: by hand of a chain, by autograd of anything else."""
        return self.recording.engine

    @property
    def model(self) -> Model:
        return self.recording.model

    @property
    def outputs(self) -> Tensor:
        return self.recording.outputs

    @cached_property
    def score(self) -> Tensor:
        """t (B,) of the rows."""
        return self.target.values(self.outputs, slice(0, len(self.rows)))

    @property
    def bytes(self) -> float:
        """The memory limit, which is told in mebibytes."""
        return self.memory * 2**20

    @property
    def points(self) -> int:
        """How many points go at once, under the memory limit."""
        most = self.bytes / (self.engine.numbers * self.rows.element_size())
        if isinstance(self.engine, Chain):
            most = min(most, PASS / self.engine.numbers)
        return max(1, int(most))

    @property
    def forward_points(self) -> int:
        """How many points go at once where nothing has to go back."""
        return 2 * self.points

    def lots(self, each: int = 1, at_least: int = 1) -> Iterator[slice]:
        """The rows in lots, of each of which ``each`` points go at once: slices of range(B), so that ``points`` is
        kept."""
        size = max(at_least, self.points // max(1, each))
        for low in range(0, len(self.rows), size):
            yield slice(low, min(low + size, len(self.rows)))

    def generator(self) -> torch.Generator:
        """A generator of its own for each method, from the seed: what one draws changes no other."""
        return torch.Generator(self.rows.device).manual_seed(self.seed)

    # --- the network ---

    def answers(self, z: Tensor, which: Which) -> Tensor:
        """Outputs (..., b, m) at lifted points (..., b, h), which are used up."""
        self.forwards += z.numel() // z.shape[-1]
        return self.engine.outputs(z, which)

    def values(self, z: Tensor, which: Which) -> Tensor:
        """t (..., b) at lifted points (..., b, h), which are used up."""
        self.forwards += z.numel() // z.shape[-1]
        return self.engine.values(z, which, self.target)

    def gradients(self, z: Tensor, which: Which) -> Tensor:
        """∂t/∂z (..., b, h) at lifted points, which are used up."""
        self.gradients_taken += z.numel() // z.shape[-1]
        return self.engine.gradients(z, which, self.target)


# --- what is handed back ---


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
    """What a method hands back: its values (B, d) in the coordinates that it differentiates by, and their error.

    >>> found = Found(torch.zeros(2, 3))
    >>> found.error is None, found.converged, found.notes
    (True, True, ())
    """

    values: Tensor
    error: Tensor | None = None
    error_kind: str = ""
    gap: Tensor | None = None
    reference_score: Tensor | None = None
    converged: bool = True
    notes: tuple[str, ...] = ()
    inner: torch.Size | None = None  # of values that are those of a layer, not of the inputs: what it gives of a row
