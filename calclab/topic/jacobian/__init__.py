"""The Jacobian of a vector function, of a network or of its layers: at a point, at many, at every row of a data set."""

from __future__ import annotations

from calclab.topic.jacobian.scan import jacobian

__all__ = ["jacobian"]
