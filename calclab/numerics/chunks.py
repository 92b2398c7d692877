"""The rows of the data in chunks, so that the graph of one chunk, and what passes through it, keeps to the memory.

The bytes of a graph are a + b r for r rows, to a good approximation; a and b are measured on a few rows and on twice
as many. Of memory M, graphs that are kept and one product's traffic must fit together: (kept + lanes) (a + b r) <= M.
What does not fit is built again at every product, which costs time and no memory.

>>> chunks = plan((0.0, 1e6), 1000, memory=1e9)  # a megabyte a row
>>> chunks.windows[0], len(chunks.windows), chunks.kept
(slice(0, 125, None), 8, 7)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from calclab.core import Rows
from calclab.errors import UserError
from calclab.numerics.saved import Computed

MEMORY = 2e9  # bytes, where nobody says how many
PIECES = 8  # of the memory, in chunks, where not all graphs fit: most are kept, the others built again
PASS = 2**28  # bytes of the graph of one chunk, at most: of more, what passes through does not stay in the caches
READ = 0.6  # of the memory is for graphs where the other part is for rows that are read
PROBE = 4  # rows from which the bytes of a graph are told


@dataclass(frozen=True)
class Chunks:
    """Rows ``bounds[i]`` to ``bounds[i + 1]`` form chunk i; ``kept`` chunks keep their graphs, the others are rebuilt.
    ``lanes`` columns at most go through a graph together."""

    bounds: tuple[int, ...]
    kept: int
    lanes: int
    bytes: int  # of the graph of the largest chunk, about
    both: bool  # whether there is room for graphs for one column and for many

    @property
    def windows(self) -> list[slice]:
        return [slice(first, last) for first, last in pairwise(self.bounds)]


def graph_bytes(build: Callable[[slice], object], rows: int) -> tuple[float, float]:
    """What a graph saves for backward, fixed and for each row, from graphs of a few rows and of twice as many."""
    few = min(PROBE, rows)
    if rows < 2 * few:
        return 0.0, saved_bytes(build, rows) / rows
    small, large = saved_bytes(build, few), saved_bytes(build, 2 * few)
    each = max(0.0, (large - small) / few)
    return max(0.0, small - few * each), each


def saved_bytes(build: Callable[[slice], object], rows: int) -> int:
    """Bytes of the different storages that the graph of the first rows saves; of a network that torch.func is at work
    in, which nobody may watch, of all that is computed."""
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        at = storage.data_ptr()  # of rows of the data only these are counted, not all that they lie among
        seen[at] = min(storage.nbytes(), seen.get(at, 0) + tensor.nbytes)
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            graph = build(slice(0, rows))
    except RuntimeError:
        with Computed() as computed:
            graph = build(slice(0, rows))
        return computed.bytes
    del graph
    return sum(seen.values())


def plan(
    bytes: tuple[float, float], total: int, rows: int | None = None, memory: float | None = None, whole: bool = False
) -> Chunks:
    """Chunks of about equal length. ``bytes`` are those of a graph, fixed and for each row; ``rows`` is the most in one
    (None: what the memory allows), ``memory`` bytes.

    A product takes about the graph of a chunk again for what passes through it, and that for every lane. Chunks are
    no larger than ``PASS`` even where there is room: a product with a ResNet-20 on 256 images takes 2.6 gradients in
    one chunk, 2.2 in four. ``whole`` forbids chunks, for networks whose rows depend on each other.
    """
    memory = MEMORY if memory is None else memory
    fixed, each = bytes
    room = memory / 2 - fixed
    pieces = max(1, int(max(0.0, memory / PIECES - fixed) / max(each, 1.0)))
    most = total if whole or total * each <= room else pieces
    if not whole:
        most = max(1, min(most, int(PASS / max(each, 1.0)) if rows is None else rows))
    bounds = (*range(0, total, most), total) if rows is not None else even(total, most)
    chunk = int(fixed + each * max(last - first for first, last in pairwise(bounds)))
    count = len(bounds) - 1
    kept = min(count, max(0, int((memory - 2 * chunk) // max(1, chunk)) + 1)) if count > 1 else 1
    lanes = max(1, int((memory - kept * chunk) // max(1, chunk)))
    return Chunks(bounds, kept, lanes, chunk, both=(2 * kept + 1) * chunk <= memory)


def enough(bytes: tuple[float, float], total: int, memory: float | None, whole: bool = False) -> None:
    """UserError where the memory asked for does not hold the least graph there can be."""
    fixed, each = bytes
    least = fixed + each * (total if whole else 1)
    if memory is not None and least > memory:
        of = "all rows, which depend on each other," if whole else "one row"
        raise UserError(
            f"memory: the graph of {of} takes {least / 1e9:.2g} gigabytes. Type memory={2 * least / 1e9:.1g}"
        )


def even(total: int, most: int) -> tuple[int, ...]:
    """Bounds of the fewest chunks with at most ``most`` rows, as equal as they can be."""
    count = -(-total // most)
    return tuple(round(i * total / count) for i in range(count + 1))


def limits(memory: float | None, rows: int | None, *tensors: Tensor) -> tuple[float | None, int | None]:
    """The bytes to keep to, and the most rows in a chunk: of `Rows`, what these were told, less what reading takes."""
    streams = [part for part in tensors if isinstance(part, Rows)]
    if not streams:
        return memory, rows
    room = min(part.memory for part in streams) if memory is None else memory
    return READ * room, min([part.most for part in streams] + ([] if rows is None else [rows]))


def windows_of(build: Callable[[slice], object], *tensors: Tensor) -> list[slice]:
    """Windows of rows of tensors that belong together, each of whose graphs, made by ``build``, fits in memory."""
    count = len(tensors[0])
    memory, rows = limits(None, None, *tensors)
    return plan(graph_bytes(build, count), count, rows, memory).windows
