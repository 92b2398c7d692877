"""The answer of a comparison: who got how low, whether the starts tell the first two apart, where to look wider."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from calclab.core import Answer
from calclab.topic import words
from calclab.topic.comparison import tuning
from calclab.topic.comparison.tables import COLUMNS
from calclab.topic.comparison.tuning import Tuned


def answer(
    names: Sequence[str], keys: Sequence[str], tuned: Tuned, table: Tensor, spent: tuple[int, int], rates: int
) -> Answer:
    """``table`` has a row for each of ``names``; ``keys`` are the names as parts of others, ``spent`` the gradient
    evaluations of a walk and the budget, ``rates`` how many each has tried."""
    clock, budget = spent
    order = [names[i] for i in tuned.order]
    values: dict[str, Tensor | str] = {"winner": order[0], "ranking": " ".join(order)}
    for key, row in zip(keys, table, strict=True):
        found = dict(zip(COLUMNS, row, strict=True))
        values |= {f"best_{key}": found["loss"], f"tuned_lr_{key}": found["lr"]}
        values |= {f"evaluations_{key}": found["evaluations"], f"boundary_{key}": found["boundary"]}
        if bool(found["theory"].isfinite()):
            values[f"theory_{key}"] = found["theory"]
    parts = [part(names[i], table[i]) for i in tuned.order]
    after = f"{budget}" if clock == budget else f"{clock} of {budget}"
    sentence = f"median lowest loss after {after} gradient evaluations: {', '.join(parts)}"
    if len(order) > 1:
        said, p = sign_test_of_first_two(names, tuned)
        sentence += f"; {said}"
        values |= {"p_value": table.new_tensor(p), "distinguishable": "yes" if p < tuning.LEVEL else "no"}
    return Answer(sentence + edges(names, tuned, rates), values)


def part(name: str, row: Tensor) -> str:
    """One optimizer at its rate."""
    found = dict(zip(COLUMNS, row.tolist(), strict=True))
    lost = f"{found['diverged']:.0%} of its walks diverge"
    if math.isinf(found["loss"]):
        return f"{name} none (at lr={found['lr']:.3g}, its best, {lost})"
    some = f", {lost}" if found["diverged"] else ""
    return f"{name} {words.number(found['loss'])} (lr={found['lr']:.3g}, after {found['evaluations']:.0f}{some})"


def sign_test_of_first_two(names: Sequence[str], tuned: Tuned) -> tuple[str, float]:
    """Whether the first is better than the second, in words; and the p-value of the sign test."""
    first, second = tuned.order[:2]
    signs = tuned.better[first, second]
    wins, losses, starts = int((signs > 0).sum()), int((signs < 0).sum()), len(signs)
    p = tuning.sign_test(wins, losses)
    a, b = names[first], names[second]
    score = f"better from {wins} and worse from {losses} of {starts} starts, sign test p = {p:.2g}"
    if p < tuning.LEVEL:
        return f"{a} is distinguishable from {b} ({score})", p
    more = ""
    if starts < tuning.enough():
        more = f": {starts} starts never tell, take seeds={2 * tuning.enough()}"
    return f"{a} is not distinguishable from {b} ({score}){more}", p


def edges(names: Sequence[str], tuned: Tuned, rates: int) -> str:
    """A warning where the best of ``rates`` rates may lie beyond the sweep."""
    last = rates - 1
    chosen = [int(rate) for rate in tuned.rate]
    low = [name for name, rate in zip(names, chosen, strict=True) if rate == 0 and last > 0]
    high = [name for name, rate in zip(names, chosen, strict=True) if rate == last and last > 0]
    said = [f"{', '.join(which)} at its {end}" for which, end in ((low, "lowest"), (high, "highest")) if which]
    return f"; at the edge of the sweep: {', '.join(said)} rate" if said else ""
