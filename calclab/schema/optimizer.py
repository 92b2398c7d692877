"""Knobs of the optimizers, under ``optimizer.``.

``lr`` is the default that the root's own ``lr`` refers to: a rule is handed its learning rate at every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from calclab.schema.knob import Schema, knob


def rate(example: float = 0.05) -> Any:
    return knob("the learning rate of this rule; type lr=... to choose another", example, above=0, aside=True)


def small(meaning: str, example: float) -> Any:
    return knob(meaning, example, above=0)


@dataclass(frozen=True, kw_only=True)
class Gd(Schema):
    lr: float = rate()


@dataclass(frozen=True, kw_only=True)
class Momentum(Schema):
    lr: float = rate()
    momentum: float = knob("how much of the last velocity is kept", 0.9, at_least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class Nesterov(Schema):
    lr: float = rate()
    momentum: float = knob("how much of the last velocity is kept", 0.9, at_least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class Adagrad(Schema):
    lr: float = rate(0.1)
    initial: float = knob("what the sum of squared gradients starts from", 0.0, at_least=0)
    eps: float = small("added to the root of the sum of squared gradients", 1e-10)


@dataclass(frozen=True, kw_only=True)
class Rmsprop(Schema):
    lr: float = rate(0.01)
    decay: float = knob("decay of the mean squared gradient", 0.99, at_least=0, below=1)
    eps: float = small("added to the root of the mean squared gradient", 1e-8)
    momentum: float = knob("how much of the last velocity is kept", 0.0, at_least=0, below=1)
    centred: bool = knob("divide by the gradient's standard deviation instead of its root mean square", "true")


@dataclass(frozen=True, kw_only=True)
class Adam(Schema):
    lr: float = rate()
    beta1: float = knob("decay of the mean gradient", 0.9, at_least=0, below=1)
    beta2: float = knob("decay of the mean squared gradient", 0.999, at_least=0, below=1)
    eps: float = small("added to the root of the mean squared gradient", 1e-8)


@dataclass(frozen=True, kw_only=True)
class Adamw(Schema):
    lr: float = rate()
    beta1: float = knob("decay of the mean gradient", 0.9, at_least=0, below=1)
    beta2: float = knob("decay of the mean squared gradient", 0.999, at_least=0, below=1)
    eps: float = small("added to the root of the mean squared gradient", 1e-8)
    weight_decay: float = knob("each step shrinks x by lr times this", 0.01, at_least=0)


@dataclass(frozen=True, kw_only=True)
class Newton(Schema):
    lr: float = rate(1.0)
    limit: int = knob("the most variables for which the matrix is formed", 2000, at_least=1)


@dataclass(frozen=True, kw_only=True)
class DampedNewton(Schema):
    lr: float = rate(1.0)
    damping: float = knob("λ in (|H| + λ) to begin with; it adapts itself", 1e-3, above=0)
    limit: int = knob("the most variables for which the matrix is formed", 2000, at_least=1)


@dataclass(frozen=True, kw_only=True)
class Lbfgs(Schema):
    lr: float = rate(1.0)
    history: int = knob("how many steps are remembered", 10, at_least=1)


@dataclass(frozen=True, kw_only=True)
class GaussNewton(Schema):
    lr: float = rate(1.0)
    damping: float = knob("λ in (G + λ) to begin with; it adapts itself", 1e-3, above=0)
    dense: int = knob("the most parameters for which G is formed; beyond, conjugate gradients", 2000, at_least=0)
    products: int = knob("the most products with G in one solve by conjugate gradients", 100, at_least=1)


@dataclass(frozen=True, kw_only=True)
class NaturalGradient(Schema):
    lr: float = rate(0.5)
    damping: float = knob("λ in (F + λ), constant", 0.1, above=0)
    dense: int = knob("the most parameters for which F is formed; beyond, conjugate gradients", 2000, at_least=0)
    products: int = knob("the most products with F in one solve by conjugate gradients", 100, at_least=1)


@dataclass(frozen=True, kw_only=True)
class Custom(Schema):
    """Any torch.optim class, with its own arguments beside these."""

    lr: float = rate(0.01)
