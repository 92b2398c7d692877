"""A module as a map from flat points (N, d) to outputs (N, m), whatever its inputs look like.

The d coordinates are those that can be differentiated by: the entries of floating-point inputs, and, of an integer
input, the entries of the embedding that it is looked up in (Captum calls that an interpretable embedding). Boolean
inputs, such as masks, are held as they are. ``owner`` says to which row a point belongs, where something is held.

    floats (N, *shape)       ->  flattened                      -> (N, d₁)
    ids (N, L) of integers   ->  the embedding's rows, flattened -> (N, d₂)    d = d₁ + d₂
    masks (N, ...)           ->  held: those of the row that a point belongs to

``Whole`` goes through such a map by autograd, with the same calls as a ``Chain``.

>>> model = Model(torch.nn.Conv1d(1, 1, 2), (torch.zeros(4, 1, 3),))
>>> model.rows.shape, model.outputs(model.rows, None).shape
(torch.Size([4, 3]), torch.Size([4, 2]))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from calclab.attribution.guard import first_line
from calclab.attribution.target import Target, Which, owners
from calclab.errors import UserError


class Model:
    """Inputs (B, *shape) of the module as points (B, d), and points as its outputs (N, m).

    ``pieces`` are the shapes that the d coordinates are made of, ``shapes`` those of the inputs that values are given
    for; ``output`` says which of several outputs is meant, by number, key or attribute. One forward pass finds the
    embeddings of integer inputs. UserError where an integer input is looked up in none, where all inputs are held, and
    where the module does not take the rows.
    """

    def __init__(self, module: nn.Module, inputs: Sequence[Tensor], output: int | str | None = None) -> None:
        self.module, self.inputs, self.output = module, tuple(inputs), output
        self.whole = [k for k, x in enumerate(inputs) if not x.is_floating_point() and x.dtype != torch.bool]
        self.floats = [k for k, x in enumerate(inputs) if x.is_floating_point()]
        self.plain = len(self.inputs) == 1 and not self.whole and bool(self.floats)
        self.looked_up: dict[tuple[nn.Module, int], tuple[int, int]] = {}  # (embedding, nth call) -> input, place
        self.embedded: list[Tensor] = []
        if self.whole:
            self._find_embeddings()
        self.shapes = tuple(self.inputs[k].shape[1:] for k in (*self.floats, *self.whole))  # as the values are given
        self.pieces = [self.inputs[k].shape[1:] for k in self.floats] + [e.shape[1:] for e in self.embedded]
        self.sizes = [shape.numel() for shape in self.pieces]
        if not self.sizes:
            raise UserError("nothing to attribute to: all inputs are held (boolean). Give an input of numbers")
        self.rows = self.flat(self.inputs)

    def flat(self, inputs: Sequence[Tensor]) -> Tensor:
        """Inputs, as the module takes them, as points (B, d)."""
        parts = [inputs[k].detach().flatten(1) for k in self.floats]
        if self.whole:
            with torch.no_grad():
                parts += [m(inputs[k]).detach().flatten(1) for (m, _), (k, _) in self.looked_up.items()]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def outputs(self, points: Tensor, owner: Tensor | None) -> Tensor:
        """(N, d) to (N, m). ``owner`` (N,) is needed where some input is held. UserError for several outputs of which
        none is chosen."""
        if self.plain:
            result = self.module(points.reshape(len(points), *self.pieces[0]))
        else:
            result = self._with_parts(points, owner)
        found = self._flat_output(result)
        if len(found) != len(points):
            raise UserError(
                f"{type(self.module).__name__} gives outputs of {len(found)} rows for {len(points)}: it takes one row "
                "at a time, and importance asks for many points at once. Let its forward go through all rows given"
            )
        return found

    @property
    def needs_owner(self) -> bool:
        return len(self.floats) < len(self.inputs)

    def collapse(self, values: Tensor) -> Tensor:
        """Values (B, d) of the coordinates as values of the inputs' entries: an embedding's coordinates are summed."""
        if not self.whole:
            return values
        parts = list(torch.split(values, self.sizes, 1))
        n = len(self.floats)
        result = parts[:n]
        for k in self.whole:
            total = torch.zeros(len(values), self.inputs[k][0].numel(), dtype=values.dtype, device=values.device)
            for place, (source, _) in enumerate(self.looked_up.values()):
                if source == k:
                    total = total + parts[n + place].reshape(len(values), total.shape[1], -1).sum(2)
            result.append(total)
        return torch.cat(result, 1)

    def _flat_output(self, result: Any) -> Tensor:
        """The output that is asked for, as rows (N, m); UserError for one that there is not, and where none was asked
        for and there are several."""
        if self.output is not None:
            try:
                result = (
                    getattr(result, self.output)
                    if isinstance(self.output, str) and hasattr(result, self.output)
                    else result[self.output]
                )
            except (KeyError, IndexError, TypeError):
                raise UserError(f"output={self.output}: {several(result)}") from None
        if not isinstance(result, Tensor):
            raise UserError(f"{type(self.module).__name__} gives {several(result)}. Say which by output=0")
        return result if result.ndim == 2 else result.reshape(len(result), -1)

    def _find_embeddings(self) -> None:
        """Which embeddings the integer inputs are looked up in, by one forward pass: the n-th call of an
        ``nn.Embedding`` whose argument is the input itself. UserError where an input is looked up in none."""
        calls: dict[nn.Module, int] = {}

        def note(module: nn.Module, args: Any, result: Tensor) -> None:
            nth = calls.get(module, 0)
            calls[module] = nth + 1
            for k in self.whole:
                x = self.inputs[k]
                if args and args[0].shape == x.shape and torch.equal(args[0], x):
                    self.looked_up[module, nth] = (k, len(self.embedded))
                    self.embedded.append(result.detach())
                    return

        handles = [m.register_forward_hook(note) for m in self.module.modules() if isinstance(m, nn.Embedding)]
        try:
            with torch.no_grad():
                if handles:
                    self.module(*self.inputs)
        except Exception as error:
            name = type(self.module).__name__
            raise UserError(f"{name} does not take these rows: {first_line(error)}") from error
        finally:
            for handle in handles:
                handle.remove()
        for k in self.whole:
            if not any(source == k for source, _ in self.looked_up.values()):
                raise UserError(
                    f"input {k} is of whole numbers ({self.inputs[k].dtype}) and is looked up in no nn.Embedding, so "
                    "there is nothing to differentiate by. Give it as floating point: x.float(); a mask, as booleans"
                )

    def _with_parts(self, points: Tensor, owner: Tensor | None) -> Any:
        """What the module gives for points (N, d), each part put where it belongs: floating-point inputs are given, the
        rows of embeddings take the place of what the embeddings themselves give, and what is held is that of the
        points' ``owner``."""
        parts = [
            piece.reshape(len(points), *shape)
            for piece, shape in zip(torch.split(points, self.sizes, 1), self.pieces, strict=True)
        ]
        given: list[Tensor] = []
        floats = iter(parts)
        for x in self.inputs:
            if x.is_floating_point():
                given.append(next(floats))
            else:
                given.append(x if owner is None else x[owner])
        if not self.whole:
            return self.module(*given)
        calls: dict[nn.Module, int] = {}

        def put(module: nn.Module, args: Any, result: Tensor) -> Tensor | None:
            nth = calls.get(module, 0)
            calls[module] = nth + 1
            found = self.looked_up.get((module, nth))
            return None if found is None else parts[len(self.floats) + found[1]]

        handles = [m.register_forward_hook(put) for m in {m for m, _ in self.looked_up}]
        try:
            return self.module(*given)
        finally:
            for handle in handles:
                handle.remove()


class Whole:
    """Any module, by autograd: points (..., b, d), which are their own lifted space, to t and ∂t/∂x. ``numbers`` is
    what one point takes on its way, about, from which the lots are made that keep the memory; ``bent`` names the
    operations that are not piecewise linear in the input."""

    def __init__(self, model: Model, numbers: int, bent: tuple[str, ...]) -> None:
        self.model, self.numbers, self.bent = model, numbers, bent
        self.width = sum(model.sizes)

    def lift(self, points: Tensor) -> Tensor:
        return points

    def push(self, change: Tensor) -> Tensor:
        return change

    def pull(self, g: Tensor) -> Tensor:
        return g

    def effects(self, change: Tensor, features: slice, onto: Tensor | None = None) -> Tensor:
        """A change (b, d), feature by feature: (f, b, d), zero but in its own feature; with x where it is given."""
        one = torch.eye(change.shape[1], dtype=change.dtype, device=change.device)[features, None]
        return change * one if onto is None else torch.addcmul(onto, change, one)

    def outputs(self, z: Tensor, which: Which) -> Tensor:
        """(..., b, d) to (..., b, m)."""
        with torch.no_grad():
            y = self._forward(z, which)
        return y.view(*z.shape[:-1], -1)

    def values(self, z: Tensor, which: Which, target: Target) -> Tensor:
        """t (..., b)."""
        return target.values(self.outputs(z, which), which)

    def gradients(self, z: Tensor, which: Which, target: Target) -> Tensor:
        """∂t/∂x, (..., b, d): one forward and one backward pass of all points together, which do not mix; zeros where t
        does not depend on x."""
        with torch.enable_grad():
            leaf = z.detach().reshape(-1, z.shape[-1]).requires_grad_()
            y = self._forward(leaf.view(z.shape), which)
        if not y.requires_grad:
            return torch.zeros_like(z)
        outputs = y.detach().view(*z.shape[:-1], -1)
        seed = target.seed(outputs, which).expand_as(outputs).reshape(y.shape)
        (g,) = torch.autograd.grad(y, leaf, seed, allow_unused=True, materialize_grads=True)
        return g.view(z.shape)

    def _forward(self, z: Tensor, which: Which) -> Tensor:
        owner = owners(z, which) if self.model.needs_owner else None
        return self.model.outputs(z.reshape(-1, z.shape[-1]), owner)


def several(result: Any) -> str:
    """What several outputs are, in words.

    >>> several({"logits": 0, "loss": 0})
    'a dict of outputs with the keys logits, loss'
    >>> several((torch.zeros(1), torch.zeros(1)))
    '2 outputs, 0 to 1'
    """
    if isinstance(result, dict):
        return f"a dict of outputs with the keys {', '.join(map(str, result))}"
    if isinstance(result, tuple | list):
        return f"{len(result)} outputs, 0 to {len(result) - 1}"
    return "one output" if isinstance(result, Tensor) else f"a {type(result).__name__}, not a tensor"
