"""Data sets that come with scikit-learn. Its import takes over a second of CPU, so it waits until one is asked for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from calclab.core import Data
from calclab.data.finish import finish


def digits(
    *, standardize: bool, held_out: float, rows: int | None, dtype: torch.dtype, device: torch.device | str, seed: int
) -> Data:
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
        standardize=standardize,
        held_out=held_out,
        rows=rows,
        dtype=dtype,
        device=device,
        seed=seed,
    )


def breast_cancer(
    *, standardize: bool, held_out: float, rows: int | None, dtype: torch.dtype, device: torch.device | str, seed: int
) -> Data:
    """569 tumours by 30 measures of their cell nuclei: malignant or benign (Street et al. 1993)."""
    from sklearn.datasets import load_breast_cancer

    return _flat(
        "breast_cancer",
        load_breast_cancer(),
        standardize=standardize,
        held_out=held_out,
        rows=rows,
        dtype=dtype,
        device=device,
        seed=seed,
    )


def wine(
    *, standardize: bool, held_out: float, rows: int | None, dtype: torch.dtype, device: torch.device | str, seed: int
) -> Data:
    """178 wines by 13 chemical measures, from three growers (Forina et al. 1988)."""
    from sklearn.datasets import load_wine

    return _flat(
        "wine",
        load_wine(),
        standardize=standardize,
        held_out=held_out,
        rows=rows,
        dtype=dtype,
        device=device,
        seed=seed,
    )


def iris(
    *, standardize: bool, held_out: float, rows: int | None, dtype: torch.dtype, device: torch.device | str, seed: int
) -> Data:
    """150 irises by 4 lengths, of three species (Fisher 1936)."""
    from sklearn.datasets import load_iris

    return _flat(
        "iris",
        load_iris(),
        standardize=standardize,
        held_out=held_out,
        rows=rows,
        dtype=dtype,
        device=device,
        seed=seed,
    )


def diabetes(
    *, standardize: bool, held_out: float, rows: int | None, dtype: torch.dtype, device: torch.device | str, seed: int
) -> Data:
    """442 patients by 10 measures; to predict: the disease's progression after a year (Efron et al. 2004)."""
    from sklearn.datasets import load_diabetes

    found = load_diabetes(scaled=False)
    return _flat(
        "diabetes", found, standardize=standardize, held_out=held_out, rows=rows, dtype=dtype, device=device, seed=seed
    )


def _flat(
    name: str,
    found: Any,
    *,
    standardize: bool,
    held_out: float,
    rows: int | None,
    dtype: torch.dtype,
    device: torch.device | str,
    seed: int,
) -> Data:
    classification = "target_names" in found
    targets: Tensor = torch.from_numpy(found.target)
    return finish(
        name,
        torch.from_numpy(found.data).double(),
        targets.long() if classification else targets.double().unsqueeze(1),
        features=[str(feature) for feature in found.feature_names],
        classes=[str(c) for c in found.target_names] if classification else ["progression"],
        classification=classification,
        standardize=standardize,
        held_out=held_out,
        rows=rows,
        dtype=dtype,
        device=device,
        seed=seed,
    )
