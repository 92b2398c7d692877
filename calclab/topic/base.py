"""What topics have in common: most end by themselves, many take one look and keep nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from calclab.core import Columns, Labels, State, Status


class Method:
    """Members of `core.Topic` for a topic that ends by itself and logs what its steps give."""

    def derive(self, before: State, columns: Columns) -> Columns:
        return columns

    def stop(self, columns: Columns) -> tuple[int, Status] | None:
        return None

    def notes(self) -> Sequence[str]:
        return ()

    def write_artifacts(self, state: State, folder: Path) -> None:
        """Nothing."""

    def labels(self) -> Labels:
        return {}


class OneLook(Method):
    """... and of one step."""

    @property
    def steps(self) -> int:
        return 0

    @property
    def evidence_steps(self) -> int:
        return 1

    def init(self) -> State:
        return {}
