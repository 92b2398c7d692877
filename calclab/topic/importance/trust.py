"""How far to trust a ranking: which ranks are known, whether trainings and methods agree, what speaks against it.

Each question is answered by a sentence, empty where there is nothing to say, and by values with names.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from calclab.topic.importance.methods import COMPLETE, NEARLY
from calclab.topic.importance.perturbations import area
from calclab.topic.importance.ranks import Ranks, cuts, rank_correlation, verdict

ROUGH = 0.5  # rank correlations below it are called disagreement
FEW = 4  # columns below which a rank correlation says nothing
NOTICED = 0.3  # ... and after all layers were drawn anew at most this, or what chance gives

Told = tuple[str, dict[str, Tensor | str]]


def known_ranks(ranks: Ranks, *, rows: int, trainings: int) -> Told:
    """Over so many rows and trainings (0: not over these)."""
    over = " and ".join([f"{rows} rows"] * bool(rows) + [f"{trainings} trainings"] * bool(trainings))
    text = verdict(ranks, f"over {over}")
    edges = [0, *cuts(ranks), len(ranks.rank)]
    single = sum(1 for a, b in itertools.pairwise(edges) if b - a == 1)
    values: dict[str, Tensor | str] = {"distinguishable ranks": torch.tensor(single), "verdict": text}
    values |= {"rank_first": ranks.first, "rank_last": ranks.last}
    return text, values


def stability(trainings: Tensor, lost: int) -> Told:
    """Importance (S, C) by training; ``lost`` more left the finite numbers."""
    between = rank_correlation(trainings[:, None], trainings[None])
    pairs = between[tuple(torch.triu_indices(len(between), len(between), 1))]
    mean = pairs.nanmean()
    if not bool(mean.isfinite()) or trainings.shape[1] < FEW:
        return "", {"stability": mean}
    changed = " (the ranking is one of this training, not of the data)" if bool(mean < ROUGH) else ""
    left = f", and {lost} trainings left the finite numbers" if lost else ""
    return f"rank correlation {float(mean):.2f}{changed}{left}", {"stability": mean}


def agreement(means: Tensor, names: Sequence[str]) -> Told:
    """Mean |a| (M, C) by method."""
    if len(means) < 2:
        return "", {}
    found = rank_correlation(means[:, None], means[None])
    least = torch.where(torch.ones_like(found).triu(1) > 0, found, torch.inf)
    least = torch.where(least.isfinite(), least, torch.inf)
    if not bool(least.isfinite().any()) or means.shape[1] < FEW:
        return "", {"agreement": found}
    i, j = divmod(int(least.argmin()), len(names))
    word = "disagree" if bool(least[i, j] < ROUGH) else "agree"
    text = f"they {word}: rank correlation {float(least[i, j]):.2f} of {names[i]} with {names[j]}"
    return text + ", the lowest" * (len(names) > 2), {"agreement": found, "least_agreement": least[i, j]}


def completeness(sums: Tensor, gaps: Tensor, unsettled: Tensor, names: Sequence[str]) -> Told:
    """The largest gap (M, N) of the methods that promise none, over the largest |F(x) - F(baseline)|."""
    texts, values = [], dict[str, Tensor | str]()
    for name, total, gap in zip(names, sums, gaps, strict=True):
        if name in (*COMPLETE, *NEARLY) and bool(gap.isfinite().all()):
            size = (total - gap).abs().max()
            ratio = torch.where(size > 0, gap.abs().max() / size, 0.0)
            values[f"completeness_gap_{name}"] = ratio
            texts.append(f"{name} {float(ratio):.1e}")
    missed = [name for name, wrong in zip(names, unsettled.tolist(), strict=True) if wrong]
    texts += [f"{name} missed its tolerance on some rows" for name in missed]
    return ", ".join(texts), values


def deletion_areas(curves: Tensor, counts: Sequence[int], names: Sequence[str]) -> Told:
    """``curves`` (P, M, 2): deletion and insertion with ``counts`` columns gone, the last of them all; the last of the
    ``names`` is that of orders at random."""
    if not bool(curves.isfinite().all()):
        return "", {}
    x = torch.tensor([count / counts[-1] for count in counts], dtype=torch.float64)
    curves, values = curves.cpu().double(), dict[str, Tensor | str]()
    areas = {name: (area(x, curves[:, m, 0]), area(x, curves[:, m, 1])) for m, name in enumerate(names)}
    for name, (gone, put) in areas.items():
        values |= {f"deletion_area_{name}": gone, f"insertion_area_{name}": put}
    gone, put = areas[names[0]]
    chance = areas[names[-1]]
    text = f"area {float(gone):.2f} and of insertion {float(put):.2f} by {names[0]}"
    text += f", at random {float(chance[0]):.2f} and {float(chance[1]):.2f}"
    useless = bool(gone >= chance[0]) and bool(put <= chance[1])
    return text + (": no better than chance" if useless else ""), values


def randomisation(last: Tensor, names: Sequence[str], features: int) -> Told:
    """Methods that hardly notice that all layers were drawn anew, by the rank correlation (M,) with what they said
    before."""
    chance = 2 / max(1, features - 1) ** 0.5
    values: dict[str, Tensor | str] = {f"randomised_{name}": found for name, found in zip(names, last, strict=True)}
    bad = [
        f"{name} ({float(found):.2f})"
        for name, found in zip(names, last, strict=True)
        if bool(found > max(NOTICED, chance))
    ]
    if bad:
        return f"test failed, rank correlation with a network drawn anew: {', '.join(bad)}", values
    if features < FEW or not bool(last.isfinite().all()):
        return "", values
    return "test passed" + " (few columns: it tells little)" * (chance > ROUGH), values


def removal(scores: Tensor, parts: Sequence[float], unit: str) -> Told:
    """Scores (R, 2) of networks that were trained without ``parts`` of the columns: the most important, any others."""
    texts, values = [], dict[str, Tensor | str]()
    for part, (most, others) in zip(parts, scores, strict=True):
        values |= {f"roar_{part:g}": most, f"roar_{part:g}_random": others}
        texts.append(f"{part:.0%} of the columns {float(most):.3g} (any others {float(others):.3g})")
    return f"trained without the most important {', '.join(texts)} in {unit}", values
