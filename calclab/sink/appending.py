"""A file that only grows, by whole pieces: a piece that does not fit on the disk is taken back, then the error told."""

from __future__ import annotations

from pathlib import Path


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
