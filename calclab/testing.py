"""For test suites: derivatives that have to be right.

from calclab.testing import assert_right

def test_my_loss():
    assert_right(my_loss, x, gradient=my_gradient)

def test_my_function():
    assert_right(MyFunction, x, y)          # a torch.autograd.Function: all of `check_function`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from calclab.checks.result import Check, WrongDerivativeError

ALLOWED = ("certified", "consistent")


def assert_right(subject: Any, *at: Any, allow: Sequence[str] = (), **settings: Any) -> Check:
    """The check of ``subject``, if its derivatives are right; else WrongDerivativeError, an AssertionError that says
    where, how far off, and why.

    ``at`` and ``settings`` are those of `calclab.check`, of a ``torch.autograd.Function`` those of
    `calclab.check_function`. A derivative that cannot be told is not right either: verdicts that are to pass besides,
    such as "undefined" at a kink, are named in ``allow``.

    >>> import torch
    >>> x = torch.tensor([1.0, 2.0])
    >>> assert_right(lambda x: (x**3).sum(), x, gradient=lambda x: 3 * x**2).verdict
    'consistent'
    >>> assert_right(torch.relu, torch.zeros(1), allow=["undefined"]).verdict
    'undefined'
    """
    import torch

    from calclab.checks.derivatives import check
    from calclab.checks.functions import check_function

    __tracebackhide__ = True
    custom = isinstance(subject, type) and issubclass(subject, torch.autograd.Function)
    found = check_function(subject, *at, **settings) if custom else check(subject, *at, **settings)
    if found.verdict not in (*ALLOWED, *allow):
        raise WrongDerivativeError(found)
    return found


__all__ = ["WrongDerivativeError", "assert_right"]
