"""The source of the user's own code that a configuration names: edited code is another question.

What ``_target_`` (or a function's callable, or a network's loss) names lies in a module; that module and the user's own
modules that it imports are read as text, and nothing is imported. Installed packages are not the user's own: their
versions are in the run's provenance.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.machinery import PathFinder
from typing import Any

UNSEEN = "unseen"  # in the place of a digest
MOST = 1000  # modules that are followed


def sources(paths: Iterable[str]) -> dict[str, str]:
    """The digest of each of the user's modules that dotted paths reach, by ``code.<name>``.

    A module that is named and whose source is not found (compiled, or made while the program runs) has ``UNSEEN``.
    """
    found: dict[str, str] = {}
    waiting = [(name, True) for name in sorted(paths)]
    while waiting and len(found) < MOST:
        dotted, wanted = waiting.pop()
        for name, path in modules(dotted):
            if f"code.{name}" in found:
                continue
            if path is None:
                if wanted:
                    found[f"code.{name}"] = UNSEEN
                continue
            digest, imported = read(path, os.stat(path).st_mtime_ns, name)
            found[f"code.{name}"] = digest
            waiting += [(each, False) for each in imported]
    return dict(sorted(found.items()))


def modules(dotted: str) -> Iterator[tuple[str, str | None]]:
    """The modules along a dotted path, and the files of their source; None for one that has none."""
    places: Any = None
    name = ""
    for part in dotted.split("."):
        name = f"{name}.{part}" if name else part
        try:
            spec = PathFinder.find_spec(name, places)
        except (ImportError, ValueError, AttributeError):
            spec = None
        if spec is None:
            if "." not in name and name not in sys.builtin_module_names and name not in sys.stdlib_module_names:
                yield name, None
            return
        if spec.origin is not None and own(spec.origin):
            yield name, spec.origin if spec.origin.endswith(".py") else None
        if spec.submodule_search_locations is None:
            return
        places = spec.submodule_search_locations


@functools.cache
def installed() -> tuple[str, ...]:
    """Folders of the standard library and of installed packages, and the lab itself."""
    lab = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({*(os.path.realpath(sysconfig.get_path(kind)) + os.sep for kind in kinds), lab + os.sep})


def own(path: str) -> bool:
    real = os.path.realpath(path)
    return not real.startswith(installed()) and f"{os.sep}site-packages{os.sep}" not in real


@functools.lru_cache(maxsize=4096)
def read(path: str, changed: int, name: str) -> tuple[str, tuple[str, ...]]:
    """The digest of a file as it was when last ``changed``, and the dotted names that it imports."""
    with open(path, "rb") as file:
        text = file.read()
    digest = hashlib.sha256(text).hexdigest()
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return digest, ()
    package = name if os.path.basename(path) == "__init__.py" else name.rpartition(".")[0]
    imported: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            imported += [f"{base}.{alias.name}" for alias in node.names] if base else []
    return digest, tuple(imported)
