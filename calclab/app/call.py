"""A command line as a call: ``calclab.run("topic=descent", "lr=0.05")``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calclab.errors import UserError

if TYPE_CHECKING:
    from calclab.app.request import Request
    from calclab.archive.run import Run


def run(*words: str) -> Run:
    """The run that ``python -m calclab`` with these words makes: found finished, gone on with, or computed.

    Raises UserError where the command line would say so, and for a sweep, which is many runs.
    """
    from calclab.archive.run import read_run

    request = requested(words)
    if request.shown_again() is None:
        from calclab.app.compute import compute

        compute(request)
    if request.config["report"]:
        from calclab.app.report import report

        report(request.place.folder)
    return read_run(request.place.folder)


def found(*words: str) -> Run | None:
    """The run of these words if it is finished; None where it would have to be computed."""
    from calclab.archive.run import read_run

    request = requested(words)
    return None if request.finished() is None else read_run(request.place.folder)


def requested(words: tuple[str, ...]) -> Request:
    """What a command line asks for."""
    from calclab.app.compose import compose, lab_config
    from calclab.app.request import ask
    from calclab.app.words import prepare

    if "-m" in words or "--multirun" in words:
        raise UserError("a sweep is many runs. Type python -m calclab -m ..., then calclab.load('outputs')")
    try:
        ready = prepare(list(words))
        config = compose(ready)
        return ask(lab_config(config), dict(config.hydra.runtime.choices), ready, list(words))
    except UserError as mistake:
        from calclab.app.correction import corrected

        raise corrected(words, mistake) from None
