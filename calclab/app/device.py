"""Where to compute: the device named, or the best there is."""

from __future__ import annotations

import torch

from calclab.errors import UserError


def available() -> list[str]:
    """The devices of this machine, best first."""
    found = ["cuda"] if torch.cuda.is_available() else []
    return [*found, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def resolve(name: str, dtype: str) -> tuple[torch.device, str]:
    """The device called ``name`` and, where the lab chose it, a sentence that says so."""
    here = available()
    if name == "auto":
        usable = [device for device in here if not (device == "mps" and dtype == "float64")]
        return torch.device(usable[0]), f"device=auto took {usable[0]}"
    if name not in here:
        raise UserError(
            f"device={name}: there is none on this machine. There are: {', '.join(here)}. Type device=auto."
        )
    if name == "mps" and dtype == "float64":
        raise UserError("device=mps has no float64. Type dtype=float32, or device=cpu.")
    return torch.device(name), ""
