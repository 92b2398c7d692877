"""The folder of a run: named by what was asked, and never shared."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LENGTH = 80  # of the readable part


def name(words: Sequence[str], config: Mapping[str, Any]) -> str:
    """The readable overrides, and a short digest of the whole resolved configuration: ``lr=0.05-1f3a9c2e``."""
    readable = ",".join(word for word in words if not word.startswith(("topic=", "outputs=", "figures=")))
    for plain, safe in (("/", "-"), ("**", "^"), ("*", "·")):
        readable = readable.replace(plain, safe)
    readable = re.sub(r"[^\w.,=+^·()\[\]-]+", "", readable)[:LENGTH].strip(".,")
    asked = {key: value for key, value in config.items() if key not in ("outputs", "figures")}
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:8]
    return f"{readable}-{digest}" if readable else digest


def claim(outputs: Path, topic: str, name: str) -> Path:
    """A new folder outputs/<topic>/<name>, or with .2, .3, ... where that exists; making it is what claims it."""
    (outputs / topic).mkdir(parents=True, exist_ok=True)
    for i in itertools.count(1):
        folder = outputs / topic / (name if i == 1 else f"{name}.{i}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError("unreachable")
