"""Weights & Biases: runs of the project that WANDB_PROJECT names. Without a key of W&B's, or with WANDB_MODE=offline,
they stay in ``wandb/`` in the current folder until ``wandb sync`` is typed.

Its library writes: a row of history a step, the answer as summary, the evidence as a table, pictures, files. The jobs
of a sweep are a group. A run that goes on offline is written anew from its first step, since a file there is closed for
good; one on a server goes on behind the last step that is there.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calclab.archive.run import RESULTS, Run
from calclab.errors import UserError
from calclab.sink.tracker import PROJECT, Courses, Entry, evidence, files, headline

if TYPE_CHECKING:
    from wandb import Run as Made

CODES = {**dict.fromkeys(RESULTS, 0), "interrupted": 255}  # what W&B shows as finished and killed; any other as failed
INIT = 20  # seconds to wait for a server, unless the user says otherwise


class Wandb:
    """See the module's docstring. ``place`` is the folder in which ``wandb/`` is, ``project`` the project."""

    name = "wandb"

    def __init__(self, place: str = "", project: str = "") -> None:
        self._place, self._project = place, project or os.environ.get("WANDB_PROJECT") or PROJECT
        self._made: Made | None = None
        self._first = 0  # the first step that is not there

    @property
    def made(self) -> Made:
        assert self._made is not None, "begin comes first"
        return self._made

    def open(self) -> None:
        """UserError where the folder cannot be used."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self._folder} cannot be used ({error.strerror}). Name a folder: --to .") from None

    @property
    def _folder(self) -> Path:
        """Absolute: W&B's own process may have another current folder."""
        return Path(self._place or os.environ.get("WANDB_DIR") or ".").absolute()

    def _offline(self, number: str) -> list[Path]:
        """The folders of a run that is here."""
        return sorted(self._folder.glob(f"wandb/offline-run-*-{glob.escape(number)}"))

    def there(self, entry: Entry, run: Run) -> str:
        return next((os.path.relpath(place) for place in self._offline(entry.digest)), "")

    def begin(self, entry: Entry, known: str) -> str:
        for place in self._offline(known) if known else ():
            shutil.rmtree(place)
        self._made = begun(
            project=self._project, dir=str(self._folder), id=known or entry.digest, name=entry.name,
            group=entry.sweep.name if entry.sweep else None, job_type=entry.topic, config=dict(entry.knobs),
            resume="allow",
        )  # fmt: skip
        self._first = self.made.step if self.made.resumed else 0
        return str(self.made.id)

    def log(self, courses: Courses) -> None:
        rows: dict[int, dict[str, float]] = {}
        for name, (steps, values) in courses.items():
            for step, value in zip(steps, values, strict=True):
                rows.setdefault(step, {})[name] = value
        for step in sorted(rows):
            if step >= self._first:
                self.made.log(rows[step], step=step)

    def end(self, run: Run, last: Mapping[str, float]) -> str:
        import wandb as library

        made = self.made
        shown: dict[str, Any] = {}
        names, rows = evidence(run)
        if rows:
            shown["verify"] = library.Table(columns=names, data=rows, allow_mixed_types=True)
        own = list(files(run))
        for path in own:
            if path.suffix == ".png":
                shown[f"pictures/{path.stem}"] = library.Image(str(path))
            elif path.suffix == ".svg":
                shown[f"pictures/{path.stem}"] = library.Html(path.read_text(encoding="utf-8"), inject=False)
            shutil.copy(path, made.dir)
            made.save(glob.escape(os.path.join(made.dir, path.name)), base_path=made.dir, policy="now")
        if shown:
            made.log(shown, step=max(made.step, int(run.outcome.get("steps") or 0)))
        told = {"status": run.status, "verdict": run.fact("verdict"), "headline": headline(run)}
        made.summary.update({**run.values, **told})
        place = os.path.relpath(Path(made.dir).parent)
        where = f"{place}. Send it: wandb sync {place}" if made.offline else str(made.url)
        made.finish(exit_code=CODES.get(run.status, 1))
        return where

    def end_sweep(self, folder: Path, sentence: str, stopped: bool) -> None:
        """A group has no end."""


def begun(**asked: Any) -> Made:
    """A run beside any that is active, begun as `wandb.init` is asked to."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb as library

    said: dict[str, Any] = {} if "WANDB_INIT_TIMEOUT" in os.environ else {"init_timeout": INIT}
    settings = library.Settings(
        silent=True, console="off", disable_git=True, disable_code=True, reinit="create_new", **said
    )
    return library.init(mode=mode(), settings=settings, **asked)


def mode() -> Any:
    """Whether numbers leave this machine: as WANDB_MODE says, else where W&B has a key of the user's."""
    return os.environ.get("WANDB_MODE") or ("online" if known_user() else "offline")


def known_user() -> bool:
    """Whether the user has logged in to W&B, by a variable or by ``wandb login``, which leaves a line in netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    from requests.utils import get_netrc_auth

    return get_netrc_auth(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")) is not None
