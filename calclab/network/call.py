"""How a module of the user's is called as the lab calls it: one tensor of rows in."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from calclab.core import Layout


def takes(module: nn.Module, layout: Layout) -> None:
    """From now on ``module`` takes rows (B, d), which its inputs lie side by side in."""
    module.register_forward_pre_hook(partial(unpacked, layout), with_kwargs=True)


def unpacked(layout: Layout, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    return layout.arguments(args[0])
