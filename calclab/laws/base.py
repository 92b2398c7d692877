"""What a law is, and what most have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

from calclab.core import Evidence, Picture, State, Values, Verdict

ERRORS = 3  # standard errors within which a mean agrees with theory
CLOSE = 1e-2  # relative, where chance has no part


class Law(Protocol):
    """A frozen dataclass whose fields are its knobs, its subject, and the run's rule and seed.

    ``axis`` names the value that says where setting k stands, ``log`` the axes that are logarithmic in its picture.
    """

    @property
    def quantities(self) -> tuple[str, ...]: ...

    @property
    def vectors(self) -> tuple[str, ...]:
        """Those that are vectors at each setting, and drawn by pictures of the law's own."""
        ...

    @property
    def axis(self) -> str: ...

    @property
    def log(self) -> str: ...

    @property
    def steps(self) -> int:
        """The last setting."""
        ...

    def init(self) -> State:
        """What all settings share, or the state before the first."""
        ...

    def step(self, state: State, k: int) -> tuple[State, Values]:
        """The state after setting k, and what was measured there: ``axis``, and q, q_theory, q_error of each q."""
        ...

    def evidence(self, seen: Mapping[str, Tensor], k: int) -> list[Evidence]:
        """Of what was measured at setting k, the last of those ``seen``."""
        ...

    def findings(self, seen: Mapping[str, Tensor]) -> Mapping[str, Tensor | str]:
        """What all settings come to, of every value logged (K + 1, ...): slopes, peaks, names of regions."""
        ...

    def pictures(self) -> Sequence[Picture]:
        """Beside a curve of each quantity."""
        ...


class Plain:
    """Members of a law whose settings do not depend on each other, and of which no more is to be said."""

    log = ""
    vectors: tuple[str, ...] = ()
    quantities: tuple[str, ...] = ()

    def evidence(self, seen: Mapping[str, Tensor], k: int) -> list[Evidence]:
        return [made for q in self.quantities if (made := row(q, seen, k)) is not None]

    def init(self) -> State:
        return {}

    def findings(self, seen: Mapping[str, Tensor]) -> Mapping[str, Tensor | str]:
        return {}

    def pictures(self) -> Sequence[Picture]:
        return ()


def mean_and_error(samples: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over the first axis and its standard error.

    >>> import torch
    >>> [float(v) for v in mean_and_error(torch.tensor([1.0, 3.0]))]
    [2.0, 1.0]
    """
    return samples.mean(0), samples.std(0) / len(samples) ** 0.5


def slope(x: Tensor, y: Tensor) -> Tensor:
    """The exponent of y ∝ x^slope, by least squares of log y on log x.

    >>> import torch
    >>> round(float(slope(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0, 12.0, 48.0]))), 6)
    2.0
    """
    a, b = x.double().log(), y.double().log()
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / a.square().sum()


def row(q: str, seen: Mapping[str, Tensor], k: int) -> Evidence | None:
    """The entry of setting k that is farthest from theory, by its tolerance: consistent within three standard errors,
    or one hundredth where chance has no part; else inconclusive, for it is the theory that is in question, and claims
    decide on it. None where theory has no finite number."""
    value, theory = seen[q][k].flatten().double(), seen[f"{q}_theory"][k].flatten().double()
    error = seen.get(f"{q}_error")
    allowed = CLOSE * theory.abs() if error is None else ERRORS * error[k].flatten().double()
    gap = (value - theory).abs()
    i = int((gap / allowed.clamp(min=1e-300)).nan_to_num(0.0, math.inf).argmax())
    method = "theory" if error is None else "theory, within three standard errors"
    if not bool(theory[i].isfinite()):
        return None
    close = bool(gap[i] <= allowed[i])
    verdict = Verdict.CONSISTENT if close else Verdict.INCONCLUSIVE
    note = "" if close else "measured and theory are apart"
    bound = math.inf if error is None else float(allowed[i])
    return Evidence(
        k, q, method, float(value[i]), float(theory[i]), float(gap[i]), bound, float(allowed[i]), verdict, note
    )
