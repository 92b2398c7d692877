"""Knobs of the data sets: ``data=digits data.standardize=true``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from calclab.schema.knob import Schema, knob


@dataclass(frozen=True, kw_only=True)
class Standard(Schema):
    standardize: bool = knob("shift and scale the inputs, and numbers to predict, to mean 0 and variance 1", "true")
    held_out: float = knob(
        "fraction of the rows kept back, to see how what was learned does on others; chosen by the seed",
        0.2,
        at_least=0,
        below=1,
        unit="a fraction of the rows",
    )


@dataclass(frozen=True, kw_only=True)
class Bundled(Standard):
    rows: int | None = knob("how many rows to use, chosen by the seed; null takes all", 100, at_least=1)


@dataclass(frozen=True, kw_only=True)
class Digits(Bundled):
    pass


@dataclass(frozen=True, kw_only=True)
class BreastCancer(Bundled):
    pass


@dataclass(frozen=True, kw_only=True)
class Wine(Bundled):
    pass


@dataclass(frozen=True, kw_only=True)
class Iris(Bundled):
    pass


@dataclass(frozen=True, kw_only=True)
class Diabetes(Bundled):
    pass


@dataclass(frozen=True, kw_only=True)
class Blobs(Standard):
    rows: int = knob("how many rows each class has", 100, at_least=1)
    classes: int = knob("how many classes there are", 5, at_least=2)
    dimension: int = knob("how many inputs a row has", 30, at_least=1)
    separation: float = knob(
        "distance of the class centres from the origin; the classes have deviation 1", 5, at_least=0
    )


@dataclass(frozen=True, kw_only=True)
class Moons(Standard):
    rows: int = knob("how many rows each class has", 100, at_least=1)
    noise: float = knob("standard deviation of the noise on each input", 0.1, at_least=0)


@dataclass(frozen=True, kw_only=True)
class Spirals(Standard):
    rows: int = knob("how many rows each class has", 100, at_least=1)
    noise: float = knob("standard deviation of the noise on each input", 0.02, at_least=0)
    turns: float = knob("how often each spiral goes round", 1.5, above=0)


@dataclass(frozen=True, kw_only=True)
class Linear(Standard):
    rows: int = knob("how many rows to draw", 100, at_least=1)
    weights: list[float] = knob("the true weights, one for each input", "[2, -3, 0.5]")
    bias: float = knob("the true bias", 1.0)
    noise: float = knob("standard deviation of the noise on the target", 0.1, at_least=0)


@dataclass(frozen=True, kw_only=True)
class Chebyshev(Standard):
    degree: int = knob("degree of the polynomial", 3, at_least=0)
    points: int = knob("how many evenly spaced points of [-1, 1]", 20, at_least=2)


@dataclass(frozen=True, kw_only=True)
class Inline(Standard):
    inputs: list[Any] = knob("the rows: nested lists of one shape", "'[[1, 2], [3, 4]]'")
    targets: list[Any] | None = knob(
        "a class or a number to predict for each row, or a list of numbers; null for none", "'[0.5, 1.5]'"
    )
    outputs: int | None = knob(
        "how many outputs a network gets where there are no targets; null for one", 2, at_least=1
    )
    features: list[str] | None = knob("names of the inputs; null numbers them", "[age, height]")
    classes: list[str] | None = knob("names of the classes or outputs; null numbers them", "[no, yes]")
    task: str = knob(
        "what the targets are; auto takes text, booleans and flat lists of whole numbers for classes",
        "regression",
        choices=("auto", "classification", "regression"),
    )


@dataclass(frozen=True, kw_only=True)
class Table(Bundled):
    path: str | None = knob("the table: a CSV or Parquet file, or a folder of parts", "patients.csv")
    memory: float = knob(
        "a Parquet table that takes more than a quarter of so many gigabytes is read a window at a time",
        2,
        above=0,
        unit="gigabytes",
    )
    target: str | None = knob("the column to predict", "price")
    features: list[str] | None = knob("the columns to predict it from; null takes all others", "[age, colour]")
    categories: list[str] | None = knob(
        "columns of numbers that stand for categories: each value becomes an input of its own", "[plan, site]"
    )
    missing: str = knob(
        "missing values: drop the row, put in the mean (of texts the most frequent), or refuse the table",
        "mean",
        choices=("drop", "mean", "error"),
    )
    na: str | None = knob(
        "a text that stands for a missing value, besides none at all, NaN, and words such as NA or None among numbers",
        "?",
    )
    separator: str | None = knob(
        "the character between columns of a CSV file, ' ' for any number of blanks; null finds out", "';'"
    )
    header: bool = knob(
        "whether the first line of a CSV file names the columns; else they are called 0, 1, 2, ...", False
    )
    task: str = knob(
        "what the target is; auto takes text, booleans and few different whole numbers for classes",
        "regression",
        choices=("auto", "classification", "regression"),
    )


@dataclass(frozen=True, kw_only=True)
class Streamed(Standard):
    memory: float = knob(
        "rows that take more than a quarter of so many gigabytes are read a window at a time",
        2,
        above=0,
        unit="gigabytes",
    )


@dataclass(frozen=True, kw_only=True)
class Custom(Streamed):
    """Rows of the user's own function; the knobs here are those that the lab itself reads."""

    target: str | None = knob("the name of the target, where the function gives a table or batches by name", "price")
    features: list[str] | None = knob("names of the inputs; null numbers them", "[age, height]")
    classes: list[str] | None = knob("names of the classes or outputs; null numbers them", "[no, yes]")


@dataclass(frozen=True, kw_only=True)
class Arrays(Custom):
    path: str | None = knob("the file: .npz, .npy, .pt or .safetensors", "rows.npz")
    inputs: str | list[str] | None = knob(
        "the name of the array of inputs, or a list of those that the model takes by name; null finds X, x, inputs", "X"
    )
    target: str | None = knob("the name of the array to predict, of .npy another file; null finds y, labels", "y")
    rows: int | None = knob("how many rows to use, chosen by the seed; null takes all", 100, at_least=1)


@dataclass(frozen=True, kw_only=True)
class Folder(Streamed):
    path: str | None = knob("the folder, in which there is a folder of images for each class", "photos")
    size: int | None = knob(
        "the side in pixels: images are scaled so that the shorter is this long, and their middle is taken; null takes "
        "them as they are",
        64,
        at_least=1,
        unit="pixels",
    )
    colours: str = knob("rgb makes three channels of any image, grey one", "grey", choices=("rgb", "grey"))
    rows: int | None = knob("how many images to use, chosen by the seed; null takes all", 100, at_least=1)
