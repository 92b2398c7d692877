"""From words to a configuration: composed by Hydra, its errors turned into one short message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from calclab.app.explain import explain
from calclab.app.secrets import RESOLVER, SECRETS, references
from calclab.app.words import read
from calclab.errors import UserError
from calclab.schema import catalogue


def compose(words: Sequence[str]) -> DictConfig:
    """The configuration, with Hydra's own part under ``hydra``; UserError when the words do not fit."""
    read(words, sweep=False)
    if any(word.lstrip("+~").startswith(("experiment", "hydra/")) for word in words):
        from calclab.app.studies import register

        register()
    try:
        with initialize_config_dir(str(catalogue.home("conf")), version_base="1.3"):
            config = hydra_compose("config", list(words), return_hydra_config=True)
    except UserError:
        raise
    except Exception as error:  # nothing is computed here: whatever is raised, the words or a study are to blame
        raise UserError(explain(error, words)) from error
    HydraConfig.instance().set_config(config)
    return config


def lab_config(config: DictConfig) -> dict[str, Any]:
    """The lab's part of a configuration, resolved, as dicts, lists and scalars."""
    if odd := [key for key in config if not isinstance(key, str)]:
        raise UserError(f"{odd[0]!r}: there is no such knob; a study names them by texts.")
    lab = OmegaConf.masked_copy(config, [str(k) for k in config if k != "hydra"]) if "hydra" in config else config
    try:
        found: dict[str, Any] = OmegaConf.to_container(lab, resolve=True, throw_on_missing=True)  # type: ignore
        typed = OmegaConf.to_container(lab, resolve=False)
        texts = references(lab, found) if f"{RESOLVER}:" in str(typed) else {}
    except OmegaConfBaseException as error:
        raise UserError(explain(error, ())) from error
    if SECRETS in found:
        raise UserError(f"{SECRETS}: there is no such knob.")
    return {**found, SECRETS: texts} if texts else found
