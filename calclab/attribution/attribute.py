"""``attribute``: a network, a method and rows; out comes a number for every input, with its error."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any

from torch import Tensor, nn

from calclab.attribution import baseline as base
from calclab.attribution import conductance, gradients, inside, integrated, permutation, removal, rules
from calclab.attribution.chain import Chain
from calclab.attribution.guard import Kept, finite, preserved, sentences
from calclab.attribution.look import Look, recognised
from calclab.attribution.model import Model
from calclab.attribution.question import Question
from calclab.attribution.result import Attribution, Found
from calclab.attribution.target import Scalar, choose
from calclab.errors import UserError
from calclab.subject.network import Network

METHODS: dict[str, Callable[..., Found]] = {
    "gradient": gradients.gradient,
    "gradient_x_input": gradients.gradient_x_input,
    "integrated_gradients": integrated.integrated_gradients,
    "expected_gradients": integrated.expected_gradients,
    "smoothgrad": gradients.smoothgrad,
    "ablation": removal.ablation,
    "occlusion": removal.occlusion,
    "shapley": removal.shapley,
    "permutation": permutation.permutation,
    "conductance": conductance.conductance,
    **rules.METHODS,
    **inside.METHODS,
}
# These go through a chain alone, and never through the module that it was recognised as
BY_CHAIN = set(METHODS) - {"permutation", "conductance", *rules.METHODS, *inside.METHODS}
UNTOUCHED = Kept([], [])
Loss = Callable[[Tensor, Tensor], Tensor]


def attribute(
    subject: Network | nn.Module,
    method: str,
    rows: Tensor | Sequence[Tensor] | None = None,
    *,
    target: str | int | Tensor | Scalar = "predicted",
    labels: Tensor | None = None,
    loss: Loss | None = None,
    baseline: str | Tensor | Sequence[Tensor] = "zeros",
    reference: Tensor | Sequence[Tensor] | None = None,
    reference_labels: Tensor | None = None,
    output: int | str | None = None,
    seed: int = 0,
    memory: float = 32.0,
    **options: Any,
) -> Attribution:
    """What each input of each row has to do with the target, by one of ``METHODS``; see ``Attribution``.

    ``rows`` are those of the network's data unless given: flat (B, d) of a ``Network``, else as the module takes them,
    a tuple for several inputs. ``target`` is predicted, label, loss, an output (its name, output.2 or 2), a formula in
    y0, y1, ..., a tensor (B,) of output numbers, or a function of outputs and rows. ``labels`` are those of the rows.
    ``baseline`` is zeros, mean, row.0, class.0, training (all rows of the reference) or a tensor. ``reference`` is the
    training set: a Network's own rows, else the rows themselves. ``output`` says which, of a module with several.
    ``memory`` is in MB above the model, about. ``options`` are those of the method, named in its docstring.

    The module is looked at in eval mode and left as found: mode, buffers, gradients, hooks, random state.
    """
    run = checked(method, options)
    module, inputs, names, classes = subject, rows, (), ()  # type: Any, Any, tuple[str, ...], tuple[str, ...]
    outputs: tuple[str, ...] = ()
    if isinstance(subject, Network):
        module, outputs, names, classes = subject.module, subject.outputs, subject.data.features, subject.data.classes
        own = rows is None
        inputs = subject.data.inputs if own else shaped(subject, rows)
        labels = subject.data.targets if own and labels is None else labels
        loss = subject.loss.rows if loss is None else loss
        if reference is None:
            reference = subject.data.inputs
            reference_labels = subject.data.targets if reference_labels is None else reference_labels
        else:
            reference = shaped(subject, reference)
    inputs = given(module, inputs, labels)
    if not memory > 0:
        raise UserError(f"memory={memory}: megabytes above 0. Type memory=32")
    chain = recognised(module) if method in BY_CHAIN and output is None else None
    chain = chain if chain is not None and fits(chain, inputs) else None
    with preserved(module) if chain is None else nullcontext(UNTOUCHED) as kept:
        notes = [] if chain is not None else sentences(module, kept)
        fitting(kept, inputs)
        model = Model(module, inputs, output)
        finite(model.rows, "the rows", names)
        look = Look(model, kept, memory, chain)
        y = look.outputs
        finite(y, "the network's outputs", outputs)
        aim = choose(target, y, names=outputs, labels=labels, loss=loss)

        def known() -> Tensor:
            if reference is None:
                notes.append("no reference is given: the rows themselves are taken for the training set")
                return model.rows
            parts = (reference,) if isinstance(reference, Tensor) else tuple(reference)
            if [p.shape[1:] for p in parts] != [x.shape[1:] for x in model.inputs]:
                shapes = " and ".join(str(tuple(p.shape)) for p in parts)
                raise UserError(f"reference of shape {shapes}: give rows of the same shape as those to attribute")
            found = model.flat(parts)
            finite(found, "the reference", names)
            return found

        once = Once(known)

        def compared() -> Tensor:
            asked = isinstance(baseline, str) and baseline.strip() != "zeros"
            own_labels = labels if reference is None and reference_labels is None else reference_labels
            found = base.baselines(baseline, model, once() if asked else model.rows, own_labels, classes)
            finite(found.flatten(0, 1), "the baseline", names)
            return found

        q = Question(look, aim, model.rows, Once(compared), once, labels, loss, seed, memory)
        found = run(q, **options)
        score = q.score.detach()
        notes += [*found.notes, *constant(model, names)]
    values, off = found.values, found.error
    shapes = model.shapes
    if found.inner is not None:
        shapes = (found.inner,)
    else:
        values = model.collapse(values)
        off = None if off is None else model.collapse(off)
    return Attribution(
        method=method,
        values=values.detach(),
        error=off,
        error_kind=found.error_kind,
        forwards=q.forwards + y.shape[0],
        gradients=q.gradients_taken,
        gap=found.gap,
        score=score,
        reference_score=found.reference_score,
        converged=found.converged,
        notes=tuple(notes),
        shapes=shapes,
    )


class Once:
    """A tensor that is made when it is first asked for."""

    def __init__(self, make: Callable[[], Tensor]) -> None:
        self.make = make
        self.made: Tensor | None = None

    def __call__(self) -> Tensor:
        if self.made is None:
            self.made = self.make()
        return self.made


def checked(method: str, options: dict[str, Any]) -> Callable[..., Found]:
    """The method by name; UserError for one that there is not, or for an option that it does not have."""
    if method not in METHODS:
        raise UserError(f"method={method}: the methods are {', '.join(METHODS)}. Type method=integrated_gradients")
    known = options_of(method)
    for name in options:
        if name not in known:
            raise UserError(f"{name}={options[name]}: {method} has the options {', '.join(known) or '(none)'}")
    missing = [name for name, needed in known.items() if needed and name not in options]
    if missing:
        raise UserError(f"{method} needs {' and '.join(f'{name}=' for name in missing)}")
    return METHODS[method]


@cache
def options_of(method: str) -> dict[str, bool]:
    """The options of a method, and whether each must be given."""
    found = inspect.signature(METHODS[method]).parameters
    return {name: p.default is p.empty for name, p in found.items() if name != "q"}


def shaped(network: Network, rows: Any) -> Tensor:
    """Flat or shaped rows of a Network as its module takes them."""
    shape = network.data.inputs.shape[1:]
    if not isinstance(rows, Tensor) or rows.ndim < 2 or rows[0].numel() != shape.numel():
        found = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
        raise UserError(
            f"rows of {found}: {network.name} takes rows of {shape.numel()} numbers. Give (B, {shape.numel()})"
        )
    return rows.reshape(len(rows), *shape)


def given(module: Any, rows: Any, labels: Tensor | None) -> tuple[Tensor, ...]:
    """The inputs as tensors that belong together, in the network's dtype."""
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


def fits(chain: Chain, inputs: Sequence[Tensor]) -> bool:
    """Whether these are rows (B, d) as a chain's first layer takes them."""
    x, weight = inputs[0], chain.first.weight
    return len(inputs) == 1 and x.ndim == 2 and x.shape[1] == weight.shape[1] and x.dtype == weight.dtype


def fitting(kept: Kept, inputs: Sequence[Tensor]) -> None:
    """UserError where the inputs are of another dtype than the parameters."""
    for x in inputs:
        if x.is_complex():
            raise UserError("the rows are complex, and attributions are by real numbers. Give real and imaginary parts")
        if kept.parameters and x.is_floating_point() and x.dtype != (own := kept.parameters[0].dtype):
            name = str(own).removeprefix("torch.")
            raise UserError(f"the rows are {x.dtype} and the network is {own}. Give rows.to(torch.{name})")


def constant(model: Model, names: Sequence[str]) -> list[str]:
    """A note on inputs that do not vary over the rows."""
    if model.rows.shape[0] < 2 or model.whole or not (model.rows[0] == model.rows[-1]).any():
        return []
    still = (model.rows == model.rows[0]).all(0).nonzero()[:, 0].tolist()
    if not still or len(still) > 0.5 * model.rows.shape[1]:
        return []
    few = ", ".join(names[i] if i < len(names) else f"input {i}" for i in still[:5]) + (
        ", ..." if len(still) > 5 else ""
    )
    return [f"constant in these rows: {few}. A value there tells of the baseline, not of differences between rows"]
