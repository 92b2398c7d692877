"""Weights from a checkpoint (tensors only, never code) or typed by hand."""

from __future__ import annotations

import difflib
import io
import json
import os
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from calclab.errors import UserError
from calclab.network.build import brief

SHOWN = 5
FIRST = 3  # names of the module's by which a prefix is told
IN_FOLDERS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)  # as Hugging Face's save_pretrained writes them


def load(module: nn.Module, path: str) -> tuple[str, ...]:
    """Fill ``module`` from a checkpoint, and say what was done to make it fit: see `fitting`.

    A file that torch.save wrote (tensors alone: nothing in it is run), safetensors, the index of a checkpoint in
    several files (Hugging Face's ``*.index.json``), or a folder with one of these. UserError unless the names and
    shapes in it are just the module's own.
    """
    key = f"network.weights={path}"
    found, notes = fitting(key, read(key, Path(path).expanduser()), module.state_dict(keep_vars=True))
    module.load_state_dict(found, strict=False)
    return notes


# --- files ---


def read(key: str, file: Path) -> Any:
    """What a file holds: tensors by name, or dicts of such."""
    if file.is_dir():
        inside = next((file / name for name in IN_FOLDERS if (file / name).is_file()), None)
        if inside is None:
            raise UserError(f"{key}: the folder holds none of {', '.join(IN_FOLDERS)}. Type the path of a file")
        file = inside
    if not file.is_file():
        raise UserError(f"{key}: there is no such file. Type the path of a file that torch.save wrote")
    if file.name.endswith(".index.json"):
        return sharded(key, file)
    if file.suffix == ".safetensors":
        try:
            from safetensors import SafetensorError
            from safetensors.torch import load_file
        except ImportError:
            raise UserError(f"{key}: safetensors is an extra. Type pip install 'calclab[safetensors]'") from None
        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{key}: the file cannot be read as weights: {brief(error)}") from error
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{key}: the file holds more than tensors, or is no state_dict, and is not loaded, since such a file can "
            "run code. Save it by torch.save(network.state_dict(), path)"
        ) from error
    except Exception as error:
        raise UserError(f"{key}: the file cannot be read as weights: {brief(error)}") from error


def sharded(key: str, index: Path) -> dict[str, Any]:
    """The tensors of all files that an index names, which lie beside it."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise UserError(f"{key}: the index has no weight_map of names to files: {brief(error)}") from error
    found: dict[str, Any] = {}
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise UserError(f"{key}: the index names {name!r}, which is no file beside it")
        found |= read(key, index.parent / name)
    return found


# --- names ---


def fitting(key: str, content: Any, own: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors in ``content`` by the names of ``own``, and notes. Where they do not fit as they are, they are looked
    for in the dicts that trainers save ("state_dict", "model", ...), and without a prefix that all have ("module.",
    "_orig_mod.", "model.") or with one that the module's have. Of tied weights one name is enough."""
    several = holders(content)
    if not several:
        raise UserError(
            f"{key}: the file holds no plain state_dict (names to tensors). "
            "Save it by torch.save(network.state_dict(), path)"
        )
    for place, tensors in several:
        for change, renamed in renamings(tensors, own):
            if not differences(renamed, own):
                said = [] if not place else [f"of the file, {place!r} is taken"]
                said += [change] if change else []
                if left := [name for name in tensors if len(tensors) > len(renamed) and not kept(name, renamed)]:
                    said.append(f"left out: {listed(left)}")
                return dict(renamed), (f"{key}: {'; '.join(said)}",) if said else ()
    _, tensors = max(several, key=lambda pair: len(set(pair[1]) & set(own)))
    raise UserError(f"{key}: {differences(tensors, own)}")


def holders(content: Any, place: str = "") -> list[tuple[str, Mapping[str, Tensor]]]:
    """The dicts of tensors in a checkpoint, with the names by which they are found; averages come last."""
    if not isinstance(content, Mapping) or not content:
        return []
    if all(isinstance(value, Tensor) for value in content.values()):
        return [(place, content)]
    found: list[tuple[str, Mapping[str, Tensor]]] = []
    for name, value in content.items():
        inner = f"{place}.{name}".lstrip(".")
        if isinstance(value, Mapping) and "optim" not in str(name):
            tensors = {key: entry for key, entry in value.items() if isinstance(entry, Tensor)}
            found += [(inner, tensors)] if tensors else holders(value, inner)
    return sorted(found, key=lambda pair: "ema" in pair[0] or "avg" in pair[0])


def renamings(found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Names that the tensors may be meant by: as they are, then without what wrappers put in, then with less or more
    in front of them."""
    yield "", found
    bare = {name.replace("_orig_mod.", ""): value for name, value in found.items()}
    if len(bare) == len(found) and bare.keys() != found.keys():
        yield "_orig_mod. is taken off the names", bare
    for name in list(own)[:FIRST]:
        for other in bare:
            if other.endswith(f".{name}"):
                prefix = other[: -len(name)]
                inner = {n.removeprefix(prefix): value for n, value in bare.items() if n.startswith(prefix)}
                yield f"{prefix} is taken off the names", inner
            elif name.endswith(f".{other}"):
                prefix = name[: -len(other)]
                yield f"{prefix} is put before the names", {prefix + n: value for n, value in bare.items()}


def kept(name: str, renamed: Mapping[str, Tensor]) -> bool:
    bare = name.replace("_orig_mod.", "")
    return any(bare.endswith(other) for other in renamed)


def differences(found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """What is wrong with names and shapes, in a sentence; nothing where they are the module's own."""
    held = {id(own[name]) for name in found if name in own}
    missing = [name for name, tensor in own.items() if name not in found and id(tensor) not in held]
    said = [foreign(found, own)]
    if missing:
        said.append(f"the file lacks {listed(missing)}, which the network has")
    return "; ".join(part for part in said if part)


def foreign(found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """The same of what is found alone."""
    said = []
    if unexpected := [name for name in found if name not in own]:
        near = difflib.get_close_matches(unexpected[0], list(own), 1)
        meant = f" ({near[0]} is nearest to {unexpected[0]})" if near and len(own) > SHOWN else ""
        said.append(f"the network has no {listed(unexpected)}. It has {listed(list(own))}{meant}")
    misshapen = [
        f"{name} is {tuple(tensor.shape)} and must be {tuple(own[name].shape)}"
        for name, tensor in found.items()
        if name in own and tensor.shape != own[name].shape
    ]
    if misshapen:
        said.append(f"{listed(misshapen)}. Give the network the sizes that the weights were made for")
    return "; ".join(said)


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
    if wrong := foreign(found, own):
        raise UserError(f"network.parameters: {wrong}")
    module.load_state_dict({**own, **found})


def listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
