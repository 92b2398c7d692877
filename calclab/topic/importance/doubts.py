"""How far to trust a ranking: which ranks are known, whether trainings and methods agree, what speaks against it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from calclab.core import State
from calclab.subject.network import Network
from calclab.topic.importance import gathered
from calclab.topic.importance.curves import area
from calclab.topic.importance.methods import COMPLETE, NEARLY
from calclab.topic.importance.ranks import cuts, rank_correlation, verdict

if TYPE_CHECKING:
    from calclab.topic.importance.importance import Importance

ROUGH = 0.5  # rank correlations below it are called disagreement
FEW = 4  # columns below which a rank correlation says nothing
NOTICED = 0.3  # ... and after all layers were drawn anew at most this, or what chance gives


class Doubts:
    """Of a topic, given its state, which may be that of a run that was interrupted."""

    def __init__(self, topic: Importance, state: State) -> None:
        self.topic, self.state = topic, state

    @property
    def complete(self) -> bool:
        """Whether all steps of the plan were taken."""
        kinds = {kind for kind, _ in self.topic.plan}
        counts = {kind: sum(1 for other, _ in self.topic.plan if other == kind) for kind in kinds}
        return all(kind in self.state and len(self.state[kind]) == counts[kind] for kind in kinds - {"permutation"})

    def sentences(self, values: dict[str, Tensor | str]) -> list[str]:
        if not self.complete:
            return ["interrupted before the trust report was done"]
        found = [self.known_ranks(values), self.stability(values), self.agreement(values), self.completeness(values)]
        found += [*self.curves(values), *self.randomisation(values), *self.removal(values)]
        return [part for part in found if part]

    def known_ranks(self, values: dict[str, Tensor | str]) -> str:
        topic = self.topic
        found = gathered.ranking(topic, self.state)
        if found is None:
            return ""
        trainings = gathered.trainings(topic, self.state)
        rows = f"{len(gathered.sizes(topic, self.state))} rows" if topic.head != "permutation" else ""
        again_ = f"{len(trainings)} trainings" if trainings is not None else ""
        over = " and ".join(part for part in (rows, again_) if part)
        text = verdict(found, topic.features, f"over {over}")
        edges = [0, *cuts(found), len(found.rank)]
        single = sum(1 for a, b in itertools.pairwise(edges) if b - a == 1)
        order = found.rank.argsort()
        values |= {"distinguishable ranks": torch.tensor(single), "verdict": text}
        values |= {"rank_first": found.first, "rank_last": found.last}
        leader = topic.features[int(order[0])]
        if trainings is not None and leader != values["most important"]:
            text = f"over all trainings {leader} leads; {text}"
        return text

    def stability(self, values: dict[str, Tensor | str]) -> str:
        trainings = gathered.trainings(self.topic, self.state)
        if trainings is None:
            return ""
        lost = self.topic.retrains + 1 - len(trainings)
        between = rank_correlation(trainings[:, None], trainings[None])
        pairs = between[tuple(torch.triu_indices(len(between), len(between), 1))]
        mean = pairs.nanmean()
        values["stability"] = mean
        if not bool(mean.isfinite()) or trainings.shape[1] < FEW:
            return ""
        changed = " (the ranking is one of this training, not of the data)" if bool(mean < ROUGH) else ""
        left = f", and {lost} trainings left the finite numbers" if lost else ""
        return f"trained again: rank correlation {float(mean):.2f}{changed}{left}"

    def agreement(self, values: dict[str, Tensor | str]) -> str:
        means, names = gathered.by_method(self.topic, self.state), self.topic.methods
        if len(means) < 2:
            return ""
        found = rank_correlation(means[:, None], means[None])
        least = torch.where(torch.ones_like(found).triu(1) > 0, found, torch.inf)
        least = torch.where(least.isfinite(), least, torch.inf)
        values["agreement"] = found
        if not bool(least.isfinite().any()) or means.shape[1] < FEW:
            return ""
        i, j = divmod(int(least.argmin()), len(names))
        values["least_agreement"] = least[i, j]
        word = "disagree" if bool(least[i, j] < ROUGH) else "agree"
        return f"methods {word}: rank correlation {float(least[i, j]):.2f} of {names[i]} with {names[j]}" + (
            ", the lowest" if len(names) > 2 else ""
        )

    def completeness(self, values: dict[str, Tensor | str]) -> str:
        """The largest gap of the methods that promise none, over the largest |F(x) - F(baseline)|."""
        topic = self.topic
        rows = self.blocks("values")
        gaps, texts = self.blocks("gap"), []
        for m, name in enumerate(topic.by_row):
            if name in (*COMPLETE, *NEARLY) and bool(gaps[m].isfinite().all()):
                size = (rows[m].sum(-1) - gaps[m]).abs().max()
                ratio = torch.where(size > 0, gaps[m].abs().max() / size, 0.0)
                values[f"completeness_gap_{name}"] = ratio
                texts.append(f"{name} {float(ratio):.1e}")
        missed = [name for m, name in enumerate(topic.by_row) if bool(self.unsettled[m])]
        texts += [f"{name} missed its tolerance on some rows" for name in missed]
        return f"completeness gap: {', '.join(texts)}" if texts else ""

    @property
    def unsettled(self) -> Tensor:
        """(M,): whether a method has missed its tolerance in any block."""
        return torch.stack([block["unsettled"] for block in self.state["blocks"].values()]).any(0)

    def blocks(self, name: str) -> Tensor:
        found = self.state["blocks"]
        return torch.cat([found[str(i)][name] for i in range(len(found))], 1) if found else torch.zeros(0, 0, 0)

    def curves(self, values: dict[str, Tensor | str]) -> list[str]:
        parts = self.state.get("deletion", {})
        if not parts:
            return []
        course = self.topic.course
        x = torch.tensor([count / course.columns for count in course.counts()], dtype=torch.float64)
        curve = torch.stack([parts[str(i)] for i in range(len(parts))]).cpu().double()  # (P, M + 1, 2)
        if not bool(curve.isfinite().all()):
            return []
        names = (*self.topic.ordering, "random")
        areas = {name: (area(x, curve[:, m, 0]), area(x, curve[:, m, 1])) for m, name in enumerate(names)}
        for name, (gone, put) in areas.items():
            values |= {f"deletion_area_{name}": gone, f"insertion_area_{name}": put}
        head = names[0]
        gone, put = areas[head]
        chance = areas["random"]
        text = f"area of deletion {float(gone):.2f} and insertion {float(put):.2f} by {head}"
        text += f", at random {float(chance[0]):.2f} and {float(chance[1]):.2f}"
        useless = bool(gone >= chance[0]) and bool(put <= chance[1])
        return [text + (": no better than chance" if useless else "")]

    def randomisation(self, values: dict[str, Tensor | str]) -> list[str]:
        """Methods that hardly notice that all layers were drawn anew."""
        parts, topic = self.state.get("randomised", {}), self.topic
        if len(parts) < 2:
            return []
        last = parts[str(len(parts) - 1)]
        chance = 2 / max(1, len(topic.features) - 1) ** 0.5
        bad = []
        for name, found in zip(topic.by_row, last, strict=True):
            values[f"randomised_{name}"] = found
            if bool(found > max(NOTICED, chance)):
                bad.append(f"{name} ({float(found):.2f})")
        if bad:
            return [f"randomisation test failed, rank correlation with a network drawn anew: {', '.join(bad)}"]
        if len(topic.features) < FEW or not bool(last.isfinite().all()):
            return []
        weak = " (few columns: it tells little)" if chance > ROUGH else ""
        return [f"randomisation test passed{weak}"]

    def removal(self, values: dict[str, Tensor | str]) -> list[str]:
        """Scores of networks that were trained without the most important columns, beside any others."""
        parts, topic = self.state.get("removed", {}), self.topic
        texts = []
        for i, part in enumerate(topic.roar if parts else []):
            most, others = parts[str(i)]
            values |= {f"roar_{part:g}": most, f"roar_{part:g}_random": others}
            texts.append(f"{part:.0%} of the columns {float(most):.3g} (any others {float(others):.3g})")
        assert isinstance(topic.subject, Network) or not texts
        if not texts:
            return []
        score = "accuracy" if isinstance(topic.subject, Network) and topic.subject.data.classification else "r²"
        return [f"trained without the most important {', '.join(texts)} in {score}"]
