"""Weights from files: what went out comes in, and nothing else."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from calclab.data.synthetic import blobs
from calclab.errors import UserError
from calclab.network import weights
from calclab.network.cnn import Cnn
from calclab.network.linear import Linear
from calclab.network.mlp import Mlp
from calclab.network.resnet import Resnet
from calclab.network.transformer import Transformer
from calclab.subject.network import Network, network


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


# --- written by the lab ---


class Tied(nn.Module):
    """A tied weight, one module under two names, frozen parameters, batch statistics, a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.inner = nn.Linear(64, 3)
        self.output = self.inner
        self.frozen = nn.Linear(64, 64).requires_grad_(False)
        self.norm = nn.BatchNorm1d(64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.second(self.first(x.flatten(1)).tanh()))
        return self.output(self.frozen(x)) + self.inner(x)


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "linear": functools.partial(Linear, bias=True),
    "mlp": functools.partial(Mlp, width=5, depth=2, activation="tanh", bias=True),
    "cnn": functools.partial(Cnn, channels=2, blocks=2, activation="relu"),
    "resnet": functools.partial(Resnet, channels=4, stages=2, blocks=1, activation="relu"),
    "transformer": functools.partial(Transformer, width=4, heads=2, blocks=1, activation="gelu"),
    "tied": Tied,
}


def made(option: str, seed: int = 0, path: Path | None = None, dtype: torch.dtype = torch.float64) -> Network:
    place = {"standardize": False, "held_out": 0.0, "dtype": dtype, "device": "cpu", "seed": 0}
    data = blobs(rows=4, classes=3, dimension=64, separation=3.0, **place)  # type: ignore[arg-type]
    data = dataclasses.replace(data, inputs=data.inputs.reshape(-1, 1, 8, 8))
    return network(
        NETWORKS[option], data, name=option, seed=seed, weights=None if path is None else str(path), dtype=dtype
    )


@pytest.mark.parametrize("option", list(NETWORKS))
def test_a_saved_point_is_a_network_again(option: str, tmp_path: Path) -> None:
    net, path = made(option), tmp_path / "deep.name.pt"
    start = net.objective().start
    θ = start + 0.1 * torch.linspace(-1, 1, len(start), dtype=start.dtype)
    before = {name: tensor.clone() for name, tensor in net.module.state_dict().items()}
    net.save(θ, path)
    found = made(option, seed=7, path=path)
    assert torch.equal(found.objective().start, θ)
    assert torch.equal(found.batch_outputs(net.rows), net.evaluate(net.data.inputs, net.unflatten(θ)))
    assert not torch.equal(found.batch_outputs(net.rows), net.batch_outputs(net.rows))
    assert all(torch.equal(tensor, net.module.state_dict()[name]) for name, tensor in before.items())
    assert [file.name for file in tmp_path.iterdir()] == ["deep.name.pt"]
    plain = NETWORKS["tied"]() if option == "tied" else None
    if plain is not None:  # plain torch takes it too
        plain.double().load_state_dict(torch.load(path, weights_only=True))
        assert torch.equal(plain.eval()(net.data.inputs), found.batch_outputs(net.rows))


def test_the_same_point_gives_the_same_bytes_and_overwrites(tmp_path: Path) -> None:
    net = made("mlp")
    θ = net.objective().start
    net.save(0 * θ, tmp_path / "one.pt")
    net.save(θ, tmp_path / "one.pt")
    net.save(θ.requires_grad_(), str(tmp_path / "other.pt"))
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "other.pt").read_bytes()
    single = made("mlp", path=tmp_path / "one.pt", dtype=torch.float32)
    assert torch.equal(single.objective().start, θ.detach().float())


def test_weights_of_another_network_are_refused_in_a_line(tmp_path: Path) -> None:
    net = made("mlp")
    net.save(net.objective().start, tmp_path / "mlp.pt")
    for other in ("linear", "cnn", "resnet", "transformer"):
        with pytest.raises(
            UserError, match=r"network\.weights=.*mlp\.pt: the network has no hidden\.0\.weight"
        ) as error:
            made(other, path=tmp_path / "mlp.pt")
        assert "\n" not in str(error.value)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    net = made("linear")
    with pytest.raises(UserError, match=r"gone/w\.pt: the weights cannot be written there: No such file"):
        net.save(net.objective().start, tmp_path / "gone" / "w.pt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="cannot be written there"):
        net.save(net.objective().start, tmp_path / "folder")
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


# --- checkpoints of other people's ---


def wrapped(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in state.items()}


CHECKPOINTS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], object], str]] = {
    "data parallel": (lambda s: wrapped(s, "module."), "module. is taken off"),
    "compiled": (lambda s: wrapped(s, "_orig_mod."), "_orig_mod. is taken off"),
    "compiled, parallel": (lambda s: wrapped(s, "module._orig_mod."), "module. is taken off"),
    "a part compiled": (lambda s: {n.replace("1.", "1._orig_mod."): v for n, v in s.items()}, "_orig_mod. is taken"),
    "lightning": (
        lambda s: {"epoch": 3, "state_dict": {**wrapped(s, "net."), "metric.total": torch.ones(1)},
                   "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}]},
        "'state_dict' is taken; net. is taken off the names; left out: metric.total",
    ),
    "model": (lambda s: {"model": s, "step": 7}, "'model' is taken"),
    "averaged too": (lambda s: {"ema": {n: v + 1 for n, v in s.items()}, "model": s}, "'model' is taken"),
    "averaged alone": (lambda s: {"model_ema": wrapped(s, "module.") | {"n_averaged": torch.ones(())}}, "n_averaged"),
    "state dict": (lambda s: {"model_state_dict": s, "optimizer_state_dict": {"state": {}}}, "'model_state_dict'"),
    "within": (lambda s: {"checkpoint": {"net": wrapped(s, "model.")}}, "'checkpoint.net' is taken"),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_checkpoint_fits_by_its_only_way_and_that_is_said(tmp_path: Path, kind: str) -> None:
    make, said = CHECKPOINTS[kind]
    source, target = module(), module()
    source(torch.randn(5, 3))
    torch.save(make(source.state_dict()), tmp_path / "w.pt")
    (note,) = weights.load(target, str(tmp_path / "w.pt"))
    assert said in note
    assert note.startswith("network.weights=")
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name])


def test_what_fits_as_it_is_is_not_talked_of(tmp_path: Path) -> None:
    torch.save(module().state_dict(), tmp_path / "w.pt")
    assert weights.load(module(), str(tmp_path / "w.pt")) == ()


def test_a_wrapper_of_the_users_has_more_before_its_names(tmp_path: Path) -> None:
    source, target = module(), nn.ModuleDict({"backbone": module()})
    torch.save(source.state_dict(), tmp_path / "w.pt")
    (note,) = weights.load(target, str(tmp_path / "w.pt"))
    assert "backbone. is put before the names" in note
    assert torch.equal(target["backbone"][0].weight, source[0].weight)


def test_safetensors_alone_in_parts_and_in_a_folder(tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    source = module()
    state = {name: value.contiguous() for name, value in source.state_dict().items()}
    names = sorted(state)
    for k in range(2):
        save_file({name: state[name] for name in names[k::2]}, tmp_path / f"part-{k}.safetensors")
    index = {"weight_map": {name: f"part-{i % 2}.safetensors" for i, name in enumerate(names)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    save_file(wrapped(state, "module."), tmp_path / "one.safetensors")
    for given in ("model.safetensors.index.json", "one.safetensors", ""):
        target = module()
        weights.load(target, str(tmp_path / given))
        assert all(torch.equal(value, state[name]) for name, value in target.state_dict().items())
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read as weights"):
        weights.load(module(), str(tmp_path / "bad.safetensors"))
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"0.weight": "../one.pt"}}))
    with pytest.raises(UserError, match="which is no file beside it"):
        weights.load(module(), str(tmp_path))


def test_of_tied_weights_one_name_is_enough(tmp_path: Path) -> None:
    target = nn.ModuleDict({"embedding": nn.Embedding(4, 3), "head": nn.Linear(3, 4, bias=False)})
    target["head"].weight = target["embedding"].weight
    torch.save({"embedding.weight": torch.ones(4, 3)}, tmp_path / "w.pt")
    assert weights.load(target, str(tmp_path / "w.pt")) == ()
    assert torch.equal(target["head"].weight, torch.ones(4, 3))


def test_what_does_not_fit_is_told_in_one_sentence(tmp_path: Path) -> None:
    net = nn.Sequential(*(nn.Linear(3, 3) for _ in range(4)))
    state = net.state_dict()
    state["2.wieght"] = state.pop("2.weight")
    state["0.bias"] = torch.zeros(5)
    torch.save({"model": state}, tmp_path / "w.pt")
    with pytest.raises(UserError) as error:
        weights.load(net, str(tmp_path / "w.pt"))
    told = str(error.value)
    assert "no 2.wieght. It has 0.weight" in told
    assert "(2.weight is nearest to 2.wieght)" in told
    assert "0.bias is (5,) and must be (3,)" in told
    assert "the file lacks 2.weight" in told
    assert "\n" not in told


def test_code_beside_the_weights_is_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": module().state_dict(), "config": Payload(tmp_path / "ran")}, tmp_path / "bad.ckpt")
    with pytest.raises(UserError, match="not loaded"):
        weights.load(module(), str(tmp_path / "bad.ckpt"))
    assert not (tmp_path / "ran").exists()
