"""A network whose inputs are codes, such as token ids, as a function of what its embedding gives for them.

There is no derivative by a code. Behind the embedding there is: of a row of L tokens it gives (L, e) numbers, and the
rest of the network is a function of these (Captum's LayerIntegratedGradients looks at the same place).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from calclab.core.rows import row_wise
from calclab.errors import UserError
from calclab.subject.network.functions import Network
from calclab.subject.network.layers import entries

Subject = TypeVar("Subject")
MARK = "_behind"  # of a module that is looked at behind its embedding
FEW = 4  # rows on which it is tried whether anything else depends on the codes


@dataclass
class Behind:
    """What stands for the output of the embedding ``name`` while a module is called: rows (B, L·e) that it was given,
    as (B, *shape). Whatever else the module takes is that of one ``row`` (1, ...), the same for all."""

    name: str
    row: Tensor
    shape: torch.Size
    given: Tensor | None = None

    def put_into(self, module: nn.Module) -> None:
        """From now on ``module`` takes (B, L·e)."""
        module.register_forward_pre_hook(self.take, prepend=True)
        module.get_submodule(self.name).register_forward_hook(lambda *_: self.given)
        module.__dict__[MARK] = self

    def take(self, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.given = args[0].reshape(len(args[0]), *self.shape)
        return self.row.expand(len(args[0]), *self.row.shape[1:]), *args[1:]


def behind_embedding(subject: Subject) -> Subject:
    """The same network by the output of its embedding; what is none, and a network whose inputs are numbers, as it is.

    Raises UserError where the codes are looked up in no nn.Embedding, and where more than its output depends on them.
    """
    if not isinstance(subject, Network) or subject.data.inputs.is_floating_point() or subject.data.inputs.is_meta:
        return subject
    network, data = subject, subject.data
    name, place = found(network)
    table = network.module.get_submodule(name)

    def embedded(rows: Tensor) -> Tensor:
        codes = rows if data.layout is None else data.layout.unpack(rows)[place]
        with torch.no_grad():
            return table(codes).detach().flatten(1)

    inputs = row_wise(data.inputs, embedded)
    with torch.no_grad():
        few = data.inputs[:1]
        shape = table(few if data.layout is None else data.layout.unpack(few)[place]).shape[1:]
    tokens, width = shape[:-1], shape[-1]
    columns = entries(place or "token", tokens) if tokens else [place or "token"]
    module = copy.deepcopy(network.module)
    Behind(name, few.clone(), shape).put_into(module)
    held = None if data.held_out is None else replace(data.held_out, inputs=row_wise(data.held_out.inputs, embedded))
    known: dict[str, Any] = {
        "features": tuple(f"{column}.{k}" for column in columns for k in range(width)),
        "columns": tuple(column for column in columns for _ in range(width)),
        "codes": (),
        "layout": None,
    }
    made = replace(
        network,
        module=module,
        name=f"{network.name} behind its embedding {name}",
        data=replace(data, inputs=inputs, held_out=None if held is None else replace(held, **known), **known),
    )
    several = data.some(FEW).inputs
    with torch.no_grad():
        alike = torch.allclose(made.evaluate(embedded(several)), network.evaluate(several), rtol=1e-6, atol=1e-9)
    if not alike:
        raise UserError(
            f"the inputs of {data.name} are codes, and more than the embedding {name} depends on them (a mask, "
            "lengths, another embedding): there is no derivative by them alone. Ask for one by the parameters "
            "(topic=hessian, topic=jacobian by=parameters), or give rows that have all else in common"
        )
    return cast(Subject, made)


def sentences(subject: object) -> list[str]:
    """What a reader is told of a network that is looked at behind its embedding."""
    behind = getattr(getattr(subject, "module", None), MARK, None)
    if not isinstance(behind, Behind):
        return []
    size = " × ".join(map(str, behind.shape))
    return [f"the inputs are codes: derivatives are by the output of the embedding {behind.name}, {size} numbers a row"]


def found(network: Network) -> tuple[str, str]:
    """The first embedding that looks up a whole input, and the name of that input ("" of a single one)."""
    data = network.data
    rows = data.some(2).inputs
    parts = {"": rows} if data.layout is None else data.layout.unpack(rows)
    seen: list[tuple[str, str]] = []

    def watch(name: str) -> Any:
        def note(_: nn.Module, args: tuple[Any, ...], __: Any) -> None:
            if args and isinstance(args[0], Tensor):
                seen.extend((name, k) for k, x in parts.items() if x.shape == args[0].shape and torch.equal(x, args[0]))

        return note

    tables = {name: module for name, module in network.module.named_modules() if isinstance(module, nn.Embedding)}
    handles = [module.register_forward_hook(watch(name)) for name, module in tables.items()]
    try:
        with torch.no_grad():
            network.evaluate(rows)
    finally:
        for handle in handles:
            handle.remove()
    if not seen:
        raise UserError(
            f"the inputs of {data.name} are whole numbers, and {network.name} looks them up in no nn.Embedding: there "
            "is no derivative by them. Ask for one by the parameters (topic=hessian, topic=jacobian by=parameters), or "
            "give numbers (X.astype(float)) where they are quantities"
        )
    return seen[0]
