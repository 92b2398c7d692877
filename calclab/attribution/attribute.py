"""``attribute``: a network, a method and rows; out comes a number for every input, with its error.

The order of what is done is that of the module's life: the rows are held against it (``Sample``); it is put into eval
mode and its parameters are held still (``guard.preserved``); one forward pass of the rows is recorded (``Recording``),
which gives the outputs and an engine; the target is chosen of the outputs; the method asks its ``Question``; and the
module is as it was found, also where any of this raised an error.

>>> import torch
>>> from calclab.attribution import attribute
>>> net = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Tanh())
>>> _ = net.load_state_dict({"0.weight": torch.tensor([[0.0, 1.0]]), "0.bias": torch.zeros(1)})
>>> attribute(net, "gradient", torch.zeros(1, 2)).values  # tanh'(0) = 1
tensor([[0., 1.]])
>>> attribute(net, "ablation", torch.ones(1, 2)).values.round(decimals=4)  # tanh(1) - tanh(0)
tensor([[0.0000, 0.7616]])
>>> attribute(net, "magic", torch.ones(1, 2))  # doctest: +ELLIPSIS
Traceback (most recent call last):
    ...
calclab.errors.UserError: method=magic: the methods are gradient, gradient_x_input, ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any

from torch import Tensor, nn

from calclab.attribution import (
    captum_layers,
    captum_rules,
    conductance,
    gradients,
    integrated,
    permutation,
    removal,
    sample,
)
from calclab.attribution.guard import Kept, finite, preserved, sentences
from calclab.attribution.model import Model
from calclab.attribution.question import Attribution, Found, Question
from calclab.attribution.recording import Recording, recognised
from calclab.attribution.sample import Loss
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
    **captum_rules.METHODS,
    **captum_layers.METHODS,
}
# These go through a chain alone, and never through the module that it was recognised as
BY_CHAIN = set(METHODS) - {"permutation", "conductance", *captum_rules.METHODS, *captum_layers.METHODS}
UNTOUCHED = Kept([], [])


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
    ``loss`` takes outputs (N, m) and labels to (N,). ``baseline`` is zeros, mean, row.0, class.0, training (all rows of
    the reference) or a tensor. ``reference`` is the training set: a Network's own rows, else the rows themselves; its
    ``reference_labels`` say which class each row is of. ``output`` says which, of a module with several. ``seed`` is
    that of the methods that draw. ``memory`` is in MB above the model, about. ``options`` are those of the method,
    named in its docstring.

    The module is looked at in eval mode and left as found: mode, buffers, gradients, hooks, random state.

    UserError for a method, an option, a target, a baseline or an output that there is not; for rows that the module
    does not take, of another dtype than its parameters, complex, or not finite; for a module that mixes its rows, draws
    random numbers in eval mode or is TorchScript; and for a method of Captum's where Captum is not installed.
    """
    run = checked(method, options)
    known = labels, loss, reference, reference_labels
    of = sample.of_network(subject, rows, *known) if isinstance(subject, Network) else None
    of = of or sample.of_module(subject, rows, *known)
    if not memory > 0:
        raise UserError(f"memory={memory}: megabytes above 0. Type memory=32")
    chain = recognised(of.module) if method in BY_CHAIN and output is None else None
    chain = chain if chain is not None and of.fits(chain) else None
    with preserved(of.module) if chain is None else nullcontext(UNTOUCHED) as kept:
        notes = [] if chain is not None else sentences(of.module, kept)
        of.fitting(kept)
        model = Model(of.module, of.inputs, output)
        finite(model.rows, "the rows", of.features)
        recording = Recording(model, kept, memory, chain)
        finite(recording.outputs, "the network's outputs", of.outputs)
        aim = choose(target, recording.outputs, names=of.outputs, labels=of.labels, loss=of.loss)
        q = Question(recording, aim, of, baseline, seed, memory)
        found = run(q, **options)
        score = q.score.detach()
    inputs = found.inner is None
    return Attribution(
        method=method,
        values=(model.collapse(found.values) if inputs else found.values).detach(),
        error=model.collapse(found.error) if inputs and found.error is not None else found.error,
        error_kind=found.error_kind,
        forwards=q.forwards + len(score),
        gradients=q.gradients_taken,
        gap=found.gap,
        score=score,
        reference_score=found.reference_score,
        converged=found.converged,
        notes=(*notes, *q.notes, *found.notes, *of.constant(model)),
        shapes=model.shapes if found.inner is None else (found.inner,),
    )


def checked(method: str, options: dict[str, Any]) -> Callable[..., Found]:
    """The method by name; UserError for one that there is not, or for an option that it does not have.

    >>> checked("smoothgrad", {"samples": 10}).__name__
    'smoothgrad'
    """
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
    """The options of a method, and whether each must be given.

    >>> options_of("occlusion")
    {'window': True, 'stride': False}
    """
    found = inspect.signature(METHODS[method]).parameters
    return {name: p.default is p.empty for name, p in found.items() if name != "q"}
