"""Data sets that come with scikit-learn.

Their files are read where scikit-learn has put them: importing it takes over a second of CPU. Names and, where a file
is not found, the numbers themselves are scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Unpack

import numpy as np
import torch

from calclab.core import Data
from calclab.data.finish import Common, finish
from calclab.errors import UserError

CELLS = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points", "symmetry",
    "fractal dimension",
)  # fmt: skip
WINE = (
    "alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols", "flavanoids",
    "nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue", "od280/od315_of_diluted_wines", "proline",
)  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """Inputs (B, d) and targets (B,), as scikit-learn's ``load_<name>`` gives them."""

    inputs: np.ndarray
    targets: np.ndarray


def digits(*, rows: int | None, **common: Unpack[Common]) -> Data:
    """1,797 handwritten digits as 1×8×8 images, grey from 0 to 1, in 10 classes (Alpaydin and Kaynak 1998)."""
    found = packed("digits.csv.gz", "digits", 65)
    return finish(
        "digits",
        torch.from_numpy(found.inputs).reshape(-1, 1, 8, 8) / 16,
        torch.from_numpy(found.targets).long(),
        features=[f"pixel[{i},{j}]" for i in range(8) for j in range(8)],
        classes=[str(c) for c in range(10)],
        classification=True,
        rows=rows,
        **common,
    )


def breast_cancer(*, rows: int | None, **common: Unpack[Common]) -> Data:
    """569 tumours by 30 measures of their cell nuclei: malignant or benign (Street et al. 1993)."""
    features = [*(f"mean {c}" for c in CELLS), *(f"{c} error" for c in CELLS), *(f"worst {c}" for c in CELLS)]
    return classified("breast_cancer", "breast_cancer.csv", features, ("malignant", "benign"), rows, **common)


def wine(*, rows: int | None, **common: Unpack[Common]) -> Data:
    """178 wines by 13 chemical measures, from three growers (Forina et al. 1988)."""
    return classified("wine", "wine_data.csv", WINE, ("class_0", "class_1", "class_2"), rows, **common)


def iris(*, rows: int | None, **common: Unpack[Common]) -> Data:
    """150 irises by 4 lengths, of three species (Fisher 1936)."""
    features = [f"{part} {side} (cm)" for part in ("sepal", "petal") for side in ("length", "width")]
    return classified("iris", "iris.csv", features, ("setosa", "versicolor", "virginica"), rows, **common)


def diabetes(*, rows: int | None, **common: Unpack[Common]) -> Data:
    """442 patients by 10 measures; to predict: the disease's progression after a year (Efron et al. 2004)."""
    paths = (place("diabetes_data_raw.csv.gz"), place("diabetes_target.csv.gz"))
    if paths[0].is_file() and paths[1].is_file():
        found = Rows(np.loadtxt(paths[0]), np.loadtxt(paths[1]))
    else:
        from sklearn.datasets import load_diabetes

        loaded = load_diabetes(scaled=False)
        found = Rows(loaded.data, loaded.target)
    return finish(
        "diabetes",
        torch.from_numpy(found.inputs),
        torch.from_numpy(found.targets).unsqueeze(1),
        features=["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"],
        classes=["progression"],
        classification=False,
        rows=rows,
        **common,
    )


def classified(
    name: str, file: str, features: Sequence[str], classes: Sequence[str], rows: int | None, **common: Unpack[Common]
) -> Data:
    found = packed(file, name, len(features) + 1, header=1)
    return finish(
        name,
        torch.from_numpy(found.inputs),
        torch.from_numpy(found.targets).long(),
        features=features,
        classes=classes,
        classification=True,
        rows=rows,
        **common,
    )


def packed(file: str, name: str, width: int, header: int = 0) -> Rows:
    """The rows of a file whose last column is the class."""
    path = place(file)
    if path.is_file():
        table = np.loadtxt(path, delimiter=",", skiprows=header)
        if table.shape[1] == width:
            return Rows(np.ascontiguousarray(table[:, :-1]), table[:, -1])
    from sklearn import datasets

    loaded = getattr(datasets, f"load_{name}")()
    return Rows(loaded.data, loaded.target)


def place(file: str) -> Path:
    """Where scikit-learn keeps a file; it need not be there."""
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise UserError("this data set comes with scikit-learn, which is not installed. Type pip install scikit-learn")
    return Path(spec.origin).parent / "datasets" / "data" / file
