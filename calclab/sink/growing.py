"""Files that only grow, by whole pieces: a piece that does not fit on the disk is taken back, then the error told.

A `GrowingFile` is found whole by a reader at every moment, even if its writer is killed while it writes.

A kill may fall into a write that crosses a page of the file, and leave half a line. So there are two files: what is
new goes to the one that is hidden, which then takes the other's name in one step. The one that had the name is the
hidden one of the next time; it is then given both pieces. That is twice the bytes, and no copying. The first piece, and
as long as the file is small every other, is simply written with what was there before.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

SMALL = 2**16  # bytes up to which a file is written anew for every piece
LINKLESS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # what a file system without links answers


class AppendingFile:
    """Appends to ``path``, made at need; ``fresh`` is whether it was empty. Nothing is buffered."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115
        self.fresh = self._file.tell() == 0

    def write(self, piece: bytes) -> int:
        """Write all of ``piece`` or nothing of it."""
        before = self._file.tell()
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            self._file.truncate(before)
            raise
        return len(piece)

    def close(self) -> None:
        self._file.close()


class GrowingFile:
    """Appends to ``path``, made whole at the first piece; ``fresh`` is whether there was nothing to go on from."""

    def __init__(self, path: Path) -> None:
        self.fresh = not path.is_file()
        self._path = path
        self._whole = b"" if self.fresh else path.read_bytes() if path.stat().st_size <= SMALL else None
        self._next, self._past = (path.with_name(f".{path.name}.{word}") for word in ("next", "past"))
        self._shown: AppendingFile | None = None
        self._hidden: AppendingFile | None = None
        self._behind = b""  # what the hidden file lacks

    def write(self, piece: bytes) -> int:
        """Write all of ``piece`` or nothing of it."""
        if self._whole is not None and (not self._whole or len(self._whole) + len(piece) <= SMALL):
            return self._renew(self._whole + piece, len(piece))
        self._whole = None
        try:
            if self._hidden is None:
                self._hidden, self._behind = self._copy(), b""
            self._hidden.write(self._behind + piece)
            self._exchange()
        except OSError:
            self.close()
            raise
        self._behind = piece
        return len(piece)

    def close(self) -> None:
        opened = [file for file in (self._shown, self._hidden) if file is not None]
        for file in opened:
            file.close()
        self._shown = self._hidden = None
        self._behind = b""
        for path in (self._next, self._past) if opened or not self.fresh else ():
            path.unlink(missing_ok=True)

    def _renew(self, whole: bytes, new: int) -> int:
        """The file anew, of which the last ``new`` bytes are."""
        try:
            self._next.write_bytes(whole)
            os.replace(self._next, self._path)
        except OSError:
            self._next.unlink(missing_ok=True)
            raise
        self._whole = whole if len(whole) <= SMALL else None
        return new

    def _copy(self) -> AppendingFile:
        """The hidden file, as the shown one is now."""
        self._next.unlink(missing_ok=True)
        if self._path.is_file():
            shutil.copyfile(self._path, self._next)
        return AppendingFile(self._next)

    def _exchange(self) -> None:
        """The hidden file takes the name, and the one that had it, if any, is hidden."""
        if not self._path.is_file():
            os.replace(self._next, self._path)
            self._shown, self._hidden = self._hidden, None
            return
        self._past.unlink(missing_ok=True)
        try:
            os.link(self._path, self._past)
        except OSError as error:
            if error.errno not in LINKLESS:
                raise
            os.replace(self._next, self._path)
            self.close()  # and copied anew the next time
            return
        os.replace(self._next, self._path)
        os.replace(self._past, self._next)
        self._shown, self._hidden = self._hidden, self._shown or AppendingFile(self._next)
