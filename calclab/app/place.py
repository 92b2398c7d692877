"""The place of a run: the same question finds the same folder, and one process at a time works in it.

A folder is named by what tells the run from others (`calclab.archive.naming`) and by a digest of the whole resolved
configuration, with the content of every file that it names (a table, weights, the user's own code). Changed in any way,
it is another run. No torch here: a finished run is shown again within the time that Hydra needs.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calclab.app.sources import UNSEEN, sources
from calclab.archive.folder import hidden, pending, read_record, settle
from calclab.archive.lock import claim, hold, lock_file
from calclab.archive.naming import folder_name
from calclab.errors import UserError
from calclab.text import quoted

DIGITS = 12  # of the digest
PATIENCE = 0.2  # seconds to wait for a lock: a listing may have it for an instant
WITHOUT_EFFECT = (
    "outputs",
    "rerun",
    "fail_fast",
    "report",
    "sinks",
    "checkpoint_every",
    "study",
    "oc.env",
)  # knobs that do not change what is computed
LATER = ("watch", "animation", "flow", "law", "evidence")  # came later: unset in no digest, so earlier runs are found
FILES = (("data", "path"), ("data", "target"), ("network", "weights"))  # knobs that name a file
MUCH = 2**30  # bytes of a folder whose content is not read for its digest
CODE = ("_target_", "callable", "loss", "output")  # knobs that may hold a dotted path
FINISHED = ("completed", "converged", "diverged", "nonfinite")
CHECKPOINT = "checkpoint.pt"


class BusyError(UserError):
    """Another process computes the run: no mistake, and no failure."""

    def __init__(self, text: str, folder: Path) -> None:
        super().__init__(text)
        self.folder = folder


@dataclass(frozen=True)
class Place:
    """Where the run of one configuration lies, whether it exists or not; ``files`` are the digests of what it reads."""

    outputs: Path
    topic: str
    digest: str
    folder: Path
    files: Mapping[str, str]

    @property
    def aside(self) -> Path:
        """Where the run is computed anew while its result is kept."""
        return hidden(self.folder, self.digest)

    def finished(self) -> dict[str, Any] | None:
        """The record of a run that has come to an end of its own, and that no newer result waits to replace."""
        record = finished(self.folder)
        if record is None or pending(self.aside, FINISHED):
            return None
        if (left := self.folder / CHECKPOINT).exists():  # by a process that was killed at its last breath
            with suppress(OSError):
                left.unlink()
        return record

    @property
    def unseen(self) -> list[str]:
        """A note where the source of something named could not be read."""
        names = [name.removeprefix("code.") for name, digest in self.files.items() if digest == UNSEEN]
        text = (
            f"the source of {', '.join(names)} is not seen: edited, it would be the same question. Then add rerun=true"
        )
        return [text] if names else []

    def check_writable(self) -> None:
        """UserError where nothing could be written down: before anything is computed."""
        check_writable(self.folder, self.outputs)

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the run; BusyError says who has it. The lock goes with the process that holds it, however it ends.

        Yields whether the run had been computed anew by a process that was killed before it could show the result.
        """
        path = lock_file(self.outputs, self.topic, self.digest)
        with hold(path, PATIENCE) as mine:
            if mine is None:
                raise BusyError(
                    f"{self.folder} is being computed by {holder(path)}. Wait for it; the same command then shows its"
                    " result.",
                    self.folder,
                )
            other = self.folder.parent / plain_name(mine.before().get("folder"))
            if other.name[-DIGITS:] == self.digest and other.is_dir() and not self.folder.is_dir():
                raise BusyError(f"{other} is this run, begun meanwhile. The same command now finds it.", other)
            mine.say({**this_process(), "folder": self.folder.name})
            yield settle(self.aside, self.folder, FINISHED)


def finished(folder: Path) -> dict[str, Any] | None:
    """The record of the run in ``folder`` if that has come to an end of its own."""
    record = read_record(folder)
    return record if record and record.get("status") in FINISHED else None


def holder(lock: Path) -> str:
    """Who holds a lock, as it said of itself."""
    who = claim(lock)
    return f"process {who['pid']} on {who['host']}" if {"pid", "host"} <= who.keys() else "another process"


def plain_name(name: object) -> str:
    """A name that can be a folder's in a claim; nothing where the claim is damaged."""
    return name if isinstance(name, str) and not {"/", "\0"} & set(name) else ""


def locate(config: Mapping[str, Any], topic: str, words: Sequence[str]) -> Place:
    """The place of a resolved configuration; ``words`` are the overrides that name it."""
    files = contents(config)
    if code := set(code_paths(config)):
        files |= sources(code)
    asked = {key: value for key, value in config.items() if key not in (*WITHOUT_EFFECT, *unset(config))}
    if isinstance(node := config.get("topic"), Mapping):
        asked["topic"] = {key: value for key, value in node.items() if key not in unset(node)}
    text = json.dumps([asked, files], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
    outputs = Path(config["outputs"])
    return Place(outputs, topic, digest, named_place(outputs / topic, words, digest), files)


def unset(config: Mapping[str, Any]) -> list[str]:
    """The knobs that came later and have no value."""
    return [key for key in LATER if config.get(key) is None]


def named_place(parent: Path, words: Sequence[str], digest: str) -> Path:
    """The folder in ``parent`` of a digest: the one that there is, whatever it is called, else called by ``words``."""
    folder = parent / f"{folder_name(words, WITHOUT_EFFECT) or 'defaults'}-{digest}"
    if not folder.is_dir() and (other := first_named(parent.parent, parent.name, digest)):
        folder = folder.with_name(other)
    return folder


def first_named(outputs: Path, topic: str, digest: str) -> str | None:
    """The name of the run's folder if it was first asked for in other words.

    The folders are listed once a process, and not for every job of a sweep. Whoever has made one since then, has held
    its lock, and left the file: where that is, they are listed again.
    """
    parent = os.path.abspath(outputs / topic)
    names = by_digest(parent)
    outdated = digest in names and not os.path.isdir(os.path.join(parent, names[digest]))
    if outdated or (digest not in names and lock_file(outputs, topic, digest).exists()):
        by_digest.cache_clear()
        names = by_digest(parent)
    return names.get(digest)


@functools.lru_cache(maxsize=64)
def by_digest(parent: str) -> dict[str, str]:
    """The folders in ``parent`` by the digest at the end of their names; of several the first."""
    names = sorted(os.listdir(parent), reverse=True) if os.path.isdir(parent) else []
    return {name[-DIGITS:]: name for name in names if not name.startswith(".")}


def check_writable(folder: Path, outputs: Path) -> None:
    """UserError unless ``folder``, in ``outputs``, is there to be written into, or can be made."""
    there: Path = next(path for path in (folder, *folder.parents) if os.path.lexists(path) or path.parent == path)
    advice = f"Type {quoted(f'outputs={outputs}-2')}, or another folder of yours"
    if not os.path.isdir(there):
        kind = "a link to nowhere" if os.path.islink(there) else "a file, and a folder is needed"
        raise UserError(f"outputs={outputs}: {there} is {kind}. {advice}")
    inside = [Path(entry.path) for entry in os.scandir(there) if entry.is_file()] if there == folder else []
    for path in (there, *inside):
        if not os.access(path, os.W_OK | (os.X_OK if path == there else 0)):
            raise UserError(f"outputs={outputs}: {path} is not yours to write ({owner(path)}). {advice}")


def owner(path: str | os.PathLike[str]) -> str:
    """Whose it is, and for whom this is asked."""
    try:
        import pwd

        return f"it is {pwd.getpwuid(os.stat(path).st_uid).pw_name}'s, and you are {pwd.getpwuid(os.geteuid()).pw_name}"
    except (ImportError, KeyError, OSError):  # not a POSIX system, or a user without a name
        return "permission denied"


def contents(config: Mapping[str, Any]) -> dict[str, str]:
    """The digest of every file that the configuration names, by its knob; of a folder or a pattern, that of all files
    in it."""
    found = {}
    for group, key in FILES:
        value = (config.get(group) or {}).get(key)
        path = os.path.expanduser(value) if isinstance(value, str) else ""
        if (group, key) == ("data", "target") and not path.endswith(".npy"):  # the name of a column
            continue
        try:
            if path.endswith(".index.json"):  # of weights in several files, which lie beside it
                found[f"{group}.{key}"] = many(os.path.dirname(path) or ".")
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    found[f"{group}.{key}"] = hashlib.file_digest(file, "sha256").hexdigest()
            elif os.path.isdir(path) or glob.has_magic(path):
                found[f"{group}.{key}"] = many(path)
        except OSError as error:
            raise UserError(
                f"{group}.{key}={value}: the file cannot be read ({error.strerror}; {owner(path)}). "
                "Make it readable, or name another"
            ) from None
    return found


def code_paths(node: Any) -> Iterator[str]:
    """The dotted paths in a configuration, of what is not the lab's own."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in CODE and isinstance(value, str) and "." in value and not value.startswith("calclab."):
                yield value
            yield from code_paths(value)
    elif isinstance(node, list):
        for value in node:
            yield from code_paths(value)


def many(path: str) -> str:
    """One digest of the files in a folder, or of those that a pattern matches, with their names: of what is in them, or
    where that is much, of their sizes and times."""
    pattern = os.path.join(glob.escape(path), "**") if os.path.isdir(path) else path
    files = sorted(name for name in glob.iglob(pattern, recursive=True) if os.path.isfile(name))
    stats = [os.stat(name) for name in files]
    much, all_ = sum(each.st_size for each in stats) > MUCH, hashlib.sha256()
    for name, stat in zip(files, stats, strict=True):
        all_.update(os.path.relpath(name, path if os.path.isdir(path) else None).encode() + b"\0")
        if much:
            all_.update(f"{stat.st_size} {stat.st_mtime_ns}".encode())
        else:
            with open(name, "rb") as file:
                all_.update(hashlib.file_digest(file, "sha256").digest())
    return all_.hexdigest()


def this_process() -> dict[str, Any]:
    """Who is computing."""
    return {"pid": os.getpid(), "host": platform.node()}
