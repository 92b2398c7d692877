"""The gradient noise scale."""

from __future__ import annotations

from collections.abc import Sequence

from calclab.watch.moment import Found, Moment


class Noise:
    """The look."""

    name = "noise"
    cost = 3.0

    def take(self, moment: Moment) -> Sequence[Found]:
        return []
