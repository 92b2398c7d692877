"""Rows as a module takes them, and what is known of them: labels, loss, the training set, names.

A ``Network`` brings all of it along, and flat rows (B, d) are put into the shape of its data; a module by itself has
what it is given. Everything that a user can have given wrongly is refused here, before the module is called.

>>> import torch
>>> rows = of_module(torch.nn.Linear(3, 1), torch.zeros(5, 3), None, None, None, None)
>>> len(rows.inputs), rows.inputs[0].shape, rows.reference
(1, torch.Size([5, 3]), None)
>>> of_module(torch.nn.Linear(3, 1), torch.zeros(5, 3), torch.zeros(4), None, None, None)
Traceback (most recent call last):
    ...
calclab.errors.UserError: 5 and 4 labels rows are given: every input and the labels have the same number, at least 1
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from calclab.attribution.chain import Chain
from calclab.attribution.guard import Kept, finite
from calclab.attribution.model import Model
from calclab.errors import UserError
from calclab.subject.network import Network

Loss = Callable[[Tensor, Tensor], Tensor]  # outputs (N, m), labels (N, ...) -> (N,)


@dataclass(frozen=True)
class Sample:
    """``inputs`` are the tensors that ``module`` takes, rows along the first axis of each; ``reference`` the training
    set, in the same form, None: the rows themselves. ``labels`` (B, ...) and ``reference_labels`` (R, ...) belong to
    them. Names are empty where there are none."""

    module: nn.Module
    inputs: tuple[Tensor, ...]
    labels: Tensor | None = None
    loss: Loss | None = None
    reference: tuple[Tensor, ...] | None = None
    reference_labels: Tensor | None = None
    features: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def fitting(self, kept: Kept) -> None:
        """UserError where the inputs are of another dtype than the parameters."""
        for x in self.inputs:
            if x.is_complex():
                raise UserError(
                    "the rows are complex, and attributions are by real numbers. Give real and imaginary parts"
                )
            if kept.parameters and x.is_floating_point() and x.dtype != (own := kept.parameters[0].dtype):
                name = str(own).removeprefix("torch.")
                raise UserError(f"the rows are {x.dtype} and the network is {own}. Give rows.to(torch.{name})")

    def fits(self, chain: Chain) -> bool:
        """Whether these are rows (B, d) as a chain's first layer takes them."""
        x, weight = self.inputs[0], chain.first.weight
        return len(self.inputs) == 1 and x.ndim == 2 and x.shape[1] == weight.shape[1] and x.dtype == weight.dtype

    def training_set(self, model: Model) -> Tensor:
        """The reference as points (R, d); UserError for another shape than that of the rows, and for NaN."""
        if self.reference is None:
            return model.rows
        if [p.shape[1:] for p in self.reference] != [x.shape[1:] for x in model.inputs]:
            shapes = " and ".join(str(tuple(p.shape)) for p in self.reference)
            raise UserError(f"reference of shape {shapes}: give rows of the same shape as those to attribute")
        found = model.flat(self.reference)
        finite(found, "the reference", self.features)
        return found

    def constant(self, model: Model) -> list[str]:
        """A note on inputs that do not vary over the rows: there an attribution tells of the baseline. None is given
        where more than half do not, as of images with a black border."""
        if model.rows.shape[0] < 2 or model.whole or not (model.rows[0] == model.rows[-1]).any():
            return []
        still = (model.rows == model.rows[0]).all(0).nonzero()[:, 0].tolist()
        if not still or len(still) > 0.5 * model.rows.shape[1]:
            return []
        few = ", ".join(self.features[i] if i < len(self.features) else f"input {i}" for i in still[:5])
        few += ", ..." * (len(still) > 5)
        return [f"constant in these rows: {few}. A value there tells of the baseline, not of differences between rows"]


def of_network(
    network: Network,
    rows: Any,
    labels: Tensor | None,
    loss: Loss | None,
    reference: Any,
    reference_labels: Tensor | None,
) -> Sample:
    """Rows of a network (None: all of its data), flat (B, d) or in the shape of its data; what is not given is the
    network's own: of labels only where the rows are its own too. UserError for rows of another width."""
    data = network.data
    if rows is None and labels is None:
        labels = data.targets
    if reference is None and reference_labels is None:
        reference_labels = data.targets
    return Sample(
        module=network.module,
        inputs=inputs_of(network.module, data.inputs if rows is None else shaped(network, rows), labels),
        labels=labels,
        loss=network.loss.rows if loss is None else loss,
        reference=(data.inputs if reference is None else shaped(network, reference),),
        reference_labels=reference_labels,
        features=data.features,
        classes=data.classes,
        outputs=network.outputs,
    )


def of_module(
    module: Any, rows: Any, labels: Tensor | None, loss: Loss | None, reference: Any, reference_labels: Tensor | None
) -> Sample:
    """Rows of a module by itself, which are their own training set where no other is given. UserError for what is no
    module, and for rows that are no tensors with the same number of rows."""
    inputs = inputs_of(module, rows, labels)
    if reference is None and reference_labels is None:
        reference_labels = labels
    if reference is not None:
        reference = (reference,) if isinstance(reference, Tensor) else tuple(reference)
    return Sample(module, inputs, labels, loss, reference, reference_labels)


def shaped(network: Network, rows: Any) -> Tensor:
    """Flat or shaped rows of a Network, (B, d) or (B, *shape), as its module takes them; UserError for any other
    width."""
    shape = network.data.inputs.shape[1:]
    if not isinstance(rows, Tensor) or rows.ndim < 2 or rows[0].numel() != shape.numel():
        found = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
        raise UserError(
            f"rows of {found}: {network.name} takes rows of {shape.numel()} numbers. Give (B, {shape.numel()})"
        )
    return rows.reshape(len(rows), *shape)


def inputs_of(module: Any, rows: Any, labels: Tensor | None) -> tuple[Tensor, ...]:
    """The inputs as tensors that belong together, detached; UserError where they do not, where there is no module, and
    where there are no rows."""
    if not isinstance(module, nn.Module):
        raise UserError(f"a {type(module).__name__} is given, and a Network or torch.nn.Module is needed")
    if rows is None:
        raise UserError("a module by itself has no rows. Give attribute(module, method, rows)")
    inputs = (rows,) if isinstance(rows, Tensor) else tuple(rows)
    if not inputs or not all(isinstance(x, Tensor) and x.ndim >= 1 for x in inputs):
        raise UserError(
            "rows: tensors are needed, with the rows along the first axis; a tuple of them for several inputs"
        )
    counts = {x.shape[0] for x in inputs}
    if counts == {0} or len(counts) > 1 or (labels is not None and len(labels) not in counts):
        sizes = ", ".join(str(len(x)) for x in inputs) + ("" if labels is None else f" and {len(labels)} labels")
        raise UserError(f"{sizes} rows are given: every input and the labels have the same number, at least 1")
    return tuple(x.detach() for x in inputs)
