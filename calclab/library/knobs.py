"""The knobs of each question as typed keywords: what an editor completes and a type checker holds.

Written by ``tests/library/typed_knobs.py`` from ``conf/`` and ``calclab/schema``; a test holds that it says the same.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class Every(TypedDict, total=False):
    seed: int
    """Seed of every random choice: initial weights, probes, synthetic data; whole number >= 0. Default: 0"""
    figures: Literal[True, False, "png", "svg", "pdf"]
    """Draw pictures: true as PNG; svg and pdf stay sharp at any size; one of true, false, png, svg, pdf. Default:
    true"""


class Chain(Every, total=False):
    """It has none of its own."""


class Comparison(Every, total=False):
    optimizers: list[str]
    """The optimizers to compare, each with the knobs that it has by default; with a line search: lbfgs+wolfe; list of
    texts. Default: [gd,momentum,nesterov,adam,lbfgs]"""
    settings: dict[str, Any] | None
    """Knobs of some of the optimizers, where they are not to have their defaults; mapping, or null. Default: null"""
    budget: int
    """Gradient evaluations that every walk may use after the one at its start; whole number >= 1. Default: 300"""
    rates: list[float]
    """The learning rates that every optimizer tries: the lowest, the highest, and how many, evenly spaced on a
    logarithmic scale; list of numbers. Default: [0.0001,1.0,25]"""
    own: dict[str, Any] | None
    """Optimizers with a sweep of their own, of as many rates: its lowest and its highest; mapping, or null. Default:
    null"""
    seeds: int
    """How many starts; with four or more the first half choose the rates and the others report; whole number from 1 to
    10000. Default: 20"""
    tol: float
    """A walk ends when its gradient norm falls below it; number >= 0. Default: 1e-08"""


class Derivative(Every, total=False):
    steps: int
    """How many step sizes h = 2^-k to try in the difference quotients; whole number from 1 to 1000. Default: 50"""
    variable: str | None
    """The variable to differentiate by; null takes the first; text, or null. Default: null"""


class Descent(Every, total=False):
    lr: float
    """Learning rate: one step is -lr times the gradient; number > 0. Default: that of the optimizer"""
    steps: int
    """The most steps to take; whole number >= 0. Default: 500"""
    tol: float
    """Stop when the gradient norm falls below it; number >= 0. Default: 1e-08"""
    batch: int | None
    """Rows of the data that a step sees; null for all; whole number >= 1, or null. Default: null"""
    epochs: int | None
    """Passes over the data to make, instead of steps; whole number >= 0, or null. Default: null"""
    sharpness: dict[str, Any]
    """Every: log the largest eigenvalue of the Hessian, and lr/2 times it, every so many steps (0: never); mapping.
    Default: {every: 0}"""
    evidence: Any
    """The share of the run's own work that evidence may take beyond that of its start and its end, where the function
    is no formula: a number (null: 0.1), or full for the most there is, or off for none at all; any value. Default:
    null"""
    flow: Literal["gradient", "central"] | None
    """Theory's flows beside gradient descent: gradient, and central, which holds at the edge of stability; list of
    some of gradient, central. Default: null"""
    animation: bool | None
    """The walk as a moving picture too: walk.gif or path.gif, beside the picture; true or false, or null. Default:
    null"""
    watch: Literal["layers"] | None
    """Layers: histograms of each layer's weights, gradient and step for TensorBoard, and their norms; one of layers,
    or null. Default: null"""


class Hessian(Every, total=False):
    threshold: float
    """Condition numbers up to this one are called well-conditioned; number >= 1. Default: 100.0"""
    limit: int
    """The most variables for which the matrix is formed; whole number >= 1. Default: 1000"""
    matrix: Literal["auto", "always", "never"]
    """Whether the matrix is formed: auto does so up to limit, never works by products alone; one of auto, always,
    never. Default: auto"""
    operator: Literal["hessian", "gauss_newton", "fisher", "empirical_fisher", "gradient_covariance"]
    """What stands for the curvature of a network's loss (fisher: Monte Carlo; the last two of each row's gradient,
    without and with the mean taken out); one of hessian, gauss_newton, fisher, empirical_fisher, gradient_covariance.
    Default: hessian"""
    against: Literal["hessian", "gauss_newton", "fisher", "empirical_fisher", "gradient_covariance"] | None
    """Another operator to compare with: how far it is away, in the Frobenius norm; one of hessian, gauss_newton,
    fisher, empirical_fisher, gradient_covariance, or null. Default: null"""
    parameters: list[str] | None
    """Only these parameters of a network: names of layers, or patterns such as '*.bias'; null for all; list of texts,
    or null. Default: null"""
    layers: bool
    """Also the curvature of each layer by itself; true or false. Default: false"""
    held_out: bool
    """Look at the loss on the rows held out (data.held_out=0.2); true or false. Default: false"""
    rows: int | None
    """How many rows of the data to use; null takes all; whole number >= 1, or null. Default: null"""
    damping: float
    """Also the condition number of the matrix plus so much of the identity; number >= 0. Default: 0.0"""
    top: int | None
    """How many of the largest eigenvalues to find by products; null: two more than there are classes, or 5; whole
    number >= 1, or null. Default: null"""
    bottom: int
    """How many of the smallest eigenvalues to find by products; whole number >= 0. Default: 1"""
    tol: float
    """Residuals ‖Av - λv‖ to reach, relative to the largest |λ|; number > 0. Default: 0.001"""
    trace_tol: float | None
    """Half the width of the trace's 95 % interval to reach, relative to it, or to Σ|λ|/2 if that is more; null leaves
    the trace out; number > 0, or null. Default: 0.05"""
    diagonal: bool
    """Estimate the diagonal too, entry by entry; true or false. Default: false"""
    probes: int
    """Random vectors that the density is made of; 0 leaves it out; whole number >= 0. Default: 4"""
    depth: int
    """Products with each of them: the more, the finer the density; whole number >= 2. Default: 24"""
    products: int
    """The most products that the eigenvalues, and again the trace, may take; whole number >= 1. Default: 200"""
    check: int
    """Products that look for eigenvalues that were missed: the more, the closer the bounds on the others; 0: none;
    whole number >= 0. Default: 8"""
    basis: int
    """The most vectors held while eigenvalues are sought; whole number >= 4. Default: 64"""
    slices: int
    """Points along each line and each side of the plane on which the loss is drawn; 0: none; whole number >= 0.
    Default: 21"""
    lanes: int | None
    """Columns of a block of products that share a pass; null takes what suits the network's layers; whole number >= 1,
    or null. Default: null"""
    memory: float | None
    """The most gigabytes that kept graphs may take; null decides; number > 0, or null. Default: null"""


class Importance(Every, total=False):
    method: Any
    """How importance is measured: a method, or a list whose first gives the ranking and is held against the others;
    gradient, gradient_x_input, integrated_gradients, expected_gradients, smoothgrad, ablation, occlusion, shapley,
    permutation, and with the extra captum deeplift, deeplift_shap, lrp, gradcam, neuron_gradient, neuron_conductance,
    neuron_integrated_gradients; of a layer's units conductance, layer_activation, layer_gradient_x_activation,
    layer_integrated_gradients; any value. Default: [gradient,integrated_gradients,ablation]"""
    layer: str | None
    """The layer that gradcam, the methods of a layer's units and those of one neuron look at; text, or null. Default:
    null"""
    neuron: Any
    """The unit of the layer that the neuron methods look at: a number, of maps a list; any value. Default: null"""
    target: str | None
    """What is attributed: the loss, an output by number (output.0) or name, the predicted class, the row's own label,
    or a formula in the outputs (y0 - y1); null takes the predicted class, where a number is predicted that output, of
    several the loss; text, or null. Default: null"""
    baseline: Any
    """What a row is compared with: zeros, mean, row.0, class.<name>, training (every row), or a list of numbers in
    your own units; null takes the mean, of a single row zeros; any value. Default: null"""
    rows: int | None
    """How many rows of the data to use; null takes all; whole number >= 1, or null. Default: null"""
    tol: float | None
    """How far integrated gradients and conductance may be off, relative to the row's largest; null: 1e-8, in float32
    1e-4, of conductance 1e-2; number > 0 and < 1, or null. Default: null"""
    samples: int | None
    """Samples of the methods that take some: baselines, noise, permutations, points of Captum's paths; null takes the
    method's own; whole number >= 2, or null. Default: null"""
    trust: bool
    """Report how far the ranking is to be trusted; false only looks at the rows; true or false. Default: true"""
    retrains: int
    """How many times to train the network again, each from other weights and without another part of the rows, which
    gives the held-out score too; whole number from 0 to 1000. Default: 5"""
    bootstrap: int
    """Bootstrap samples for the intervals of importance and ranks; 0: none; whole number >= 0. Default: 1000"""
    roar: list[Any]
    """Fractions of the columns to remove, the most important first, to train the network again without them; list.
    Default: []"""


class Influence(Every, total=False):
    row: int
    """The row whose prediction is explained, of those held out where some are (data.held_out=0.2); whole number >= 0.
    Default: 0"""
    target: str | None
    """What of it: the loss, or an output by number (output.0); null is the loss; text, or null. Default: null"""
    damping: float
    """Half of it times the squared weights is added to the loss, which is then at rest; number > 0. Default: 0.01"""
    retrains: int
    """Of how many training rows it is seen what training without them really does; whole number >= 0. Default: 20"""
    fresh: bool
    """Train again from other weights, as if from nothing, and not from where the network stands; true or false.
    Default: false"""
    limit: int
    """The most parameters, for the Hessian is formed; whole number >= 1. Default: 1000"""


class Jacobian(Every, total=False):
    by: Literal["input", "parameters", "layers"]
    """Differentiate a network by its input or by its parameters; or each of its layers by its own input; one of input,
    parameters, layers. Default: input"""
    row: int
    """The first row of the data that is the input of a network; whole number >= 0. Default: 0"""
    rows: int | None
    """How many rows, each by itself; null for all from there on; whole number >= 1, or null. Default: 1"""
    batch: int | None
    """Take this many rows at once and show the (batch, outputs, batch, inputs) array; whole number >= 1, or null.
    Default: null"""
    layer: str | None
    """The layer of a network whose output is differentiated; null takes the last; text, or null. Default: null"""
    points: Any
    """Where to look at a function: a list of points, or how many to draw from its domain; null is its start; any
    value. Default: null"""
    way: Literal["auto", "straight", "chain", "forward", "reverse", "coloured", "matrix_free"]
    """How it is computed; auto decides by shapes and memory, and says why; one of auto, straight, chain, forward,
    reverse, coloured, matrix_free. Default: auto"""
    memory: float
    """Megabytes that the computation may take beside the model; number > 0. Default: 256.0"""
    limit: int
    """All singular values up to this many; beyond it only the largest, by products with vectors; whole number >= 1.
    Default: 1000"""
    threshold: float
    """Condition numbers up to this one are called well-conditioned; number >= 1. Default: 100.0"""


class Law(Every, total=False):
    """It has none of its own."""


class Partial(Every, total=False):
    layer: str | None
    """Show only the parameters of this layer of a network; null shows all; text, or null. Default: null"""
