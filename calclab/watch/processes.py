"""A training of several processes: one of them looks, and none waits for another because of it.

A look calls the module itself with the rows of its own process, and asks nothing of the others; they wait for it in the
next gradient, where all meet anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import MethodType

import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from calclab.errors import UserError


def looks_on(model: nn.Module) -> bool:
    """Whether this process is the one that looks: the first of those that train ``model`` together, or the only one."""
    groups = [part.process_group for part in model.modules() if isinstance(part, DistributedDataParallel)]
    return not groups or dist.get_rank(groups[0]) == 0


@contextmanager
def alone(parts: Iterable[nn.Module]) -> Iterator[None]:
    """Within the block those of the modules that would wait for other processes compute by themselves."""
    lent = [part for part in parts if isinstance(part, DistributedDataParallel | nn.SyncBatchNorm)]
    own = [vars(part).get("forward") for part in lent]
    try:
        for part in lent:
            by_itself = (
                part.module if isinstance(part, DistributedDataParallel) else MethodType(_BatchNorm.forward, part)
            )
            vars(part)["forward"] = by_itself
        yield
    finally:
        for part, forward in zip(lent, own, strict=True):
            vars(part).pop("forward")
            vars(part).update({"forward": forward} if forward is not None else {})


def whole_weights(model: nn.Module) -> None:
    """UserError where a process has parts of the weights only."""
    if by := sharded(model):
        raise UserError(
            f"the weights are in shards over the processes, by {by}, and a look needs them whole. Watch a training "
            "under DistributedDataParallel, or ask saved weights: calclab.hessian(calclab.loss(model, criterion, data))"
        )


def sharded(model: nn.Module) -> str:
    """What has put the weights in shards, "" where they are whole."""
    if any(type(part).__name__ == "FullyShardedDataParallel" for part in model.modules()):
        return "FullyShardedDataParallel"
    parameters = list(model.parameters())
    if any(hasattr(p, "placements") for p in parameters):
        return "fully_shard or tensor parallelism (DTensor)"
    return "DeepSpeed" if any(hasattr(p, "ds_id") for p in parameters) else ""
