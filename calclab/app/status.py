"""The exit status that an outcome stands for: 0 done, 1 crash, 3 refuted or a claim not held, 130 interrupted."""

from __future__ import annotations

import signal

from calclab.core import Outcome, Status, Verdict


def exit_status(outcome: Outcome) -> int:
    """Converged and diverged are results, and so 0."""
    if outcome.status is Status.INTERRUPTED:
        return 128 + signal.SIGINT
    if outcome.status is Status.FAILED:
        return 1
    refuted = any(row.verdict is Verdict.REFUTED for row in outcome.evidence)
    return 3 if refuted or not all(claim.holds for claim in outcome.claims) else 0
