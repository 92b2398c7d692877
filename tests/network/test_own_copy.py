"""The lab's own copy of a module, and what it remembers from one call to the next."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from calclab.errors import UserError
from calclab.network.build import own_copy, unwrapped
from calclab.network.plain import Whole, compiles
from calclab.network.stateless import State, kept


class Remembers(nn.Module):
    """State of every kind: a buffer in place and one exchanged, a number, a tensor, containers, a mode, a new name."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(2, 2), nn.BatchNorm1d(2)
        self.register_buffer("seen", torch.zeros(2))
        self.register_buffer("last", torch.zeros(2))
        self.count, self.plain, self.log, self.table = 0, torch.ones(2), [], {"n": 0}
        self.queue, self.names = deque([1], maxlen=3), {"a"}

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.seen += 1
        self.last = x.detach()[0].clone()
        self.plain.mul_(2)
        self.log.append(self.count)
        self.table["n"] += 1
        self.queue.append(self.count)
        self.names.add("b")
        self.norm.train()
        self.fresh = self.count
        return self.fc(self.norm(x))


CHANGED = {"seen", "last", "count", "plain", "log", "table", "queue", "names", "norm.training"}


def test_every_kind_of_state_is_seen_and_put_back() -> None:
    module = Remembers().eval()
    before = {name: dict(vars(part)) for name, part in module.named_modules()}
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    state = State(module)
    state.lend()
    module(torch.randn(4, 2))
    assert set(state.changed()) >= CHANGED
    state.restore()
    assert not state.changed()
    for name, part in module.named_modules():
        assert {key: id(value) for key, value in vars(part).items()} == {k: id(v) for k, v in before[name].items()}
    for name, buffer in module.named_buffers():
        assert torch.equal(buffer, buffers[name])
    assert (module.log, module.table, list(module.queue), module.names) == ([], {"n": 0}, [1], {"a"})


def test_state_is_put_back_after_an_error_and_within_another_look() -> None:
    module = Remembers().eval()
    with pytest.raises(RuntimeError), kept(module):
        module(torch.randn(4, 3))
    with kept(module), kept(module):
        module(torch.randn(4, 2))
    assert module.count == 0
    assert not module.norm.training


def test_a_module_that_changes_nothing_is_lent_without_a_trace() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval()
    state = State(module)
    state.lend()
    module(torch.randn(4, 2))
    assert state.changed() == []
    state.restore()


class Locked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lock = nn.Linear(2, 2), threading.Lock()


def test_what_cannot_be_copied_is_taken_where_its_factory_makes_another() -> None:
    made = Locked()
    assert own_copy(made, Locked) is made
    for again in (None, lambda: made):
        with pytest.raises(UserError, match="cannot be copied"):
            own_copy(made, again)
    sharing = Locked()
    sharing.fc = made.fc
    with pytest.raises(UserError, match="cannot be copied"):
        own_copy(made, lambda: sharing)


def test_a_copy_shares_nothing() -> None:
    module = nn.Linear(2, 2)
    module.cache = module.weight * 2  # computed, which torch does not copy by itself
    copied = own_copy(module)
    own = {t.data_ptr() for t in (*module.parameters(), module.cache)}
    assert not own & {t.data_ptr() for t in (*copied.parameters(), copied.cache)}
    module.forward = lambda x: module.weight @ x  # bound to the module it was put on
    with pytest.raises(UserError, match="forward"):
        own_copy(module)


def test_wrappers_are_taken_off_at_any_depth() -> None:
    inner = nn.Linear(2, 2)
    module, said = unwrapped(nn.DataParallel(nn.Sequential(nn.DataParallel(inner), nn.Tanh())))
    assert module[0] is inner
    assert len(said) == 1
    assert unwrapped(nn.Tanh())[1] == ()


def test_checkpoints_keep_what_they_compute_and_are_met() -> None:
    from torch.utils import checkpoint

    before = checkpoint.CheckpointFunction
    layer, x = nn.Linear(2, 2), torch.randn(3, 2, requires_grad=True)
    for reentrant in (False, True):
        with Whole() as whole:
            y = checkpoint.checkpoint(layer, x, use_reentrant=reentrant)
        assert whole.met
        assert torch.equal(y, layer(x))
        assert type(y.grad_fn) is type(layer(x).grad_fn)
    assert checkpoint.CheckpointFunction is before
    with Whole() as whole:
        layer(x)
    assert not whole.met


def test_compiled_functions_are_found_by_their_mark() -> None:
    assert not compiles(nn.Linear(2, 2))

    class Marked(nn.Module):
        def forward(self, x: Any) -> Any:
            return x

    import sys
    import types

    module = Marked()
    module.part = lambda x: x
    module.part._torchdynamo_orig_callable = module.part
    had = sys.modules.get("torch._dynamo")
    sys.modules["torch._dynamo"] = had or types.ModuleType("torch._dynamo")
    try:
        assert compiles(module)
        assert not compiles(Marked())
    finally:
        if had is None:
            del sys.modules["torch._dynamo"]
