"""What a command line asks for: one run, a sweep, or one of Hydra's own services (--cfg, --info, completion)."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Sequence

from calclab.app import argv, catalogue
from calclab.app.signals import signals
from calclab.core import Outcome, Status, Verdict

SERVICES = ("--cfg", "-c", "--info", "-i", "--shell-completion", "-sc", "--hydra-help", "--resolve", "--package", "-p")


def run(words: Sequence[str]) -> int:
    """Do what was asked and return the exit status."""
    ready = argv.prepare(words)
    if any(word.partition("=")[0] in SERVICES for word in words):
        return serve(ready)
    if "-m" in words or "--multirun" in words:
        from calclab.app.sweep import sweep

        return sweep([word for word in ready if word not in ("-m", "--multirun")])
    return single(ready, words)


def serve(words: Sequence[str]) -> int:
    """Leave it to Hydra."""
    import hydra

    from calclab.app.studies import register

    register()
    sys.argv = [sys.argv[0], *words]
    main = hydra.main(config_path=str(catalogue.home("conf")), config_name="config", version_base="1.3")
    main(lambda config: None)()
    return 0


def single(ready: Sequence[str], words: Sequence[str]) -> int:
    """One run, with a progress bar and a summary."""
    gc.disable()  # nothing of the imports is garbage: looking for it costs a tenth of the start
    from calclab.app.compose import compose
    from calclab.app.job import execute, prepare
    from calclab.report.terminal import show

    config = compose([word for word in ready if word not in ("--run", "-r")])
    job = prepare(config, config.hydra, words)
    gc.enable()
    with signals() as received:
        outcome = execute(job, lambda: bool(received), progress=True)
    show(job.run, outcome)
    return status_of(outcome, received)


def status_of(outcome: Outcome, received: Sequence[int]) -> int:
    """The exit status that an outcome stands for; ``received`` are the signals that came."""
    if outcome.status is Status.INTERRUPTED:
        return 128 + (received[0] if received else signal.SIGINT)
    if outcome.status is Status.FAILED:
        return 1
    refuted = any(row.verdict is Verdict.REFUTED for row in outcome.evidence)
    return 3 if refuted or not all(claim.holds for claim in outcome.claims) else 0
