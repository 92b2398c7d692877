"""Images in folders that are called as their classes, as ``torchvision.datasets.ImageFolder`` has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np
import torch
from torch import Tensor

from calclab.core import Data
from calclab.core.rows import row_wise
from calclab.data.custom import finished
from calclab.data.finish import Common
from calclab.data.rows import KEPT, windowed
from calclab.data.store import Growing
from calclab.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp", ".gif"}
MODES = {"rgb": "RGB", "grey": "L"}


def folder(
    *, path: str | None, size: int | None, colours: str, rows: int | None, memory: float, **common: Unpack[Common]
) -> Data:
    """Data from images (channels, height, width), from 0 to 1, by the folder that each lies in; classes in the order of
    their names. With ``size`` the shorter side becomes so long, and the middle square is taken."""
    places = classes_of(path)
    names = [place.name for place in places]
    files = [(file, number) for number, place in enumerate(places) for file in images(place)]
    empty = [place.name for place in places if not any(True for _ in images(place))]
    if empty:
        raise UserError(f"data.path={path}: the folder {empty[0]} holds no images. Take it away, or put images in it")
    chosen = torch.randperm(len(files), generator=torch.Generator().manual_seed(common["seed"])) if rows else None
    if rows is not None and rows < len(files) and chosen is not None:
        files = [files[k] for k in chosen[:rows].sort().values.tolist()]
    room = memory * 1e9
    column = Growing("images", room / KEPT, lambda _: torch.float64)
    first = files[0][0]
    for file, _ in files:
        made = pixels(file, size, MODES[colours])
        if column.count and made.shape[1:] != column.first.shape[1:]:
            sides = [f"{shape[3]} × {shape[2]}" for shape in (column.first.shape, made.shape)]
            raise UserError(
                f"data.path={path}: images differ in size ({first.name} is {sides[0]}, {file.name} {sides[1]} pixels). "
                f"Type data.size={min(64, *made.shape[2:])}"
            )
        column.add(made)
    whole = row_wise(column.whole(room), lambda part: part.to(torch.float64) / 255)
    axes = [range(n) for n in whole.shape[1:]]
    data = Data(
        name=Path(str(path)).name or "folder",
        inputs=whole,
        targets=torch.tensor([number for _, number in files]),
        features=tuple(f"pixel[{c},{i},{j}]" for c in axes[0] for i in axes[1] for j in axes[2]),
        classes=tuple(names),
        classification=True,
        notes=(f"{len(files)} images of {len(names)} classes, pixels from 0 to 1", *windowed(whole)),
    )
    return finished(data, None, **common)


def classes_of(path: str | None) -> list[Path]:
    """The folders in ``path``, sorted by name."""
    if path is None:
        raise UserError("data=folder needs a folder with a folder of images for each class. Type data.path=photos")
    root = Path(path).expanduser()
    if not root.is_dir():
        raise UserError(f"data.path={path}: there is no such folder (looked in {Path.cwd()}). Type the path of one")
    found = sorted(place for place in root.iterdir() if place.is_dir() and not place.name.startswith("."))
    if len(found) < 2:
        raise UserError(
            f"data.path={path}: a folder of images for each of two classes or more is needed, and there "
            f"{'are none' if not found else f'is {found[0].name} alone'}. Put images as cat/1.png and dog/1.png there"
        )
    return found


def images(place: Path) -> Iterator[Path]:
    """The images of a class, at any depth, in the order of their paths."""
    return (file for file in sorted(place.rglob("*")) if file.suffix.lower() in SUFFIXES and file.is_file())


def pixels(file: Path, size: int | None, mode: str) -> Tensor:
    """An image as bytes (1, channels, height, width)."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened).convert(mode)
    except Exception as error:  # whatever a decoder raises, the file is at fault
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"the image {file} cannot be read: {reason}. Take it away, or save it anew") from error
    if size is not None:
        image = middle(image, size)
    array = np.array(image, dtype=np.uint8)
    array = array[:, :, None] if array.ndim == 2 else array
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))[None]


def middle(image: Image.Image, size: int) -> Image.Image:
    """Scaled so that the shorter side is ``size`` pixels, and cut to the square in the middle."""
    from PIL import ImageOps

    return ImageOps.fit(image, (size, size))
