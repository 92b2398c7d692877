"""Norms of weights, gradient and step, of each layer and of all: how large, how much of the weights a step moves.

Of a layer with weights w, gradient g and step Δ these are ‖w‖, ‖g‖, ‖Δ‖ and ‖Δ‖/‖w‖, each over all its parameters. Of
the last a thousandth is usual; far more is a rate too large for that layer, far less one that hardly learns. The cosine
⟨g_k, g_{k-1}⟩ / (‖g_k‖ ‖g_{k-1}‖) of successive gradients is near 1 where steps go one way, near -1 where they bounce.

>>> by_layer(("fc.weight", "fc.bias", "scale"))
{'fc': [0, 1], 'scale': [2]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from calclab.watch.moment import Moment, Named, Reading


class Norms:
    """The look."""

    name = "norms"
    cost = 0.2
    step = previous = True

    def take(self, moment: Moment) -> list[Reading]:
        taken = moment.taken
        update = gradient = None
        if taken is not None:
            update = difference(moment.parameters, taken.before)
            gradient = taken.gradient
        names = tuple(moment.parameters)
        found = norms(moment.parameters, gradient, update, moment.previous)
        return readings(names, *found)


def difference(after: Named, before: Named) -> dict[str, Tensor]:
    """What a step has added to each parameter."""
    names = [name for name in after if name in before]
    return dict(zip(names, torch._foreach_sub([after[n] for n in names], [before[n] for n in names]), strict=True))


def norms(
    weights: Named, gradient: Named | None, update: Named | None, previous: Named | None
) -> tuple[dict[str, dict[str, float]], float | None]:
    """Euclidean norms of each parameter by kind and name, in float32 or wider, and the cosine of the two gradients,
    None where one is not there. All of it comes to the CPU at once."""
    kinds = {"weight": weights, "gradient": gradient or {}, "update": update or {}}
    pairs = [(kind, name) for kind, tensors in kinds.items() for name in tensors]
    parts = [part for tensors in kinds.values() for part in norms_of(list(tensors.values()))]
    both = [name for name in gradient or () if name in (previous or ())]
    if gradient is not None and previous is not None and both:
        parts += [inner(gradient, previous, both), *norms_of([previous[name] for name in previous])]
    values = brought(parts)
    found: dict[str, dict[str, float]] = {kind: {} for kind in kinds}
    for (kind, name), value in zip(pairs, values, strict=False):
        found[kind][name] = value
    if not both:
        return found, None
    product, *rest = values[len(pairs) :]
    length = total(found["gradient"].values()) * total(rest)
    return found, product / length if length > 0 else None


def norms_of(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The norm of each, ()."""
    wide = [t if t.dtype in (torch.float32, torch.float64) or t.is_complex() else t.float() for t in tensors]
    return list(torch._foreach_norm(wide)) if wide else []


def inner(one: Named, other: Named, names: Sequence[str]) -> Tensor:
    """The inner product over the parameters ``names``, ()."""
    first = one[names[0]].device
    wide = torch.float32 if first.type == "mps" else torch.float64
    return torch.stack([torch.dot(real(one[n]), real(other[n])).to(first, wide) for n in names]).sum()


def real(tensor: Tensor) -> Tensor:
    """The entries (n,), of a type that sums can be taken in; of a complex number both parts."""
    flat = (torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor).reshape(-1)
    return flat if flat.dtype in (torch.float32, torch.float64) else flat.float()


def brought(parts: Sequence[Tensor]) -> list[float]:
    """Numbers () on whatever devices, in one transfer."""
    if not parts:
        return []
    device = parts[0].device
    wide = torch.float32 if device.type == "mps" else torch.float64
    found: list[float] = torch.stack([part.to(device, wide) for part in parts]).tolist()
    return found


def total(norms: object) -> float:
    """The norm of all parts from those of each."""
    return float(sum(value * value for value in norms)) ** 0.5  # type: ignore[attr-defined]


def by_layer(names: Sequence[str]) -> dict[str, list[int]]:
    """The places of each layer's parameters: those of one module are a layer."""
    found: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        found.setdefault(name.rpartition(".")[0] or name, []).append(i)
    return found


def readings(names: Sequence[str], found: Mapping[str, Mapping[str, float]], cosine: float | None) -> list[Reading]:
    """Those of all parameters, and of each layer those that are known."""
    made = []
    sizes = {kind: values for kind, values in found.items() if values}
    for kind, values in sizes.items():
        made.append(Reading("gradient/norm" if kind == "gradient" else f"{kind}/norm", total(values.values())))
    if cosine is not None:
        made.append(Reading("gradient/cosine_to_previous", cosine))
    layers = {layer: [names[i] for i in places] for layer, places in by_layer(names).items()}
    each = {
        kind: {
            layer: total(values[n] for n in held if n in values)
            for layer, held in layers.items()
            if any(n in values for n in held)
        }
        for kind, values in sizes.items()
    }
    for kind, of_layers in each.items():
        made += [Reading(f"layers/{kind}_norm/{layer}", value) for layer, value in of_layers.items()]
    for layer, moved in each.get("update", {}).items():
        if (weight := each["weight"][layer]) > 0:
            made.append(Reading(f"layers/update_to_weight/{layer}", moved / weight))
    return made
