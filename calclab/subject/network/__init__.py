"""A network with its data and loss, as functions: of its parameters (the objective) and of its input (the response)."""

from __future__ import annotations

from calclab.subject.network.functions import Network
from calclab.subject.network.layers import entries
from calclab.subject.network.make import network, trained

__all__ = ["Network", "entries", "network", "trained"]
