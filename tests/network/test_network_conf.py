"""conf/network and conf/data: every option binds to its target, has a schema and a description, and composes."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import OmegaConf

from calclab import schema
from calclab.network.activation import ACTIVATIONS
from calclab.network.loss import LOSSES
from calclab.schema import network as network_schema
from calclab.subject.network import network

CONF = Path(__file__).parents[2] / "conf"
COMMON = {"weights", "parameters", "loss"}
OPTIONS = [(group, path.stem) for group in ("network", "data") for path in sorted((CONF / group).glob("*.yaml"))]


def plain(group: str, option: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CONF / group / f"{option}.yaml").read_text())
    loaded.pop("defaults", None)
    return loaded


def composed(*overrides: str) -> dict[str, Any]:
    """As the root configuration has it: data before network, and both before whatever chooses a network."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", list(overrides))
    found = {key: OmegaConf.to_container(config[key]) for key in ("data", "network") if config.get(key) is not None}
    return found


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_keys_are_those_of_the_target_and_of_the_schema(group: str, option: str) -> None:
    entry = plain(group, option)
    assert entry.pop("name") == option
    target = entry.pop("_target_")
    knobs = schema.find(group, option)
    assert set(knobs) == set(entry)
    if option == "custom":
        return
    builder = get_object(target)
    own = {name: value for name, value in entry.items() if group == "data" or name not in COMMON}
    given = {"shape": (1, 8, 8), "outputs": 2} if group == "network" else {"dtype": None, "device": None, "seed": 0}
    inspect.signature(builder).bind(**own, **given)
    assert all(p.default is p.empty for p in inspect.signature(builder).parameters.values()), "defaults live in conf/"
    for name, value in entry.items():
        if value is not None:
            knobs[name].check(value)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_the_first_line_describes_the_option(group: str, option: str) -> None:
    first = (CONF / group / f"{option}.yaml").read_text().splitlines()[0]
    assert first.startswith("# ")
    assert not first.startswith("# @")


def test_choices_in_the_schema_are_those_of_the_code() -> None:
    assert tuple(ACTIVATIONS) == network_schema.ACTIVATIONS
    assert tuple(LOSSES) == network_schema.LOSSES


def test_a_network_brings_its_data_and_the_command_line_wins() -> None:
    assert composed("network=linear")["data"]["name"] == "diabetes"
    for option in ("mlp", "cnn", "resnet", "transformer"):
        assert composed(f"network={option}")["data"]["name"] == "digits"
    assert composed("network=mlp", "data=wine")["data"]["name"] == "wine"
    assert composed("data=wine", "network=mlp")["data"]["name"] == "wine"
    assert composed("network=mlp", "network.width=7")["network"]["width"] == 7


def test_a_module_of_ones_own() -> None:
    entry = composed("network=custom", "network._target_=torch.nn.Linear", "+network.in_features=4", "data=iris")[
        "network"
    ]
    assert entry["_target_"] == "torch.nn.Linear"
    assert entry["in_features"] == 4


@pytest.mark.parametrize("option", ["linear", "mlp", "cnn", "resnet", "transformer"])
def test_every_network_runs_with_its_defaults(option: str) -> None:
    found = composed(f"network={option}", "data.rows=12")
    data = dict(found["data"])
    data.pop("name")
    rows = get_object(data.pop("_target_"))(**data, dtype=torch.float32, device="cpu", seed=0)
    entry = dict(found["network"])
    common = {name: entry.pop(name) for name in COMMON}
    name, builder = entry.pop("name"), get_object(entry.pop("_target_"))
    net = network(functools.partial(builder, **entry), rows, name=name, **common, train=2, seed=0, dtype=torch.float32)
    f = net.objective()
    assert f.start.dtype == torch.float32
    assert f.call(f.start).isfinite()
    assert "2 steps of Adam" in net.notes[-1]
