"""Knobs of the topics, at the root of the configuration: ``lr=0.05``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from calclab.schema.common import Seeded
from calclab.schema.knob import Schema, knob

METHODS = (
    "gradient", "gradient_x_input", "integrated_gradients", "expected_gradients", "smoothgrad", "ablation", "occlusion",
    "shapley", "permutation", "deeplift", "deeplift_shap", "lrp", "gradcam", "neuron_gradient", "neuron_conductance",
    "neuron_integrated_gradients", "conductance", "layer_activation", "layer_gradient_x_activation",
    "layer_integrated_gradients",
)  # fmt: skip
OPERATORS = ("hessian", "gauss_newton", "fisher", "empirical_fisher", "gradient_covariance")


@dataclass(frozen=True, kw_only=True)
class Derivative(Schema):
    steps: int = knob("how many step sizes h = 2^-k to try in the difference quotients", 40, at_least=1, at_most=1000)
    variable: str | None = knob("the variable to differentiate by; null takes the first", "x")


@dataclass(frozen=True, kw_only=True)
class Partial(Schema):
    layer: str | None = knob("show only the parameters of this layer of a network; null shows all", "hidden.0")


@dataclass(frozen=True, kw_only=True)
class Chain(Schema):
    pass


@dataclass(frozen=True, kw_only=True)
class Descent(Seeded):
    lr: float = knob(
        "learning rate: one step is -lr times the gradient", 0.05, above=0, unit="x per unit of the gradient"
    )
    steps: int = knob("the most steps to take", 200, at_least=0, unit="steps")
    tol: float = knob(
        "stop when the gradient norm falls below it", 1e-8, at_least=0, unit="the objective per unit of x"
    )
    batch: int | None = knob("rows of the data that a step sees; null for all", 64, at_least=1, unit="rows")
    epochs: int | None = knob(
        "passes over the data to make, instead of steps", 20, at_least=0, unit="passes over the data"
    )
    sharpness: dict[str, Any] = knob(
        "every: log the largest eigenvalue of the Hessian, and lr/2 times it, every so many steps (0: never)",
        "{every: 50}",
        rare=True,
    )
    evidence: Any = knob(
        "the share of the run's own work that evidence may take beyond that of its start and its end, where the "
        "function is no formula: a number (null: 0.1), or full for the most there is, or off for none at all",
        0.1,
        names=("full", "off"),
        rare=True,
    )
    flow: list[str] | None = knob(
        "theory's flows beside gradient descent: gradient, and central, which holds at the edge of stability",
        "[gradient,central]",
        choices=("gradient", "central"),
        rare=True,
    )
    animation: bool | None = knob("the walk as a moving picture too: walk.gif or path.gif, beside the picture", "true")
    watch: str | None = knob(
        "layers: histograms of each layer's weights, gradient and step for TensorBoard, and their norms",
        "layers",
        choices=("layers",),
    )


@dataclass(frozen=True, kw_only=True)
class Hessian(Seeded):
    threshold: float = knob("condition numbers up to this one are called well-conditioned", 100, at_least=1, rare=True)
    limit: int = knob("the most variables for which the matrix is formed", 5000, at_least=1, rare=True)
    matrix: str = knob(
        "whether the matrix is formed: auto does so up to limit, never works by products alone",
        "never",
        choices=("auto", "always", "never"),
        rare=True,
    )
    operator: str = knob(
        "what stands for the curvature of a network's loss (fisher: Monte Carlo; the last two of each row's gradient, "
        "without and with the mean taken out)",
        "gauss_newton",
        choices=OPERATORS,
    )
    against: str | None = knob(
        "another operator to compare with: how far it is away, in the Frobenius norm", "gauss_newton", choices=OPERATORS
    )
    parameters: list[str] | None = knob(
        "only these parameters of a network: names of layers, or patterns such as '*.bias'; null for all",
        "'[hidden.0]'",
    )
    layers: bool = knob("also the curvature of each layer by itself", "true")
    held_out: bool = knob("look at the loss on the rows held out (data.held_out=0.2)", "true")
    rows: int | None = knob("how many rows of the data to use; null takes all", 512, at_least=1, unit="rows")
    damping: float = knob(
        "also the condition number of the matrix plus so much of the identity", 0.01, at_least=0, rare=True
    )
    top: int | None = knob(
        "how many of the largest eigenvalues to find by products; null: two more than there are classes, or 5",
        10,
        at_least=1,
    )
    bottom: int = knob("how many of the smallest eigenvalues to find by products", 1, at_least=0)
    tol: float = knob(
        "residuals ‖Av - λv‖ to reach, relative to the largest |λ|",
        1e-3,
        above=0,
        unit="a fraction of the largest |λ|",
        rare=True,
    )
    trace_tol: float | None = knob(
        "half the width of the trace's 95 % interval to reach, relative to it, or to Σ|λ|/2 if that is more; null "
        "leaves the trace out",
        0.05,
        above=0,
        unit="a fraction of the trace",
        rare=True,
    )
    diagonal: bool = knob("estimate the diagonal too, entry by entry", "true", rare=True)
    probes: int = knob("random vectors that the density is made of; 0 leaves it out", 6, at_least=0, rare=True)
    depth: int = knob("products with each of them: the more, the finer the density", 40, at_least=2, rare=True)
    products: int = knob(
        "the most products that the eigenvalues, and again the trace, may take",
        1000,
        at_least=1,
        unit="products with the matrix",
        rare=True,
    )
    check: int = knob(
        "products that look for eigenvalues that were missed: the more, the closer the bounds on the others; 0: none",
        30,
        at_least=0,
        rare=True,
    )
    basis: int = knob("the most vectors held while eigenvalues are sought", 64, at_least=4, rare=True)
    slices: int = knob(
        "points along each line and each side of the plane on which the loss is drawn; 0: none",
        13,
        at_least=0,
        rare=True,
    )
    lanes: int | None = knob(
        "columns of a block of products that share a pass; null takes what suits the network's layers",
        8,
        at_least=1,
        rare=True,
    )
    memory: float | None = knob(
        "the most gigabytes that kept graphs may take; null decides", 2, above=0, unit="gigabytes", rare=True
    )


@dataclass(frozen=True, kw_only=True)
class Jacobian(Seeded):
    by: str = knob(
        "differentiate a network by its input or by its parameters; or each of its layers by its own input",
        "parameters",
        choices=("input", "parameters", "layers"),
    )
    row: int = knob("the first row of the data that is the input of a network", 0, at_least=0)
    rows: int | None = knob(
        "how many rows, each by itself; null for all from there on", "null", at_least=1, unit="rows"
    )
    batch: int | None = knob(
        "take this many rows at once and show the (batch, outputs, batch, inputs) array",
        1,
        at_least=1,
        unit="rows",
        rare=True,
    )
    layer: str | None = knob("the layer of a network whose output is differentiated; null takes the last", "hidden.0")
    points: Any = knob(
        "where to look at a function: a list of points, or how many to draw from its domain; null is its start",
        "'[[1, 2], [3, 4]]'",
    )
    way: str = knob(
        "how it is computed; auto decides by shapes and memory, and says why",
        "reverse",
        choices=("auto", "straight", "chain", "forward", "reverse", "coloured", "matrix_free"),
    )
    memory: float = knob(
        "megabytes that the computation may take beside the model", 256, above=0, unit="megabytes", rare=True
    )
    limit: int = knob(
        "all singular values up to this many; beyond it only the largest, by products with vectors",
        1000,
        at_least=1,
        rare=True,
    )
    threshold: float = knob("condition numbers up to this one are called well-conditioned", 100, at_least=1, rare=True)


@dataclass(frozen=True, kw_only=True)
class Importance(Seeded):
    method: Any = knob(
        "how importance is measured: a method, or a list whose first gives the ranking and is held against the others; "
        "gradient, gradient_x_input, integrated_gradients, expected_gradients, smoothgrad, ablation, occlusion, "
        "shapley, permutation, and with the extra captum deeplift, deeplift_shap, lrp, gradcam, neuron_gradient, "
        "neuron_conductance, neuron_integrated_gradients; of a layer's units conductance, layer_activation, "
        "layer_gradient_x_activation, layer_integrated_gradients",
        "'[integrated_gradients,permutation]'",
        names=METHODS,
    )
    layer: str | None = knob(
        "the layer that gradcam, the methods of a layer's units and those of one neuron look at", "hidden.0"
    )
    neuron: Any = knob(
        "the unit of the layer that the neuron methods look at: a number, of maps a list", "3", rare=True
    )
    target: str | None = knob(
        "what is attributed: the loss, an output by number (output.0) or name, the predicted class, the row's own "
        "label, or a formula in the outputs (y0 - y1); null takes the predicted class, where a number is predicted "
        "that output, of several the loss",
        "loss",
    )
    baseline: Any = knob(
        "what a row is compared with: zeros, mean, row.0, class.<name>, training (every row), or a list of numbers in "
        "your own units; null takes the mean, of a single row zeros",
        "zeros",
    )
    rows: int | None = knob("how many rows of the data to use; null takes all", 100, at_least=1, unit="rows")
    tol: float | None = knob(
        "how far integrated gradients and conductance may be off, relative to the row's largest; null: 1e-8, in "
        "float32 1e-4, of conductance 1e-2",
        1e-6,
        above=0,
        below=1,
        rare=True,
    )
    samples: int | None = knob(
        "samples of the methods that take some: baselines, noise, permutations, points of Captum's paths; null "
        "takes the method's own",
        100,
        at_least=2,
        rare=True,
    )
    trust: bool = knob("report how far the ranking is to be trusted; false only looks at the rows", "false")
    retrains: int = knob(
        "how many times to train the network again, each from other weights and without another part of the rows, "
        "which gives the held-out score too",
        5,
        at_least=0,
        at_most=1000,
        rare=True,
    )
    bootstrap: int = knob(
        "bootstrap samples for the intervals of importance and ranks; 0: none", 1000, at_least=0, rare=True
    )
    roar: list[Any] = knob(
        "fractions of the columns to remove, the most important first, to train the network again without them",
        "[0.1,0.5]",
        rare=True,
    )


@dataclass(frozen=True, kw_only=True)
class Influence(Seeded):
    row: int = knob(
        "the row whose prediction is explained, of those held out where some are (data.held_out=0.2)", 3, at_least=0
    )
    target: str | None = knob("what of it: the loss, or an output by number (output.0); null is the loss", "output.0")
    damping: float = knob(
        "half of it times the squared weights is added to the loss, which is then at rest", 0.1, above=0
    )
    retrains: int = knob("of how many training rows it is seen what training without them really does", 40, at_least=0)
    fresh: bool = knob(
        "train again from other weights, as if from nothing, and not from where the network stands", "true"
    )
    limit: int = knob("the most parameters, for the Hessian is formed", 2000, at_least=1, rare=True)


@dataclass(frozen=True, kw_only=True)
class Law(Seeded):
    pass


@dataclass(frozen=True, kw_only=True)
class Comparison(Seeded):
    optimizers: list[str] = knob(
        "the optimizers to compare, each with the knobs that it has by default; with a line search: lbfgs+wolfe",
        "'[gd,adam,lbfgs+wolfe]'",
        aside=True,
    )
    settings: dict[str, Any] | None = knob(
        "knobs of some of the optimizers, where they are not to have their defaults",
        "'{momentum: {momentum: 0.99}}'",
        aside=True,
        rare=True,
    )
    budget: int = knob(
        "gradient evaluations that every walk may use after the one at its start",
        300,
        at_least=1,
        unit="gradient evaluations",
    )
    rates: list[float] = knob(
        "the learning rates that every optimizer tries: the lowest, the highest, and how many, evenly spaced on a "
        "logarithmic scale",
        "'[1e-4, 1, 25]'",
    )
    own: dict[str, Any] | None = knob(
        "optimizers with a sweep of their own, of as many rates: its lowest and its highest",
        "'{lbfgs: [0.1, 10]}'",
        rare=True,
    )
    seeds: int = knob(
        "how many starts; with four or more the first half choose the rates and the others report",
        20,
        at_least=1,
        at_most=10_000,
        unit="starts",
    )
    tol: float = knob(
        "a walk ends when its gradient norm falls below it",
        1e-8,
        at_least=0,
        unit="the objective per unit of x",
        rare=True,
    )
