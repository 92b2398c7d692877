"""Which inputs of a network or a function matter, by which method, and how far that is to be trusted."""

from calclab.topic.importance.scan import BLOCK, Importance

__all__ = ["BLOCK", "Importance"]
