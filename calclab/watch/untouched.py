"""Looks leave a training as it is: what they could change is lent, or put back."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from calclab.network.plain import eager, plain
from calclab.network.stateless import kept


@contextmanager
def untouched(modules: Iterable[nn.Module], parameters: Iterable[torch.Tensor]) -> Iterator[None]:
    """Within the block gradients are taken in the parameters' own precision, by plain arithmetic and uncompiled.

    After it all is as before, bit for bit: random states (torch on each device in use, Python, NumPy), buffers and
    attributes of the modules, their modes, ``.grad`` and ``requires_grad`` of the parameters, and autograd's modes.
    """
    own = [(p, p.grad, p.requires_grad) for p in parameters]
    with ExitStack() as stack:
        stack.enter_context(drawn_again())
        for module in modules:
            stack.enter_context(kept(module))
        stack.enter_context(torch.inference_mode(False))  # which turns gradients on, too
        for kind in {"cpu", *(p.device.type for p, _, _ in own if p.device.type in ("cuda", "xpu", "mps"))}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(plain())
        if "torch._dynamo" in sys.modules:
            stack.enter_context(eager())
        try:
            yield
        finally:
            for p, gradient, needed in own:
                if p.grad is not gradient:
                    p.grad = gradient
                if p.requires_grad is not needed:
                    p.requires_grad_(needed)


@contextmanager
def drawn_again() -> Iterator[None]:
    """What is drawn after the block is what would have been drawn without it."""
    numpy = sys.modules.get("numpy.random")
    devices = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    ours, theirs = random.getstate(), None if numpy is None else numpy.get_state()
    state = torch.get_rng_state()
    each = torch.cuda.get_rng_state_all() if devices else []
    try:
        yield
    finally:
        torch.set_rng_state(state)
        if devices:
            torch.cuda.set_rng_state_all(each)
        random.setstate(ours)
        if numpy is not None:
            numpy.set_state(theirs)
