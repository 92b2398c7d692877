"""Weights from a file (tensors only, never code) or typed by hand."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from calclab.errors import UserError
from calclab.network.build import brief

SHOWN = 5


def load(module: nn.Module, path: str) -> None:
    """Fill ``module`` from a state_dict that torch.save wrote; UserError unless names and shapes are just its own."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"network.weights={path}: there is no such file. Type the path of a file that torch.save wrote")
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"network.weights={path}: the file holds more than tensors, or is no state_dict, and is not loaded, since "
            "such a file can run code. Save it by torch.save(network.state_dict(), path)"
        ) from error
    except Exception as error:
        raise UserError(f"network.weights={path}: the file cannot be read as weights: {brief(error)}") from error
    if not (isinstance(found, Mapping) and all(isinstance(value, Tensor) for value in found.values())):
        raise UserError(
            f"network.weights={path}: the file holds no plain state_dict (names to tensors). "
            "Save it by torch.save(network.state_dict(), path)"
        )
    own = module.state_dict()
    compare(f"network.weights={path}", found, own)
    if missing := [name for name in own if name not in found]:
        raise UserError(f"network.weights={path}: the file lacks {listed(missing)}, which the network has")
    module.load_state_dict(found)


def save(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Write a state_dict that ``load`` takes, whole or not at all; the same tensors give the same bytes."""
    content = io.BytesIO()
    torch.save({name: tensor.detach().cpu().clone() for name, tensor in state.items()}, content)
    file = Path(path)
    temporary = file.with_name(f"{file.name}.part")
    try:
        temporary.write_bytes(content.getbuffer())
        os.replace(temporary, file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{path}: the weights cannot be written there: {error.strerror}") from error


def put(module: nn.Module, parameters: Mapping[str, Any]) -> None:
    """Set parameters (or buffers) by name from nested lists; the others stay as they are."""
    own = module.state_dict()
    found: dict[str, Tensor] = {}
    for name, value in parameters.items():
        dtype = own[name].dtype if name in own else None
        try:
            found[name] = torch.as_tensor(value, dtype=dtype)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"network.parameters.{name}: the numbers form no array: {brief(error)}. "
                "Type nested lists, as [[1, 2], [3, 4]]"
            ) from error
    compare("network.parameters", found, own)
    module.load_state_dict({**own, **found})


def compare(key: str, found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """UserError where ``found`` has names or shapes that the network has not."""
    if unexpected := [name for name in found if name not in own]:
        raise UserError(f"{key}: the network has no {listed(unexpected)}. It has {listed(list(own))}")
    misshapen = [
        f"{name} is {tuple(tensor.shape)} and must be {tuple(own[name].shape)}"
        for name, tensor in found.items()
        if tensor.shape != own[name].shape
    ]
    if misshapen:
        raise UserError(f"{key}: {listed(misshapen)}. Give the network the sizes that the weights were made for")


def listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
