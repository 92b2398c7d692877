"""Captum's methods that look inside a network: the units of a layer, one unit of it, and GradCAM by its maps.

    layer_activation               a_u
    layer_gradient_x_activation    a_u ∂t/∂a_u
    layer_integrated_gradients     (a_u - a₀_u) ∫₀¹ ∂t/∂a_u (a₀ + α (a - a₀)) dα     on the straight path of a, not of x
    neuron_gradient                ∂a_u/∂x_j
    neuron_integrated_gradients    integrated gradients of a_u
    neuron_conductance             (x_j - x₀_j) ∫₀¹ ∂t/∂a_u ∂a_u/∂x_j dα             what goes to t through u alone
    gradcam                        ReLU Σ_c w_c A_c, w_c the mean of ∂t/∂A_c over the places of map c

Values of the units of a layer are (B, width), those of one unit (B, d). Integrals are Gauss-Legendre with ``steps``
nodes, and carry no error of their own; what they lack of t(x) - t(x₀) is told as the gap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from calclab.attribution.captum_rules import RULE, answering, captum, complete, over_baselines, quiet, shaped
from calclab.attribution.layers import Neuron, listed, outputs_of, selector, shapes_of
from calclab.attribution.question import Found, Question
from calclab.errors import UserError


def gradcam(q: Question, *, layer: str) -> Found:
    """GradCAM (Selvaraju et al. 2017, section 3) of a convolution, spread over the input's pixels, (B, d); not
    negative. The map is as coarse as the layer's, and is made larger by bilinear interpolation; channels share it
    evenly. UserError for what is no image, and for a layer that gives no maps."""
    shape = outputs_of(q, layer)
    if len(shape) != 3 or len(q.model.pieces[0]) != 3:
        maps = [name for name, found in shapes_of(q).items() if len(found) == 3]
        there = f"There are {listed(maps)}" if maps else "This network has none: type method=integrated_gradients"
        raise UserError(f"layer={layer}: gradcam needs images and a layer that gives maps (channels, h, w). {there}")
    attr = captum()
    net = answering(q)
    values = attr.LayerGradCam(net, net.module.get_submodule(layer)).attribute(
        shaped(q, q.rows), target=0, relu_attributions=True
    )
    channels, *size = q.model.pieces[0]
    wide = attr.LayerAttribution.interpolate(values.detach(), tuple(size), "bilinear")
    q.gradients_taken += len(values)
    return Found(wide.expand(-1, channels, -1, -1).reshape(q.rows.shape) / channels)


# --- the units of a layer ---


def layer_activation(q: Question, *, layer: str) -> Found:
    """What the units of a layer give."""
    return of_layer(q, layer, lambda net, m, x, b: captum().LayerActivation(net, m).attribute(x))


def layer_gradient_x_activation(q: Question, *, layer: str) -> Found:
    """a·∂t/∂a of the units of a layer."""
    return of_layer(
        q, layer, lambda net, m, x, b: captum().LayerGradientXActivation(net, m).attribute(x, target=0), cost=1
    )


def layer_integrated_gradients(q: Question, *, layer: str, steps: int = 50) -> Found:
    """Integrated gradients of t by the units of a layer, from their values at the baseline: (B, width). ``steps``
    gradients a row."""
    return of_layer(
        q,
        layer,
        lambda net, m, x, b: (
            captum().LayerIntegratedGradients(net, m).attribute(x, baselines=b, target=0, n_steps=steps, method=RULE)
        ),
        cost=steps,
        law="layer_integrated_gradients",
    )


def of_layer(
    q: Question,
    layer: str,
    attribute: Callable[[nn.Module, nn.Module, Tensor, Tensor], Any],
    *,
    cost: int = 0,
    law: str = "",
) -> Found:
    """Values of the units of a layer, (B, width), by ``attribute`` of the module whose only output is t, the layer's
    module, rows and baselines. Under ``law``, the method's name, they are means over the baselines and add up to F(x) -
    F(baseline) where all that reaches the output goes through the layer. ``cost`` gradients a row."""
    from calclab.attribution.integrated import starts

    shape = outputs_of(q, layer)
    net, x = answering(q), shaped(q, q.rows)
    module = net.module.get_submodule(layer)
    every = q.baselines if law else [torch.zeros_like(q.rows[:1])]
    total: Tensor | None = None
    start = torch.zeros_like(q.score)
    for baseline in every:
        found = attribute(net, module, x, shaped(q, baseline.expand(len(q.rows), -1)))
        found = (found[0] if isinstance(found, tuple) else found).detach().flatten(1)
        total = found if total is None else total + found
        start += starts(q, baseline) if law else 0
        q.gradients_taken += cost * len(q.rows)
    assert total is not None
    values, start = total / len(every), start / len(every)
    if not law:
        return Found(values, inner=shape)
    gap = values.sum(1) - (q.score - start)
    return Found(values, None, "", gap, start, notes=complete(gap, q.score - start, law), inner=shape)


# --- one unit of a layer ---


def neuron_gradient(q: Question, *, layer: str, neuron: Neuron) -> Found:
    """∂a/∂x of one unit of a layer, (B, d). UserError for a unit that there is not."""
    place = selector(q, layer, neuron)
    net = answering(q)
    values = captum().NeuronGradient(net, net.module.get_submodule(layer)).attribute(shaped(q, q.rows), place)
    q.gradients_taken += len(q.rows)
    return Found(values.detach().reshape(q.rows.shape))


def neuron_conductance(q: Question, *, layer: str, neuron: Neuron, steps: int = 50) -> Found:
    """What each input sends to t through one unit of a layer, (B, d); of several baselines the mean. ``steps``
    gradients a row."""
    place = selector(q, layer, neuron)
    return over_baselines(
        q,
        lambda net, x, b: (
            captum()
            .NeuronConductance(net, net.module.get_submodule(layer))
            .attribute(x, place, baselines=b, target=0, n_steps=steps, method=RULE)
        ),
        cost=steps,
    )


def neuron_integrated_gradients(q: Question, *, layer: str, neuron: Neuron, steps: int = 50) -> Found:
    """Integrated gradients of one unit of a layer, (B, d): Σ = a(x) - a(x₀). ``steps`` gradients a row."""
    place = selector(q, layer, neuron)
    return over_baselines(
        q,
        lambda net, x, b: (
            captum()
            .NeuronIntegratedGradients(net, net.module.get_submodule(layer))
            .attribute(x, place, baselines=b, n_steps=steps, method=RULE)
        ),
        cost=steps,
    )


METHODS = {
    method.__name__: quiet(method)
    for method in (
        gradcam,
        layer_activation,
        layer_gradient_x_activation,
        layer_integrated_gradients,
        neuron_gradient,
        neuron_conductance,
        neuron_integrated_gradients,
    )
}
