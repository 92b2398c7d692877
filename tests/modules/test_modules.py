"""Every topic on every odd module: right, refuted, or one sentence with exit status 2; and the user's module as it was.

`python tests/modules/looks.py [kinds] [topics]` prints the table.
"""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any

import looks
import module_zoo
import pytest
import torch
from looks import LINES, judged, look
from module_zoo import KEPT, KINDS
from torch import nn

from calclab.errors import UserError
from calclab.subject.network import Network, network
from calclab.subject.scores import scores

KIND, TOPICS = list(KINDS), list(LINES)
QUICK = [name for name in KIND if not KINDS[name].slow]
FEW = [
    (kind, TOPICS[(5 * i + step) % len(TOPICS)]) for i, kind in enumerate(QUICK) for step in ((0, 7) if i % 3 else (0,))
]


@pytest.fixture(autouse=True)
def still() -> Any:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    looks.composed.cache_clear()


@pytest.mark.parametrize(("kind", "topic"), FEW)
def test_some_topics_on_every_module(kind: str, topic: str, tmp_path: Path, recwarn: Any) -> None:
    seen, fault = judged(kind, topic, tmp_path)
    assert not fault, (fault, seen.told, seen.crash)
    if seen.status == 2:
        assert not list(tmp_path.rglob("outcome.json")) or "module_zoo.py, line" in seen.told or "raised" in seen.told


@pytest.mark.minutes
@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("kind", KIND)
def test_every_topic_on_every_module(kind: str, topic: str, tmp_path: Path) -> None:
    seen, fault = judged(kind, topic, tmp_path)
    assert not fault, (fault, seen.told, seen.crash)


def of(kind: str, module: nn.Module | None = None, **more: Any) -> Network:
    module = KINDS[kind].make() if module is None else module
    return network(module, module_zoo.rows(codes=KINDS[kind].codes), name="odd", **more)


def snapshot(module: nn.Module) -> list[Any]:
    """All that a user can see of a module: bytes, flags, dtypes, gradients, modes, hooks, attributes."""
    found: list[Any] = []
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            found.append((name, id(tensor)))
            continue
        raw = tensor.detach().cpu().contiguous().view(-1).numpy().tobytes()
        grad = None if not tensor.is_leaf or tensor.grad is None else (id(tensor.grad), tensor.grad.clone().tolist())
        found.append((name, id(tensor), raw, tensor.dtype, tensor.requires_grad, grad, tensor._version))
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            continue
        hooks = [list(part._forward_hooks), list(part._forward_pre_hooks), list(part._backward_hooks)]
        found.append((name, id(part), part.training, hooks, sorted(vars(part)), repr(getattr(part, "n", None))))
    return found


@pytest.mark.parametrize("kind", [name for name in QUICK if name not in ("factory_leaves", "interrupting", "leaving")])
def test_a_module_that_is_given_is_left_as_it_was(kind: str) -> None:
    module = KINDS[kind].make().train()
    before = snapshot(module)
    with contextlib.suppress(UserError, ArithmeticError, ValueError, RuntimeError, SystemExit, KeyboardInterrupt):
        built = of(kind, module, train=2)
        f = built.objective()
        torch.autograd.grad(f.call(f.start.requires_grad_()), f.start)
        scores(built, f.start.detach())
    assert snapshot(module) == before


@pytest.mark.parametrize("topic", ["descent", "hessian_free", "importance_trust", "jacobian_layers", "chain"])
def test_a_factory_that_gives_the_same_module_twice(topic: str, tmp_path: Path) -> None:
    """The runs of a sweep begin at the same place, whatever those before them did."""
    KEPT.clear()
    module = module_zoo.kept()
    before = snapshot(module)
    first, second = (look("kept", topic, tmp_path / part) for part in ("a", "b"))
    assert first.status == second.status == 0, (first.told, second.told)
    assert first.record["answer"] == second.record["answer"]
    assert first.record["last"] == second.record["last"]
    assert snapshot(module) == before


@pytest.mark.parametrize("kind", ["locked", "no_copies"])
def test_a_network_that_cannot_be_copied_is_not_trained_again(kind: str, tmp_path: Path) -> None:
    assert look(kind, "partial", tmp_path / "a").status == 0
    seen = look(kind, "importance_trust", tmp_path / "b")
    assert seen.status == 2
    assert "cannot be copied" in seen.told


@pytest.mark.parametrize("kind", ["counter", "counting_sequence", "plain_state", "training", "running"])
def test_what_a_call_would_have_changed_is_said_once(kind: str, tmp_path: Path) -> None:
    built = of(kind)
    said = [note for note in built.notes if "changes" in note]
    assert len(said) == 1
    names = {"counter": "calls", "counting_sequence": "2.scale", "plain_state": "memory", "running": "mean"}
    assert names.get(kind, "norm.running_mean") in said[0]
    x = built.data.inputs
    assert torch.equal(built.evaluate(x), built.evaluate(x))
    with torch.no_grad():  # called by itself it finds the same state, too
        assert torch.equal(built.module(x.clone()), built.module(x.clone()))
    again = copy.deepcopy(built.module)
    with torch.no_grad():
        assert torch.equal(again(x.clone()), built.module(x.clone()))


@pytest.mark.parametrize("kind", ["tied", "batch_norm", "lstm", "encoder", "embedding"])
def test_nothing_is_said_of_modules_that_change_nothing(kind: str) -> None:
    assert not [note for note in of(kind).notes if "changes" in note]


@pytest.mark.parametrize(
    ("kind", "layer"), [("lstm", "cell"), ("gru", "cell"), ("attention", "attention"), ("encoder", "encoder.self_attn")]
)
def test_layers_that_give_tuples_are_layers(kind: str, layer: str, tmp_path: Path) -> None:
    seen = look(kind, "chain", tmp_path)
    assert seen.status == 0, seen.told
    assert f"gradient_norm of {layer}" in seen.values
    assert float(seen.values[f"gradient_norm of {layer}"]) > 0
    across = look(kind, "jacobian_layers", tmp_path)
    assert across.status == 0, across.told
    assert any("left out" in note and layer in note for note in across.record["notes"])


def test_a_recurrent_layer_is_followed_by_the_state_that_is_used() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.out = nn.LSTM(1, 3, batch_first=True), nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.cell(x.unsqueeze(-1))[1][0][0])

    from calclab.topic.chain.layers import Layers

    scan = Layers(network(Last(), module_zoo.rows(), name="odd"))
    assert list(scan.tape.names) == ["cell", "out"]
    state = scan.init()
    assert float(state["backward"][0]) > 0


@pytest.mark.parametrize("kind", ["cdist", "hardsigmoid", "bag"])
def test_without_a_second_derivative_all_that_needs_the_first_is_right(kind: str, tmp_path: Path) -> None:
    for topic in ("partial", "chain", "descent", "gauss_newton", "gauss_newton_free", "jacobian_parameters"):
        seen, fault = judged(kind, topic, tmp_path / topic)
        assert seen.status == 0, (topic, seen.told)
        assert not fault, (topic, fault)
    for topic in ("hessian", "hessian_free", "newton"):
        seen = look(kind, topic, tmp_path / topic)
        assert seen.status == 2
        assert "second derivative" in seen.told


@pytest.mark.parametrize("kind", ["parallel", "reentrant", "checkpointed", "squeezing", "embedding_sparse", "scripted"])
def test_what_torch_makes_odd_is_right(kind: str, tmp_path: Path) -> None:
    for topic in ("partial", "hessian", "gauss_newton", "jacobian"):
        if topic == "jacobian" and KINDS[kind].codes:
            continue
        seen, fault = judged(kind, topic, tmp_path / topic)
        assert seen.status == 0, (topic, seen.told)
        assert not fault, (topic, fault)
