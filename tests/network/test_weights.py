"""Weights from files: what went out comes in, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from calclab.errors import UserError
from calclab.network import weights


def module() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_round_trip_with_buffers_and_another_dtype(tmp_path: Path) -> None:
    source, target = module(), module().double()
    source(torch.randn(5, 3))  # moves the running mean
    torch.save(source.state_dict(), tmp_path / "w.pt")
    weights.load(target, str(tmp_path / "w.pt"))
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name].to(tensor.dtype))
    assert target[0].weight.dtype == torch.float64


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.mark),)


def test_a_file_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"0.weight": Payload(tmp_path / "ran")}, tmp_path / "bad.pt")
    with pytest.raises(UserError, match="not loaded"):
        weights.load(module(), str(tmp_path / "bad.pt"))
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "bad.pt", weights_only=False)
    assert (tmp_path / "ran").exists()  # the payload is a real one


def test_a_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(module(), tmp_path / "whole.pt")
    with pytest.raises(UserError, match="state_dict"):
        weights.load(module(), str(tmp_path / "whole.pt"))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02}q\x00."])
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"w\.pt"):
        weights.load(module(), str(tmp_path / "w.pt"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.pt: there is no such file"):
        weights.load(module(), str(tmp_path / "gone.pt"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("0.bias"), r"lacks 0\.bias"),
        (lambda s: s.update({"2.weight": torch.zeros(1)}), r"no 2\.weight"),
        (lambda s: s.update({"0.weight": torch.zeros(2, 4)}), r"0\.weight is \(2, 4\) and must be \(2, 3\)"),
        (lambda s: s.update({"epoch": 3}), "no plain state_dict"),
    ],
)
def test_a_wrong_key_is_named_and_nothing_is_loaded(tmp_path: Path, change: object, message: str) -> None:
    state = module().state_dict()
    change(state)  # type: ignore[operator]
    torch.save(state, tmp_path / "w.pt")
    target = module()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(UserError, match=message):
        weights.load(target, str(tmp_path / "w.pt"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def test_parameters_by_hand() -> None:
    target = module().double()
    bias = target[0].bias.detach().clone()
    weights.put(target, {"0.weight": [[1, 2, 3], [4, 5, 6.5]], "1.running_mean": [1, 2]})
    assert target[0].weight.tolist() == [[1, 2, 3], [4, 5, 6.5]]
    assert target[1].running_mean.tolist() == [1, 2]
    assert torch.equal(target[0].bias, bias)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"0.wieght": [[1]]}, r"no 0\.wieght. It has 0\.weight"),
        ({"0.bias": [1, 2, 3]}, r"0\.bias is \(3,\) and must be \(2,\)"),
        ({"0.weight": [[1, 2, 3], [4]]}, "form no array"),
        ({"0.bias": ["a", "b"]}, "form no array"),
    ],
)
def test_wrong_parameters_by_hand(given: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        weights.put(module(), given)
