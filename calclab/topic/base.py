"""What topics have in common: most end by themselves, many take one look and keep nothing, some hand over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from calclab.core import Answer, Columns, Evidence, Labels, Picture, State, Status, Topic, Values


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


class Choice:
    """Members of `core.Topic` for a topic that only chooses: it hands over to the scan that fits what is asked."""

    @property
    def scan(self) -> Topic:
        raise NotImplementedError

    @property
    def steps(self) -> int:
        return self.scan.steps

    @property
    def evidence_steps(self) -> int:
        return self.scan.evidence_steps

    def init(self) -> State:
        return self.scan.init()

    def step(self, state: State, k: int) -> tuple[State, Values]:
        return self.scan.step(state, k)

    def derive(self, before: State, columns: Columns) -> Columns:
        return self.scan.derive(before, columns)

    def stop(self, columns: Columns) -> tuple[int, Status] | None:
        return self.scan.stop(columns)

    def verify(self, state: State, k: int) -> list[Evidence]:
        return self.scan.verify(state, k)

    def answer(self, state: State) -> Answer:
        return self.scan.answer(state)

    def notes(self) -> Sequence[str]:
        return self.scan.notes()

    def write_artifacts(self, state: State, folder: Path) -> None:
        self.scan.write_artifacts(state, folder)

    def labels(self) -> Labels:
        return self.scan.labels()

    def pictures(self) -> Sequence[Picture]:
        return self.scan.pictures()
