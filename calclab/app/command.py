"""What a command line asks for: one run, a sweep, or one of Hydra's own services (--cfg, --info, completion)."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import Any

from calclab.app import argv, catalogue, ranks
from calclab.app.completion import studies
from calclab.app.provenance import changed
from calclab.errors import UserError

SERVICES = ("--cfg", "-c", "--info", "-i", "--shell-completion", "-sc", "--hydra-help", "--resolve", "--package", "-p")


def run(words: Sequence[str]) -> int:
    """Do what was asked and return the exit status."""
    ready = argv.prepare(words)
    if any(word.partition("=")[0] in SERVICES for word in words):
        return serve(ready)
    if "-m" in words or "--multirun" in words:
        if ranks.wanted():
            raise UserError("a sweep shares out jobs, not rows. Leave torchrun out: python -m calclab -m ...")
        from calclab.app.sweep import nursery

        nursery.start(words)  # before Hydra is imported: the two take place side by side
        from calclab.app.sweep.multirun import sweep

        return sweep([word for word in ready if word not in ("-m", "--multirun")])
    return single([word for word in ready if word not in ("--run", "-r")], words)


def serve(words: Sequence[str]) -> int:
    """Leave it to Hydra, all but the completion of studies."""
    if offers := studies(words):
        print("\n".join(offers))
        return 0
    import hydra

    from calclab.app.studies import register

    register()
    sys.argv = [sys.argv[0], *words]
    main = hydra.main(config_path=str(catalogue.home("conf")), config_name="config", version_base="1.3")
    main(lambda config: None)()
    return 0


def single(ready: Sequence[str], words: Sequence[str]) -> int:
    """One run, with a progress bar and a summary; a finished one is shown again."""
    gc.disable()  # nothing of the imports is garbage: looking for it costs a tenth of the start
    from calclab.app.attempt import ask, attempt
    from calclab.app.compose import compose, plain
    from calclab.report.show import show

    config = compose(ready)
    run = attempt(ask(plain(config), dict(config.hydra.runtime.choices), ready, words), progress=True)
    if ranks.first():
        show(again(run.record) if run.before else run.record["lines"])
    return run.record["exit"]


def again(record: dict[str, Any]) -> list[list[str]]:
    """The lines of a run that was finished before."""
    when = record["provenance"]["started"]
    how = changed(record["provenance"]) or "rerun=true runs it anew"
    return [*record["lines"], ["note", f"finished before (started {when}); {how}", "yellow"]]
