"""The answer of a comparison: who got how low, whether the starts tell the first two apart, where to look wider."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from calclab.core import Answer, Line, Said, Table
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
    after = f"{budget}" if clock == budget else f"{clock} of {budget}"
    lines: list[Said] = [ranking([(names[i], table[i]) for i in tuned.order])]
    lines.append(Line("budget", f"{after} gradient evaluations a walk; losses are medians over the starts"))
    if len(order) > 1:
        said, p = sign_test_of_first_two(names, tuned)
        lines.append(Line("sign test", said, "p_value"))
        values |= {"p_value": table.new_tensor(p), "distinguishable": "yes" if p < tuning.LEVEL else "no"}
    lines += edges(names, tuned, rates)
    return Answer(headline(order, table[tuned.order[0]], values), values, (), lines)


def headline(order: Sequence[str], best: Tensor, values: Mapping[str, Tensor | str]) -> str:
    """Who won, and whether that can be told."""
    found = dict(zip(COLUMNS, best.tolist(), strict=True))
    if math.isinf(found["loss"]):
        return "no optimizer keeps a finite loss at any of its rates"
    text = f"{order[0]} gets lowest: loss {words.number(found['loss'])} at lr={found['lr']:.3g}"
    if values.get("distinguishable") == "no":
        text += f", not distinguishable from {order[1]}"
    return text


def ranking(rows: Sequence[tuple[str, Tensor]]) -> Table:
    """The optimizers in their order, each at its best rate."""
    head = ("optimizer", "lowest loss", "at lr", "evaluations", "diverged", "largest lr that did not")
    found = []
    for name, row in rows:
        known = dict(zip(COLUMNS, row.tolist(), strict=True))
        lost = math.isinf(known["loss"])
        loss, after = ("none", "") if lost else (words.number(known["loss"]), f"{known['evaluations']:.0f}")
        stable = "none" if math.isnan(known["boundary"]) else f"{known['boundary']:.3g}"
        found.append((name, loss, f"{known['lr']:.3g}", after, f"{known['diverged']:.0%}", stable))
    return Table("ranking", head, found)


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


def edges(names: Sequence[str], tuned: Tuned, rates: int) -> list[Line]:
    """A warning where the best of ``rates`` rates may lie beyond the sweep."""
    last = rates - 1
    chosen = [int(rate) for rate in tuned.rate]
    low = [name for name, rate in zip(names, chosen, strict=True) if rate == 0 and last > 0]
    high = [name for name, rate in zip(names, chosen, strict=True) if rate == last and last > 0]
    said = [f"{', '.join(which)} at its {end}" for which, end in ((low, "lowest"), (high, "highest")) if which]
    text = f"the best rate of {', '.join(said)}: it may lie beyond the sweep"
    return [Line("edge of sweep", text, kind="doubtful")] if said else []
