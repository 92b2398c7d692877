"""Which inputs matter to a network's output: attributions with an error beside every number.

``attribute(network, method, rows)`` asks one of ``METHODS`` how much each input x_j of a row has to do with one number
t(x) made of the outputs, the *target*. Answers are of three kinds, in different units:

    slopes   ∂t/∂x_j                                 gradient, smoothgrad, neuron_gradient
    shares   Σ_j a_j = t(x) - t(x₀), x₀ a baseline   integrated_gradients, expected_gradients, shapley, deeplift, ...
    falls    t(x) - t(x without x_j)                 ablation, occlusion; of a score over all rows permutation

``sample.py`` holds the rows, ``target.py`` t, ``baseline.py`` x₀. The network is gone through by hand where it is a
chain of linear layers (``chain.py``), by autograd otherwise (``model.py``); each method is written once, for both, and
asks a ``Question``.

>>> import torch
>>> from calclab.attribution import attribute
>>> net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU(), torch.nn.Linear(2, 1, bias=False))
>>> with torch.no_grad():
...     _ = net[0].weight.copy_(torch.eye(2)), net[2].weight.copy_(torch.tensor([[2.0, -1.0]]))
>>> a = attribute(net, "integrated_gradients", torch.tensor([[1.0, 3.0]]))  # t = 2 ReLU(x0) - ReLU(x1), x₀ = 0
>>> a.values, a.score - a.reference_score
(tensor([[ 2., -3.]]), tensor([-1.]))
"""

from __future__ import annotations

from calclab.attribution.attribute import METHODS, attribute
from calclab.attribution.guard import preserved
from calclab.attribution.question import Attribution

__all__ = ["METHODS", "Attribution", "attribute", "preserved"]
