"""calclab: a lab for the calculus under neural networks. Every number carries its evidence.

>>> import calclab
>>> f = calclab.formula("x**2 - 3*y**2", at=[1, 2])   # subjects: formula, function, links, loss, outputs
>>> calclab.hessian(f).eigenvalues.tolist()           # questions: a function each, named like its topic
[-6.0, 2.0]

`run` takes the words of a command line, and `load` reads what runs have left.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calclab.app.call import run as run
    from calclab.archive.read import load as load
    from calclab.checks.derivatives import check as check
    from calclab.checks.functions import check_function as check_function
    from calclab.checks.result import Check as Check
    from calclab.checks.result import WrongDerivativeError as WrongDerivativeError
    from calclab.errors import UserError as UserError
    from calclab.library.curvature import curvature as curvature
    from calclab.library.curvature import jacobian_operator as jacobian_operator
    from calclab.library.operator import Operator as Operator
    from calclab.library.questions import chain as chain
    from calclab.library.questions import compare as compare
    from calclab.library.questions import derivative as derivative
    from calclab.library.questions import descent as descent
    from calclab.library.questions import hessian as hessian
    from calclab.library.questions import importance as importance
    from calclab.library.questions import influence as influence
    from calclab.library.questions import jacobian as jacobian
    from calclab.library.questions import law as law
    from calclab.library.questions import partial as partial
    from calclab.library.result import Interrupted as Interrupted
    from calclab.library.result import RefutedError as RefutedError
    from calclab.library.result import Result as Result
    from calclab.library.result import last as last
    from calclab.library.stable_rate import stable_lr as stable_lr
    from calclab.library.subjects import formula as formula
    from calclab.library.subjects import function as function
    from calclab.library.subjects import links as links
    from calclab.library.subjects import loss as loss
    from calclab.library.subjects import outputs as outputs
    from calclab.watch.watch import Watch as Watch

__version__ = "0.1.0"
PUBLIC = {  # fetched when asked for: importing calclab stays light
    "calclab.app.call": ("run",),
    "calclab.archive.read": ("load",),
    "calclab.checks.derivatives": ("check",),
    "calclab.checks.functions": ("check_function",),
    "calclab.checks.result": ("Check", "WrongDerivativeError"),
    "calclab.errors": ("UserError",),
    "calclab.library.operator": ("Operator",),
    "calclab.library.curvature": ("curvature", "jacobian_operator"),
    "calclab.library.questions": (
        "chain", "compare", "derivative", "descent", "hessian", "importance", "influence", "jacobian", "law", "partial",
    ),
    "calclab.library.result": ("Interrupted", "RefutedError", "Result", "last"),
    "calclab.library.stable_rate": ("stable_lr",),
    "calclab.library.subjects": ("formula", "function", "links", "loss", "outputs"),
    "calclab.watch.watch": ("Watch",),
}  # fmt: skip
FRAMEWORKS = ("huggingface", "lightning")  # modules of callbacks, by extras
WHERE = {name: module for module, names in PUBLIC.items() for name in names}
__all__ = [*WHERE, "__version__"]


def __getattr__(name: str) -> Any:
    if name in FRAMEWORKS:
        return import_module(f"calclab.{name}")
    if name not in WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(WHERE[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *WHERE]
