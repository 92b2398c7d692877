"""Comparison: the walks of every optimizer (`walks`) at every rate (`rates`) from every start (`starts`), which rate
each is judged by and what the starts tell (`tuning`), how that is shown (`tables`, `answer`, `pictures`), and the topic
that logs it (`comparison`)."""

from __future__ import annotations

from calclab.topic.comparison.comparison import Comparison

__all__ = ["Comparison"]
