"""Compositions given link by link: ``['h = x**2', 'g = h + 1', 'f = g**3']``.

The first link names the variables; every later one uses only the link before it. A link may have several outputs,
``h = [x*y, x + y]``, which the next reads as h[0], h[1] (or h0, h1). The whole is one formula, made by putting each
link's tree into the next, so it has everything a formula has; and so has each link.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch

from calclab.core import Function
from calclab.errors import UserError
from calclab.subject.formula.build import assemble
from calclab.subject.formula.parse import Parser, parse
from calclab.subject.formula.text import LENGTH, check_variable, short, split
from calclab.subject.formula.tree import Table, Tree

MOST = 100  # links
EXAMPLE = "Type for example function.links='[h = x**2, g = h + 1, f = g**3]'"


def links(
    *,
    name: str = "links",
    links: str | Sequence[str] | None,
    at: float | Sequence[float] | None = None,
    n: int | None = None,
    variables: Sequence[str] | None = None,
    domain: Sequence[Any] | None = None,
    minima: Sequence[Any] | None = None,
    source: str = "",
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Function:
    """The composition of ``links``, innermost first; ``.links`` holds each as a Function of the link before.

    A link with one output is scalar: it returns (), and the next takes it as (1,).
    """
    texts = split(links) if isinstance(links, str) else list(links or ())
    if not texts or len(texts) > MOST:
        raise UserError(f"{len(texts)} links are given; 1 to {MOST} are allowed. {EXAMPLE}")
    parts = [definition(text) for text in texts]
    names = [part[0] for part in parts]
    if len(set(names)) < len(names):
        raise UserError(f"links={', '.join(names)}: each link needs a name of its own. {EXAMPLE}")

    own = None if variables is None else tuple(variables)
    table = Table()
    parser = Parser(table, own)
    roots = tuple(parser.read(text) for text in parts[0][1])
    free, base = parser.variables(), parser.base
    for before, (_, texts_, _) in pairwise(parts):
        bound = dict(zip(inputs(before), roots, strict=True))
        roots = tuple(Parser(table, bound=bound).read(text) for text in texts_)
    label, _, vector = parts[-1]
    tree = Tree(tuple(table.nodes), roots, free, base)
    options: dict[str, Any] = {"dtype": dtype, "device": device}
    whole = assemble(
        name,
        tree,
        vector,
        at=at,
        n=n,
        domain=domain,
        minima=minima,
        source=source,
        outputs=inputs(parts[-1]) if vector else None,
        **options,
    )

    chain: list[Function] = []
    x = whole.start
    for k, (label, texts_, vector) in enumerate(parts):
        known = whole.variables if k == 0 else inputs(parts[k - 1])
        link = assemble(
            label,
            parse(texts_, known),
            vector,
            at=None,
            n=len(known) if k == 0 else None,
            domain=None,
            minima=None,
            source=source,
            outputs=inputs(parts[k]) if vector else None,
            letter=label,
            **options,
        )
        chain.append(replace(link, start=x))
        x = link.call(x).detach().reshape(-1)
    return replace(whole, links=tuple(chain))


Part = tuple[str, list[str], bool]  # name, formulas, whether it was a list


def definition(text: Any) -> Part:
    """``'h = x**2'`` as (h, [x**2], False)."""
    if not isinstance(text, str) or len(text) > LENGTH:
        raise UserError(f"link {short(str(text))}: a link is written name = formula. {EXAMPLE}")
    match = re.fullmatch(r"\s*(\w+)\s*=(?!=)(.*)", text, re.DOTALL)
    if match is None:
        raise UserError(f"link '{short(text)}': a link is written name = formula. {EXAMPLE}")
    check_variable(match[1])
    body = match[2].strip()
    vector = body.startswith("[")
    return match[1], split(body) if vector else [body], vector


def inputs(part: Part) -> tuple[str, ...]:
    """The names by which the next link reads this one."""
    name, texts, vector = part
    return tuple(f"{name}{k}" for k in range(len(texts))) if vector else (name,)
