"""Every partial derivative at a point: of a formula by its variables, of a network's loss by its `parameters`. `scan`,
`answer`, `evidence`, `pictures`."""

from __future__ import annotations

from calclab.topic.partial.scan import Partial

__all__ = ["Partial"]
