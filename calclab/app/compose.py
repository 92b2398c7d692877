"""From words to a configuration: composed by Hydra, its errors turned into one short message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from calclab.app import catalogue
from calclab.app.studies import register
from calclab.errors import UserError


def compose(words: Sequence[str]) -> DictConfig:
    """The configuration, with Hydra's own part under ``hydra``; UserError when the words do not fit."""
    register()
    try:
        with initialize_config_dir(str(catalogue.home("conf")), version_base="1.3"):
            config = hydra_compose("config", list(words), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error, words)) from error
    HydraConfig.instance().set_config(config)
    return config


def plain(config: DictConfig) -> dict[str, Any]:
    """The lab's part of a configuration, resolved, as dicts, lists and scalars."""
    lab = OmegaConf.masked_copy(config, [str(k) for k in config if k != "hydra"]) if "hydra" in config else config
    try:
        return OmegaConf.to_container(lab, resolve=True, throw_on_missing=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise UserError(explain(error, ())) from error


def explain(error: Exception, words: Sequence[str]) -> str:
    """Hydra's message on one line, with the nearest name where one was misspelt."""
    text = str(error)
    if found := re.search(r"Could not find '(\w+)/([^']+)'", text):
        return catalogue.unknown(*found.groups())
    if found := re.search(r"Could not override '([^']+)'", text):
        chosen = dict(word.split("=", 1) for word in words if word.partition("=")[0] in catalogue.GROUPS)
        topic = chosen.get("topic", "descent")
        known = [f"{group}.{key}" for group, option in chosen.items() for key in catalogue.knobs(group, option)]
        return catalogue.unknown_key(found.group(1), topic if topic in catalogue.options("topic") else "descent", known)
    if found := re.search(r"Interpolation key '(\w+)' not found\s+full_key: (\w+)", text):
        return f"{found.group(2)} needs {found.group(1)}, which this topic does not have; leave {found.group(2)} out."
    if found := re.search(r"Missing mandatory value: ([\w.]+)", text):
        return f"{found.group(1)} must be given: type {found.group(1)}=..."
    if isinstance(error, HydraException) and "pars" in f"{type(error).__name__}{text}".lower():
        wrong = next((word for word in words if word in text), "")
        return (
            f"cannot read {wrong or text.splitlines()[0]}: type name=value, with quotes around text ('name=\"a, b\"')."
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(line for line in lines if not line.startswith(("object_type", "See https", "provider=")))
