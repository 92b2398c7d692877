"""One run on several processes, as torchrun starts them: all carry the same scan, the first alone writes and speaks.

Ranks must never differ in what they do next, so what could differ (a stopwatch, a file, a signal) is decided by the
first and told to the others: ``agree``. Whoever fails leaves word in the store that torchrun keeps, and exits; the
others then fail at their next exchange, and can say why.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from calclab.app.signals import signals
from calclab.errors import UserError
from calclab.text import warn

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
PATIENCE = timedelta(minutes=10)  # how long one rank waits for another
GRACE = 15.0  # seconds for the first rank to say what all have met, before torchrun ends them
WORD, DONE = "calclab/word", "calclab/done"

_store: Any = None  # torch's store of keys and values, kept by torchrun


def several() -> bool:
    """Was this process started as one of several?"""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def first() -> bool:
    """Is this the process that writes and speaks?"""
    return not several() or os.environ["RANK"] == "0"


def by_itself() -> AbstractContextManager[None]:
    """Within the block this rank computes every objective whole: for what it does without the others."""
    if not several():
        return contextlib.nullcontext()
    from calclab.subject.distributed import alone

    return alone()


def as_rank(action: Callable[[], int], patience: timedelta = PATIENCE) -> int:
    """Do ``action`` as one rank of several (or alone) and return the exit status. Errors are said once, not by all."""
    if not several():
        return action()
    from calclab.subject.distributed import RankError

    hearing = contextlib.nullcontext() if first() else signals()  # from the start: the first rank decides when to stop
    join_group(patience)
    try:
        with hearing:
            status = action()
    except Exception as error:
        leave_word(error)
        leave_group()
        shared = isinstance(error, UserError | RankError)  # the first rank meets it too, or is what it is about
        if not shared or (first() and isinstance(error, UserError)):
            raise
        if first() or not first_is_done():  # otherwise the first rank says it
            warn(describe(error))
        return 2 if isinstance(error, UserError) else 1
    except BaseException:
        leave_group()
        raise
    leave_group()
    return status


def join_group(patience: timedelta) -> None:
    """Meet the other ranks at the address that torchrun names."""
    global _store
    import torch
    import torch.distributed as dist
    import torch.distributed.nn.functional  # imported later, its defaults would hold the group: see leave_group
    from torch.distributed.rendezvous import rendezvous

    both = torch.cuda.is_available() and dist.is_nccl_available()
    _store, rank, size = next(iter(rendezvous("env://", timeout=patience)))
    backend = "cpu:gloo,cuda:nccl" if both else "gloo"
    dist.init_process_group(backend, store=_store, rank=rank, world_size=size, timeout=patience)


def leave_group() -> None:
    """Leave the group; the first rank says that it has nothing more to do.

    Gloo's threads end with the last reference to the group. One that outlives it may abort the interpreter as it ends.
    """
    import torch.distributed as dist

    if first() and _store is not None:
        with contextlib.suppress(RuntimeError):  # torchrun itself may be gone
            _store.set(DONE, "1")
    dist.destroy_process_group()


def own_device(device: torch.device) -> torch.device:
    """The device of this rank, where ``device`` is what the run asks for."""
    import torch

    if not several() or device.type == "cpu":
        return device
    if device.type != "cuda":
        raise UserError(f"device={device.type} cannot be shared by several processes. Type device=cpu")
    local, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= count:
        raise UserError(
            f"more processes on this machine than GPUs ({count}). Type --nproc-per-node={count}, or device=cpu"
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def agree(value: T) -> T:
    """The first rank's ``value`` on every rank, its tensors on the device of each; alone, ``value`` itself."""
    if not several():
        return value
    import torch
    import torch.distributed as dist

    from calclab.subject.distributed import lost

    buffer = io.BytesIO()
    if first():
        torch.save(value, buffer)
    box = [buffer.getvalue()]
    try:
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:  # the last two: ranks out of step
        raise lost(error) from error
    if first():
        return value
    places = {"cuda:0": f"cuda:{os.environ.get('LOCAL_RANK', '0')}"}
    received: T = torch.load(io.BytesIO(box[0]), map_location=places, weights_only=False)
    return received


def leave_word(error: Exception) -> None:
    """Leave word of what ended this rank, for the others; the first word stands."""
    from calclab.subject.distributed import RankError

    if _store is None or isinstance(error, RankError):
        return
    with contextlib.suppress(RuntimeError):
        _store.compare_set(WORD, "", f"rank {os.environ['RANK']}: {describe(error)}")


def describe(error: BaseException) -> str:
    """An error in one line: what another rank left word of, where this one has merely lost touch."""
    from calclab.subject.distributed import RankError

    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, RankError):
        return f"another process has ended the run: {word}" if (word := word_left()) else str(error)
    return f"{type(error).__name__}: {error}"


def word_left() -> str:
    """The word that a failed rank has left, or nothing."""
    try:
        return _store.get(WORD).decode() if _store is not None and _store.check([WORD]) else ""
    except RuntimeError:
        return ""


def first_is_done() -> bool:
    """Wait until the first rank is done, for a while; False where it never says so."""
    until = time.monotonic() + GRACE
    try:
        while _store is not None and time.monotonic() < until:
            if _store.check([DONE]):
                return True
            time.sleep(0.05)
    except RuntimeError:
        pass
    return False
