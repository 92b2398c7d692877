"""Every experiments/ folder as the Hydra group ``experiment``.

A user's ``experiments/`` in the current folder comes before the lab's own, so ``experiment=mine`` finds
experiments/mine.yaml there.
"""

from __future__ import annotations

import builtins
import os
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin

from calclab.app.sweep import spacing
from calclab.errors import UserError
from calclab.schema.catalogue import study_folders

GROUP = "experiment"
LARGEST = 100_000  # entries of a study
BYTES = 10_000_000
DEEPEST = 50  # lists within lists
PLUGINS = str(Path(__file__).parent / "sweep" / "plugins")

# launchers that come with an extra bring options of the same names; ours in conf/ come first. Here and not in a
# function, because the processes of those launchers compose before they call anything of ours
warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema")


class Studies(FileConfigSource):
    """A folder served as the group ``experiment``: experiment/notebook/cubic is <folder>/notebook/cubic.yaml."""

    @staticmethod
    def scheme() -> str:
        return "studies"

    def load_config(self, config_path: str) -> ConfigResult:
        check_study(Path(self.path, self._normalize_file_name(inner(config_path))))
        return super().load_config(inner(config_path))

    def is_group(self, config_path: str) -> bool:
        return config_path in ("", GROUP) or (self.ours(config_path) and super().is_group(inner(config_path)))

    def is_config(self, config_path: str) -> bool:
        return self.ours(config_path) and super().is_config(inner(config_path))

    def list(self, config_path: str, results_filter: ObjectType | None) -> builtins.list[str]:
        if config_path == "":
            return [] if results_filter is ObjectType.CONFIG else [GROUP]
        return super().list(inner(config_path), results_filter)

    @staticmethod
    def ours(config_path: str) -> bool:
        return config_path == GROUP or config_path.startswith(f"{GROUP}/")

    def _list_add_result(
        self, files: builtins.list[str], file_path: str, file_name: str, results_filter: ObjectType | None
    ) -> None:
        super()._list_add_result(files, os.path.join(GROUP, file_path), file_name, results_filter)


def check_study(path: Path) -> None:
    """UserError for a file that is no plain YAML, or that unfolds to more than a study can hold: a name (``*a``) for a
    list of ten names for a list of ten ... would fill the memory. Read as events, so that nothing is built or nested.
    """
    import yaml

    try:
        if path.stat().st_size > BYTES:
            raise UserError(f"it has more than {BYTES} bytes, and no study is so long")
        size = unfolded(yaml.parse(path.read_text(encoding="utf-8"), yaml.CSafeLoader))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not in UTF-8 (byte {error.start}). Save the study as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: the study cannot be read ({error.strerror})") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: no YAML: {' '.join(str(error).split())}") from None
    if size > LARGEST:
        raise UserError(f"{path}: it unfolds to more than {LARGEST} entries, and no study has so many")


def unfolded(events: Iterable[Any]) -> int:
    """How many nodes a stream of YAML events has when every alias stands for what it names; UserError for a tag, for
    a name within what it names, and for nesting that is too deep."""
    sizes: dict[str, int] = {}
    within: list[tuple[str | None, int]] = []  # what is open: its name, and the nodes before it
    size = 0
    for event in events:
        kind = type(event).__name__
        if getattr(event, "tag", None) not in (None, "!"):
            raise UserError(f"a study has plain values and no tags. Leave {event.tag} out")
        if kind == "AliasEvent":
            if event.anchor not in sizes:
                raise UserError(f"*{event.anchor} stands within what it names, or nothing is called so")
            size += sizes[event.anchor]
        elif kind in ("SequenceStartEvent", "MappingStartEvent"):
            within.append((event.anchor, size))
            size += 1
        elif kind in ("SequenceEndEvent", "MappingEndEvent"):
            anchor, before = within.pop()
            if anchor:
                sizes[anchor] = size - before
        elif kind == "ScalarEvent":
            size += 1
            if event.anchor:
                sizes[event.anchor] = 1
        if size > LARGEST or len(within) > DEEPEST:
            return LARGEST + 1
    return size


def inner(config_path: str) -> str:
    return config_path.removeprefix(GROUP).lstrip("/")


class StudiesPath(SearchPathPlugin):
    """Puts every folder of studies on Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in study_folders():
            search_path.append("calclab", f"studies://{folder}")


def register() -> None:
    """Make the studies and the lab's sweeper and launcher known to Hydra; call it before Hydra starts."""
    spacing.register()
    if PLUGINS not in sys.path:
        sys.path.append(PLUGINS)  # a part of the namespace package hydra_plugins, where Hydra looks by itself,
        if Plugins in Singleton._instances:  # and has looked already, where somebody has used Hydra before
            Plugins.instance()._initialize()
    for plugin in (Studies, StudiesPath):
        Plugins.instance().register(plugin)
