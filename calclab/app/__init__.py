"""The command line: one run, a sweep, a command beside them (`commands`), or one of Hydra's own services (--cfg,
--info).

Of a run: words are read (`words`) and composed (`compose`), which makes a request (`request`) with a place (`place`).
What is not finished there is built (`build`), computed (`compute`) and written down (`record`).

Exit status: 0 done (converged and diverged are results), 1 crash, 2 wrong input, 3 evidence refuted or a claim that
does not hold, 130 and 143 interrupted.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
from collections.abc import Iterator, Sequence

from calclab.app import commands
from calclab.app.commands import COMMANDS
from calclab.errors import UserError
from calclab.text import quoted, shortened, warn

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # full, the user's share of it is, or the file is too large

PLACE = (  # what a folder or a file says that is not there, not the user's, or of another kind
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP,
    errno.ENAMETOOLONG, errno.ESTALE,
)  # fmt: skip

PRINTED = {
    **dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all")),
    **dict.fromkeys(("--info", "-i"), ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")),
}  # what these flags of Hydra's print
SERVICES = ("--cfg", "-c", "--info", "-i", "--shell-completion", "-sc", "--hydra-help", "--resolve", "--package", "-p")


def main(argv: Sequence[str] | None = None) -> int:
    """Answer the question in ``argv`` (default: the process's own arguments) and return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        check_readable(words)
        sys.path.insert(0, current_folder())  # a user's own my.module.Net is found, also by the console script
        if words[:1] and words[0] in COMMANDS:
            return commands.answer(words)
        if "--version" in words:
            return commands.answer(["version"])
        if "-h" in words or "--help" in words:
            return commands.answer(["help", *(word for word in words if word not in ("-h", "--help"))])
        from calclab.app import ranks
        from calclab.app.signals import answered

        with answered(aloud=ranks.first()):
            return ranks.as_rank(lambda: run(words))
    except UserError as mistake:
        return say(str(better(mistake, words)), 2)
    except KeyboardInterrupt as interrupt:  # before a run has begun, or the second one
        return 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)
    except BrokenPipeError:  # whoever reads, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more is told at exit
        return 0
    except OSError as trouble:  # of the disk, before a run has begun or after it has ended
        where = f": {trouble.filename}" if trouble.filename else ""
        if trouble.errno in DISK:
            return say(f"{trouble.strerror}{where}. Make room; the same command goes on from there", 1)
        if trouble.errno in PLACE:
            return say(f"{trouble.strerror}{where}. Name a place of your own: outputs=<folder>, data.path=<file>", 2)
        raise


def better(mistake: UserError, words: Sequence[str]) -> UserError:
    """The same mistake with the line to type, where one is known; of a command, whose words are its own, as it is."""
    if words[:1] and words[0] in COMMANDS:
        return mistake
    from calclab.app.correction import corrected

    return corrected(words, mistake)


def run(words: Sequence[str]) -> int:
    """Do what was asked and return the exit status."""
    if any(word.partition("=")[0] in SERVICES for word in words):
        return serve(words)
    if "-m" not in words and "--multirun" not in words:
        return single([word for word in words if word not in ("--run", "-r")], words)
    from calclab.app import ranks
    from calclab.app.sweep import nursery

    if ranks.several():
        raise UserError("a sweep shares out jobs, not rows. Leave torchrun out: python -m calclab -m ...")
    nursery.start(words)  # before Hydra is imported: the two take place side by side
    from calclab.app.sweep.multirun import sweep
    from calclab.app.words import prepare

    return sweep([word for word in prepare(words) if word not in ("-m", "--multirun")])


def single(asked: Sequence[str], words: Sequence[str]) -> int:
    """One run, with a progress bar and a summary; a finished one is shown again."""
    gc.disable()  # nothing of the imports is garbage: looking for it costs a tenth of the start
    from calclab.app import ranks
    from calclab.app.compose import compose, lab_config
    from calclab.app.request import ask
    from calclab.app.words import prepare
    from calclab.report.course import with_course
    from calclab.report.page import page
    from calclab.terminal import show

    overrides = prepare(asked)
    config = compose(overrides)
    request = ask(lab_config(config), dict(config.hydra.runtime.choices), overrides, words)
    record = request.shown_again()
    if record is None:
        from calclab.app.compute import compute
        from calclab.app.pages import keep_pages

        keep_pages()
        if request.config["figures"] and ranks.first():
            from calclab.figure.kinds import ready

            ready()  # for the sake of the next lines
        if not gc.get_freeze_count():  # in a process of many runs once: what a run leaves behind is garbage
            gc.freeze()  # torch and matplotlib are not looked through again, neither while it runs nor at the exit
        record = compute(request, progress=True)
    if ranks.first():
        said = page(record, str(request.place.folder))
        show(with_course(said, request.place.folder) if sys.stdout.isatty() else said)
        if request.config["report"]:
            from calclab.app.report import leave

            leave(request.place.folder)
    return record["exit"]


def serve(words: Sequence[str]) -> int:
    """Leave it to Hydra, all but completion."""
    from calclab.app import completion

    if completion.asked(words):
        print(completion.answer())
        return 0
    from calclab.app.studies import register
    from calclab.app.words import prepare, read
    from calclab.schema import catalogue

    register()
    asked = prepare(list(overrides(words)))
    if {"-m", "--multirun"} & set(words):
        read(asked, sweep=True)
    elif not {"-sc", "--shell-completion"} & set(words):  # whose words are the shell's
        from calclab.app.compose import compose

        compose(asked)  # so that it is said here what does not fit
    import hydra

    sys.argv = [sys.argv[0], *prepare(words)]
    start = hydra.main(config_path=str(catalogue.home("conf")), config_name="config", version_base="1.3")
    start(lambda config: None)()
    return 0


def overrides(words: Sequence[str]) -> Iterator[str]:
    """The words without Hydra's flags and what is said with them; UserError for what cannot be."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if flag in ("-p", "--package") and not equals and rest:
            rest.pop(0)
        elif flag in PRINTED:
            may = PRINTED[flag]
            value = value if equals else rest.pop(0) if rest and "=" not in rest[0] else ""
            if value not in may and (value or may[0] == "job"):
                raise UserError(
                    f"{flag} {value}".strip() + f": it prints one of {', '.join(may)}. Type {flag} {may[0]}"
                )
        elif not word.startswith("-"):
            yield word


def say(message: str, status: int) -> int:
    """One line to stderr, and the exit status that goes with it."""
    warn(message)
    return status


def check_readable(words: Sequence[str]) -> None:
    """UserError for bytes that are no text."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UserError(f"cannot read {shortened(quoted(word))}: it is not in UTF-8. Type it in UTF-8") from None


def current_folder() -> str:
    """The current folder; UserError where it has been removed."""
    try:
        return os.getcwd()
    except OSError as error:
        raise UserError(f"the current folder cannot be used ({error.strerror}). Type cd, to another one") from None
