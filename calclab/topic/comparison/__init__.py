"""Comparison: the walks of every optimizer (`walks`) at every rate (`rates`) from every start (`starts`), which rate
each is judged by and what the starts tell (`tuning`, `tables`), and the topic that logs it (`scan`); `answer`,
`evidence`, `pictures`."""

from __future__ import annotations

from calclab.topic.comparison.scan import Comparison

__all__ = ["Comparison"]
