"""What a configuration takes from the environment (``${oc.env:TOKEN}``) is used, and written down nowhere: in its place
stands the reference, in outcome.json, the event file, the summary and every message.

No OmegaConf is imported before it is needed: the process of a job does without.

A resolved configuration carries, under a name that no knob can have, which of its entries are so, and the text of each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from calclab.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

SECRETS = "oc.env"  # the entry of a configuration that names the others
RESOLVER = "oc.env"
REFERENCE = re.compile(r"\$\{([\w.]+)\}")
LENGTH = 4  # characters from which on a value is looked for in messages: a shorter one is in every text
PLAIN = (
    "outputs",
    "rerun",
    "fail_fast",
    "figures",
    "report",
    "sinks",
    "checkpoint_every",
    "claims",
    "study",
)  # how a run is done, told anyhow


def references(config: DictConfig, resolved: Mapping[str, Any]) -> dict[str, str]:
    """The entries of a configuration that come from the environment, by dotted key, and what stands there instead.

    Found by resolving it again with other values of the environment: what changes, however it refers to them, is so.
    """
    from omegaconf import OmegaConf
    from omegaconf.resolvers import oc

    typed = leaves(OmegaConf.to_container(config, resolve=False))
    if not any(f"{RESOLVER}:" in text for text in typed.values() if isinstance(text, str)):
        return {}
    OmegaConf.register_new_resolver(RESOLVER, reference, replace=True)
    try:
        masked = leaves(OmegaConf.to_container(config, resolve=True))
    finally:
        OmegaConf.register_new_resolver(RESOLVER, oc.env, replace=True)

    def text(key: str) -> str:
        """What was typed: there, or where a reference leads; of other texts, with the references in it."""
        typed_there = str(typed.get(key))
        if f"{RESOLVER}:" in typed_there:
            return typed_there
        other = REFERENCE.fullmatch(typed_there)
        return text(other[1]) if other and other[1] in typed else str(masked.get(key))

    return {
        key: text(key)
        for key, value in leaves(resolved).items()
        if key.partition(".")[0] not in PLAIN and value != masked.get(key)
    }


def reference(*words: Any) -> str:
    """In the place of a value of the environment: what asks for it."""
    return f"${{{RESOLVER}:{','.join(map(str, words))}}}"


def leaves(node: Any, above: str = "") -> dict[str, Any]:
    """Every scalar of nested dicts and lists by dotted key."""
    entries = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else None
    if entries is None:
        return {above: node}
    return {key: leaf for name, value in entries for key, leaf in leaves(value, f"{above}.{name}".lstrip(".")).items()}


def shown(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as it is written down."""
    texts = config.get(SECRETS, {})

    def masked(node: Any, above: str) -> Any:
        if isinstance(node, Mapping):
            return {key: masked(value, f"{above}.{key}".lstrip(".")) for key, value in node.items()}
        if isinstance(node, list):
            return [masked(value, f"{above}.{i}") for i, value in enumerate(node)]
        return texts.get(above, node)

    return {key: masked(value, key) for key, value in config.items() if key != SECRETS} if texts else dict(config)


def recalled(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that was written down, with what it takes from the environment as that is now."""
    if not any(isinstance(text, str) and f"{RESOLVER}:" in text for text in leaves(config).values()):
        return dict(config)
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    written = OmegaConf.create(dict(config))
    try:
        found: dict[str, Any] = OmegaConf.to_container(written, resolve=True)  # type: ignore[assignment]
        return {**found, SECRETS: references(written, found)}
    except OmegaConfBaseException as error:
        raise UserError(f"the run takes what the environment no longer has: {str(error).splitlines()[0]}") from None


def hidden(text: str, config: Mapping[str, Any]) -> str:
    """A message without the values that the configuration takes from the environment."""
    texts = config.get(SECRETS)
    if not texts:
        return text
    values = leaves({key: value for key, value in config.items() if key != SECRETS})
    for key in sorted(texts, key=lambda key: -len(str(values.get(key)))):
        value = values.get(key)
        if isinstance(value, str) and len(value) >= LENGTH:
            text = text.replace(value, texts[key])
    return text
