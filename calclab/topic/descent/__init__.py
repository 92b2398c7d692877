"""Descent: the topic (`scan`) and what it iterates, from values alone (`iteration`); its theory beforehand
(`forecast`), when it stops (`stopping`), what is known at its end (`walk`), where that is (`ending`) and what to do
next (`advice`, `nonfinite`, `chance`); `answer`, `evidence`, `pictures`."""

from __future__ import annotations

from calclab.topic.descent.scan import Descent

__all__ = ["Descent"]
