"""Data sets that come with scikit-learn. Its import takes over a second of CPU, so it waits until one is asked for."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from calclab.core import Data
from calclab.data.finish import Common, finish


def digits(*, rows: int | None, **common: Unpack[Common]) -> Data:
    """1,797 handwritten digits as 1×8×8 images, grey from 0 to 1, in 10 classes (Alpaydin and Kaynak 1998)."""
    from sklearn.datasets import load_digits

    found = load_digits()
    inputs = torch.from_numpy(found.images).double().unsqueeze(1) / 16
    return finish(
        "digits",
        inputs,
        torch.from_numpy(found.target).long(),
        features=[f"pixel[{i},{j}]" for i in range(8) for j in range(8)],
        classes=[str(c) for c in found.target_names],
        classification=True,
        rows=rows,
        **common,
    )


def breast_cancer(*, rows: int | None, **common: Unpack[Common]) -> Data:
    """569 tumours by 30 measures of their cell nuclei: malignant or benign (Street et al. 1993)."""
    from sklearn.datasets import load_breast_cancer

    return _flat("breast_cancer", load_breast_cancer(), rows=rows, **common)


def wine(*, rows: int | None, **common: Unpack[Common]) -> Data:
    """178 wines by 13 chemical measures, from three growers (Forina et al. 1988)."""
    from sklearn.datasets import load_wine

    return _flat("wine", load_wine(), rows=rows, **common)


def iris(*, rows: int | None, **common: Unpack[Common]) -> Data:
    """150 irises by 4 lengths, of three species (Fisher 1936)."""
    from sklearn.datasets import load_iris

    return _flat("iris", load_iris(), rows=rows, **common)


def diabetes(*, rows: int | None, **common: Unpack[Common]) -> Data:
    """442 patients by 10 measures; to predict: the disease's progression after a year (Efron et al. 2004)."""
    from sklearn.datasets import load_diabetes

    return _flat("diabetes", load_diabetes(scaled=False), rows=rows, **common)


def _flat(name: str, found: Any, *, rows: int | None, **common: Unpack[Common]) -> Data:
    classification = "target_names" in found
    targets: Tensor = torch.from_numpy(found.target)
    return finish(
        name,
        torch.from_numpy(found.data).double(),
        targets.long() if classification else targets.double().unsqueeze(1),
        features=[str(feature) for feature in found.feature_names],
        classes=[str(c) for c in found.target_names] if classification else ["progression"],
        classification=classification,
        rows=rows,
        **common,
    )
