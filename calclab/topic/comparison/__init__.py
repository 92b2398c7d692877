"""Comparison: the walks of every optimizer at every rate (`walks`) from every start (`starts`), which rate each is
judged by and what the starts tell (`tuning`), and the topic that logs it (`comparison`)."""

from __future__ import annotations

from calclab.topic.comparison.comparison import Comparison

__all__ = ["Comparison"]
