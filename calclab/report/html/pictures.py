"""The pictures of a run's folder as figures of a page, each within the page itself.

A page is to be mailed: it holds at most 3 MB. Where pictures are more than there is room for, PNGs are written anew
with 256 colours; what then still does not fit is named instead.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from calclab.archive.folder import own
from calclab.archive.frames import stem
from calclab.report.html.captions import caption
from calclab.report.html.document import Figure, data

KINDS = {".png": "png", ".svg": "svg+xml", ".gif": "gif"}  # that a browser shows; of two of one name the first
ROOM = 1_900_000  # bytes of pictures on a page; in an address each takes a third more
TYPESET = "formula"  # the picture of what a page typesets itself
SHARPNESS = 1.25  # pixels of a picture for each of the page


def figures(
    folder: Path, recorded: Sequence[Mapping[str, Any]], room: int = ROOM, *, typeset: bool = True
) -> tuple[list[Figure], list[str]]:
    """The pictures of a run in the order in which it names them, and the names of files for which there is no room.
    ``typeset``: the formulas stand on the page by themselves."""
    found = dict(files(folder, recorded))
    if typeset:
        found = {path: known for path, known in found.items() if path.stem != TYPESET}
    contents = {path: path.read_bytes() for path in found}
    if sum(map(len, contents.values())) > room:
        contents = {path: fewer_colours(path, content) for path, content in contents.items()}
    made, left = [], []
    for path, content in contents.items():
        if len(content) > room:
            left.append(path.name)
            continue
        room -= len(content)
        said = caption(found[path])
        source = data(content, KINDS[path.suffix])
        made.append(Figure(path.stem, said.shows, said.reading, source, width=width(path.suffix, content)))
    return made, left


def files(folder: Path, recorded: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The lab's own pictures in the folder with what the run knows of each: those that it names, then others."""
    mine = own(folder)
    there: dict[str, Path] = {}
    for kind in KINDS:
        for path in sorted(folder.glob(f"*{kind}")):
            if mine(path.name) and path.is_file():
                there.setdefault(path.stem, path)
    for picture in recorded:
        if (name := stem(str(picture.get("name")))) in there:
            yield there.pop(name), picture
    for name, path in there.items():
        yield path, {"name": name}


def fewer_colours(path: Path, content: bytes) -> bytes:
    """A PNG with 256 colours; another file, or one that does not become smaller, as it is."""
    if path.suffix != ".png":
        return content
    from PIL import Image

    out = io.BytesIO()
    try:
        Image.open(io.BytesIO(content)).convert("RGB").quantize(256).save(out, "png")
    except (OSError, ValueError):
        return content
    return min(content, out.getvalue(), key=len)


def width(suffix: str, content: bytes) -> int:
    """How wide a PNG is shown, by the size in its header; 0: as wide as it is."""
    pixels = int.from_bytes(content[16:20], "big") if suffix == ".png" and len(content) > 24 else 0
    return round(pixels / SHARPNESS)
