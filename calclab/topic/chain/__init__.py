"""The chain rule at work: link by link through a composition (`links`), or layer by layer through a network
(`layers`)."""

from __future__ import annotations

from calclab.topic.chain.scan import chain

__all__ = ["chain"]
