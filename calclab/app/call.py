"""A command line as a call: ``calclab.run("topic=descent", "lr=0.05")``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calclab.errors import UserError

if TYPE_CHECKING:
    from calclab.archive.run import Run


def run(*words: str) -> Run:
    """The run that ``python -m calclab`` with these words makes: found finished, gone on with, or computed.

    Raises UserError where the command line would say so, and for a sweep, which is many runs.
    """
    from calclab.app.compose import compose, lab_config
    from calclab.app.request import ask
    from calclab.app.words import prepare
    from calclab.archive.run import read_run

    if "-m" in words or "--multirun" in words:
        raise UserError("a sweep is many runs. Type python -m calclab -m ..., then calclab.load('outputs')")
    ready = prepare(list(words))
    config = compose(ready)
    request = ask(lab_config(config), dict(config.hydra.runtime.choices), ready, list(words))
    if request.finished() is None:
        from calclab.app.compute import compute

        compute(request)
    return read_run(request.place.folder)
