"""What is asked about, as a map of real numbers: x (n,) to f (m,), whatever tensors go in and come out.

Tensors in tuples, lists and dicts are laid end to end; a complex number is two real ones, its parts, so that torch's
convention for gradients (∂/∂re + i ∂/∂im) is the plain gradient. A program that draws random numbers finds the same
ones at every call; one that writes to its inputs is given copies, and told on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from calclab.errors import UserError, error_line

SEED = 20_161
CHUNK = 256  # points that are put through a program at once
CLOSE = 2.0**12  # eps: a program over many points at once must say what it says of one


@dataclass(frozen=True)
class Part:
    """One tensor of those laid end to end: its name, its shape, and where its real numbers are."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    start: int
    stop: int

    @property
    def complex(self) -> bool:
        return self.dtype.is_complex

    def entry(self, i: int) -> str:
        """The name of the real number ``i`` of all.

        >>> Part("W", (2, 3), torch.float64, 4, 10).entry(8)
        'W[1, 1]'
        """
        at, half = divmod(i - self.start, 2) if self.complex else (i - self.start, 0)
        index = np.unravel_index(at, self.shape) if self.shape else ()
        where = f"[{', '.join(map(str, map(int, index)))}]" if index else ""
        return ("", "imaginary part of ")[half] + f"{self.name}{where}"


def parts_of(tensors: Sequence[Tensor], names: Sequence[str]) -> tuple[Part, ...]:
    """Where each tensor is when all are laid end to end."""
    found, start = [], 0
    for name, tensor in zip(names, tensors, strict=True):
        stop = start + tensor.numel() * (1 + tensor.is_complex())
        found.append(Part(name, tuple(tensor.shape), tensor.dtype, start, stop))
        start = stop
    return tuple(found)


def entry_name(parts: Sequence[Part], i: int) -> str:
    return next(part.entry(i) for part in parts if part.start <= i < part.stop)


def flat(tensors: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """The real numbers of tensors, end to end."""
    real = [torch.view_as_real(t.resolve_conj()) if t.is_complex() else t for t in tensors]
    return torch.cat([t.reshape(-1).to(dtype) for t in real])


def number_tensor(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.is_complex())


def wide(dtype: torch.dtype) -> torch.dtype:
    return torch.complex128 if dtype.is_complex else torch.float64


class Program:
    """``call(*arguments)`` as a map (n,) to (m,) of the floating-point tensors in ``arguments``.

    ``x`` is where they are, in float64 where the program can compute in it, else in the widest of their own types.
    ``parts`` and ``outputs`` name what goes in and comes out; ``notes`` say what was seen on the way. Raises UserError
    for what has no numbers to differentiate, or raises itself.
    """

    def __init__(self, call: Callable[..., Any], arguments: tuple[Any, ...], names: Sequence[str] = ()) -> None:
        self.call, self.random, self.mutates, self.lanes = call, False, False, True
        self.notes: list[str] = []
        self.numpy = any(isinstance(leaf, np.ndarray) for leaf in pytree.tree_leaves(arguments))
        if self.numpy:
            arguments = pytree.tree_map(lambda a: torch.as_tensor(a) if isinstance(a, np.ndarray) else a, arguments)
        leaves, self.spec = pytree.tree_flatten(arguments)
        self.leaves = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self.where = [i for i, leaf in enumerate(self.leaves) if number_tensor(leaf) and leaf.numel()]
        if not self.where:
            raise UserError(
                "there is nothing to differentiate by: give numbers that are floats, such as torch.tensor([1.0, 2.0])"
            )
        tensors = [self.leaves[i] for i in self.where]
        self.parts = parts_of(tensors, list(names) or paths(arguments, self.where, len(arguments)))
        self.labels = self.parts  # names of the variables
        self.n, self.device = self.parts[-1].stop, tensors[0].device
        self.wide = self.device.type != "mps"
        self.x = flat(tensors, self._dtype(tensors))
        self._first()

    def _dtype(self, tensors: Sequence[Tensor]) -> torch.dtype:
        """The type of the real numbers: float64, or the widest of the program's own."""
        if self.wide:
            return torch.float64
        kinds = [t.dtype.to_real() if t.is_complex() else t.dtype for t in tensors]
        return max(kinds, key=lambda kind: torch.finfo(kind).bits)

    def _first(self) -> None:
        """The first calls: in which type, giving what, the same twice, leaving its inputs alone?"""
        try:
            found = self._outputs(self.x)
        except Exception as error:
            if not self.wide or all(part.dtype in (torch.float64, torch.complex128) for part in self.parts):
                raise UserError(f"the function raised {error_line(error)}") from error
            self.wide = False
            self.x = flat([self.leaves[i] for i in self.where], self._dtype([self.leaves[i] for i in self.where]))
            self.notes.append(f"the function takes no float64 ({error_line(error)}): it is looked at in its own type")
            try:
                found = self._outputs(self.x)
            except Exception as again:
                raise UserError(f"the function raised {error_line(again)}") from again
        numbers = [t for t in found if t.numel()]
        if not numbers:
            raise UserError("the function gives no floating-point numbers, and so has no derivative. Return a tensor")
        self.outputs = parts_of(found, output_names(len(found)))
        self.m = self.outputs[-1].stop
        self.scalar = self.m == 1
        first, second = self.value(self.x), self.value(self.x)
        if not same(first, second):
            self.random = True
            more = [self.value(self.x) for _ in range(3)]
            self.steady = same(more[0], more[1]) and same(more[1], more[2])
            said = "it is looked at with one fixed draw" if self.steady else "another value at every call"
            self.notes.append(f"the function is random: {said}")
        else:
            self.steady = True

    # --- calls ---

    def inputs(self, x: Tensor) -> list[Any]:
        """The arguments' leaves with x (n,) in their places."""
        leaves = list(self.leaves)
        for i, part in zip(self.where, self.parts, strict=True):
            kind = wide(part.dtype) if self.wide else part.dtype
            piece = x[part.start : part.stop]
            if part.complex:
                piece = torch.view_as_complex(piece.reshape(*part.shape, 2).contiguous())
            leaves[i] = piece.reshape(part.shape).to(kind)
        return leaves

    def __call__(self, leaves: Sequence[Any]) -> list[Tensor]:
        """The floating-point tensors that the program gives."""
        if self.numpy:
            leaves = [leaf.detach().numpy().copy() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        arguments = pytree.tree_unflatten(list(leaves), self.spec)
        with drawn() if self.random else nullcontext():
            given = self.call(*arguments)
        if self.numpy:
            given = pytree.tree_map(
                lambda a: torch.as_tensor(a) if isinstance(a, np.ndarray | np.generic | float) else a, given
            )
        return [leaf for leaf in pytree.tree_leaves(given) if number_tensor(leaf)]

    def _outputs(self, x: Tensor) -> list[Tensor]:
        leaves = self.inputs(x.clone())
        before = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        with torch.no_grad():
            found = self(leaves)
        if any(isinstance(a, Tensor) and not same(a, b) for a, b in zip(leaves, before, strict=True)):
            self.mutates = True
        return found

    def value(self, x: Tensor) -> Tensor:
        """f(x) (m,) in the type of ``x``, detached."""
        with torch.no_grad():
            return flat(self(self.inputs(x.clone())), x.dtype)

    def values(self, points: Tensor) -> Tensor:
        """f of points (p, n): (p, m)."""
        if self.lanes and len(points) > 3 and not (self.numpy or self.random or self.mutates):
            found = self._together(points)
            if found is not None:
                return found
        return torch.stack([self.value(point) for point in points])

    def _together(self, points: Tensor) -> Tensor | None:
        """Many points in one call under vmap; None, from then on, where the program does not take that."""
        try:
            with torch.no_grad():
                rows = [
                    torch.func.vmap(lambda p: flat(self(self.inputs(p)), p.dtype))(few)
                    for few in torch.split(points, CHUNK)
                ]
        except Exception:
            self.lanes = False
            return None
        found = torch.cat(rows)
        for k in (0, len(points) - 1):
            alone = self.value(points[k])
            if found.shape[1:] != alone.shape or not close(found[k], alone):
                self.lanes = False
                return None
        return found

    # --- autograd ---

    def graph(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x as a leaf and f(x) with its graph."""
        leaf = x.detach().clone().requires_grad_()
        with torch.enable_grad():
            given = self(self.inputs(leaf * 1))  # a copy: a program may write to what is no leaf
            return leaf, flat(given, x.dtype)

    def pulled(self, x: Tensor, weights: Tensor) -> Tensor:
        """Rows uᵀJ of reverse mode for weights (k, m): (k, n); zeros where the graph does not reach."""
        leaf, y = self.graph(x)
        if not y.requires_grad:
            return x.new_zeros(len(weights), self.n)
        rows = [torch.autograd.grad(y, leaf, u.to(y.dtype), retain_graph=True, allow_unused=True)[0] for u in weights]
        return torch.stack([torch.zeros_like(x) if row is None else row.detach() for row in rows])

    def pushed(self, x: Tensor, direction: Tensor) -> Tensor:
        """J d of forward mode, (m,)."""
        import torch.autograd.forward_ad as forward

        make, unpack = cast(Any, forward.make_dual), cast(Any, forward.unpack_dual)
        with forward.dual_level():
            y = flat(self(self.inputs(make(x.detach().clone(), direction.to(x.dtype)) * 1)), x.dtype)
            tangent = unpack(y).tangent
            return torch.zeros_like(y) if tangent is None else tangent.detach().clone()


# --- small things ---


@contextmanager
def undisturbed() -> Iterator[None]:
    """Every generator of random numbers that a program may use is afterwards as it was."""
    python, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)


@contextmanager
def drawn() -> Iterator[None]:
    """... and begins anew."""
    with undisturbed():
        torch.default_generator.manual_seed(SEED)
        random.seed(SEED)
        np.random.seed(SEED)
        yield


def same(a: Tensor, b: Tensor) -> bool:
    """Equal bit for bit, NaN in the same places."""
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())


def close(a: Tensor, b: Tensor) -> bool:
    scale = float(b[b.isfinite()].abs().max()) if bool(b.isfinite().any()) else 0.0
    return bool(
        ((a - b).abs() <= CLOSE * torch.finfo(a.dtype).eps * scale).logical_or((a == b) | (a.isnan() & b.isnan())).all()
    )


def paths(arguments: tuple[Any, ...], where: Sequence[int], count: int) -> list[str]:
    """Names of the leaves ``where``: x, or x0, x1 of several arguments, with keys within."""
    found = [path for path, _ in pytree.tree_flatten_with_path(arguments)[0]]
    names = []
    for i in where:
        first, *rest = found[i]
        stem = "x" if count == 1 else f"x{getattr(first, 'idx', 0)}"
        names.append(stem + "".join(pytree.keystr((key,)) for key in rest))
    return names


def output_names(count: int) -> list[str]:
    return ["f"] if count == 1 else [f"f{k}" for k in range(count)]
