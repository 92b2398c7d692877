"""The pictures of a run's folder as figures of a page, each within the page itself.

A page is to be mailed: it holds at most 3 MB. Where pictures are more than there is room for, PNGs become
WebP, a third of the size; what then still does not fit is named instead.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from calclab.archive.folder import own
from calclab.archive.frames import stem
from calclab.report.html.captions import caption
from calclab.report.html.document import Figure, data

KINDS = {".png": "png", ".svg": "svg+xml", ".gif": "gif", ".pdf": ""}  # of two of one name the first; no PDF is shown
ROOM = 1_900_000  # bytes of pictures on a page; in an address each takes a third more
TYPESET = "formula"  # the picture of what a page typesets itself
QUALITY, WEBP = 82, b"WEBP"
SHARPNESS = 1.25  # pixels of a picture for each of the page


def figures(found: Mapping[Path, Mapping[str, Any]], room: int = ROOM) -> tuple[list[Figure], list[str]]:
    """Pictures as figures, each file with what its run knows of it; and the names of those that are not shown."""
    contents = {path: path.read_bytes() for path in found}
    if sum(map(len, contents.values())) > room:
        contents = {path: squeezed(content) if path.suffix == ".png" else content for path, content in contents.items()}
    made, left = [], []
    for path, content in contents.items():
        if len(content) > room or not KINDS[path.suffix]:
            left.append(path.name)
            continue
        room -= len(content)
        said = caption(found[path])
        source = data(content, "webp" if content[8:12] == WEBP else KINDS[path.suffix])
        wide, high = size(path)
        made.append(Figure(path.stem, said.shows, said.reading, source, width=wide, broad=wide > 2 * high > 0))
    return made, left


def of_folder(
    folder: Path, recorded: Sequence[Mapping[str, Any]], mine: Callable[[str], bool] | None = None
) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The lab's own pictures in the folder (``mine``: how they are told from others) with what the run knows of each:
    those that it names in their order, then others."""
    mine = own(folder) if mine is None else mine
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


def squeezed(content: bytes, most: int = 2000) -> bytes:
    """A PNG as WebP, at most so many pixels wide or high; as it is where it cannot be read."""
    from PIL import Image

    out = io.BytesIO()
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.thumbnail((most, most))
            image.convert("RGB").save(out, "webp", quality=QUALITY)
    except (OSError, ValueError, KeyError, Image.DecompressionBombError):
        return content
    return out.getvalue()


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG in pixels of the page, by its header; of another file 0."""
    if path.suffix != ".png":
        return 0, 0
    with path.open("rb") as file:
        header = file.read(24)
    wide, high = (int.from_bytes(header[at : at + 4], "big") for at in (16, 20))
    return round(wide / SHARPNESS), round(high / SHARPNESS)
