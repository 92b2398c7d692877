"""Every experiments/ folder as the Hydra group ``experiment``.

A user's ``experiments/`` in the current folder comes before the lab's own, so ``experiment=mine`` finds
experiments/mine.yaml there.
"""

from __future__ import annotations

import builtins
import os
import sys
import warnings
from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin

from calclab.app import spacing
from calclab.app.catalogue import study_folders

GROUP = "experiment"
PLUGINS = str(Path(__file__).parent / "plugins")

# launchers that come with an extra bring options of the same names; ours in conf/ come first. Here and not in a
# function, because the processes of those launchers compose before they call anything of ours
warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema")


class Studies(FileConfigSource):
    """A folder served as the group ``experiment``: experiment/notebook/cubic is <folder>/notebook/cubic.yaml."""

    @staticmethod
    def scheme() -> str:
        return "studies"

    def load_config(self, config_path: str) -> ConfigResult:
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
        sys.path.append(PLUGINS)  # a part of the namespace package hydra_plugins, where Hydra looks by itself
    for plugin in (Studies, StudiesPath):
        Plugins.instance().register(plugin)
