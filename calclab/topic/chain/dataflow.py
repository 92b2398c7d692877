"""Which layer takes what which other gave, read off autograd's graph of one forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from calclab.topic.tape import Tape


def flows(tape: Tape, result: Tensor, x: Tensor) -> tuple[tuple[int, int], ...]:
    """Edges (from, to): 0 are the inputs, k + 1 is layer k of the tape, and last comes what is made of the ``result``.

    ``x`` is the leaf that holds the inputs. From what a layer was given one goes back through operations that belong to
    no layer (sums, reshapes), up to the outputs of others or to x. Where autograd follows nothing, it is the inputs.
    """
    count = len(tape.names)
    owners: dict[Any, list[int]] = {}  # of a node of autograd's graph: the layers whose output it made
    for k in range(count):
        for output in (tape.outputs[k], *tape.others[k]):
            if output.grad_fn is not None:
                owners.setdefault(output.grad_fn, []).append(k)
    found = []
    for k, given in enumerate((*tape.inputs, result)):
        origins = {owner + 1 for owner in before(owners, given, x, k)} or {0}
        found += [(origin, k + 1) for origin in sorted(origins)]
    return tuple(found)


def before(owners: dict[Any, list[int]], given: Tensor, x: Tensor, k: int) -> Iterator[int]:
    """The layers before layer k that are met first on each way back from what it was given; -1 where a way ends at the
    inputs."""
    waiting, met = [given.grad_fn] if given.grad_fn is not None else [], set[Any]()
    while waiting:
        node = waiting.pop()
        if node in met:
            continue
        met.add(node)
        made = [owner for owner in owners.get(node, ()) if owner < k]
        if made:
            yield made[-1]
            continue
        if getattr(node, "variable", None) is x:
            yield -1
        waiting += [after for after, _ in node.next_functions if after is not None]
