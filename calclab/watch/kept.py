"""All readings of a watch, kept small: a training of days is looked at many thousand times."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

from calclab.watch.moment import Reading

if TYPE_CHECKING:
    import pandas as pd


class Kept:
    """Readings in columns; ``first`` and ``last`` are those of each name."""

    def __init__(self) -> None:
        self.first: dict[str, Reading] = {}
        self.last: dict[str, Reading] = {}
        self._steps, self._values, self._errors = array("q"), array("d"), array("d")
        self._names: list[str] = []
        self._by: list[str] = []

    def add(self, readings: Sequence[Reading]) -> None:
        for one in readings:
            name = sys.intern(one.name)
            self.first.setdefault(name, one)
            self.last[name] = one
            self._steps.append(one.step)
            self._names.append(name)
            self._values.append(one.value)
            self._errors.append(one.error)
            self._by.append(sys.intern(one.by))

    def frame(self) -> pd.DataFrame:
        """A row a reading."""
        import numpy as np
        import pandas as pd

        return pd.DataFrame(
            {
                "step": np.array(self._steps, dtype=np.int64),
                "name": self._names,
                "value": np.array(self._values, dtype=np.float64),
                "error": np.array(self._errors, dtype=np.float64),
                "by": self._by,
            }
        )
