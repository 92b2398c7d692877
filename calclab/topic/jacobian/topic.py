"""topic=jacobian: what is asked for, and the scan that answers it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from calclab import schema
from calclab.core import Function
from calclab.errors import UserError
from calclab.numerics.jacobian import maps
from calclab.subject.network import Network
from calclab.topic.base import Choice
from calclab.topic.jacobian.across import LayerScan
from calclab.topic.jacobian.knobs import asked, check_rows
from calclab.topic.jacobian.points import PointScan
from calclab.topic.layers import Layers


@dataclass(frozen=True, kw_only=True)
class Jacobian(schema.topic.Jacobian, Choice):
    """J_ij = ∂f_i/∂x_j, (m, n), with singular values σ descending and κ = σ_1 / σ_min(m, n).

    Of a function: at its start or at ``points``. Of a network: the outputs (or what ``layer`` gives) ``by`` its input
    or its parameters, for ``rows`` rows from ``row`` on, each by itself; or ``by`` = layers, each layer by its own
    input. With ``batch`` = B rows at once the array is (B, m, B, n), written as a (B m, B n) matrix: rows do not mix,
    so it is block-diagonal.
    """

    subject: Function | Network
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scan  # noqa: B018  what does not fit is refused now and not at the first step

    @cached_property
    def scan(self) -> PointScan | LayerScan:
        if self.by == "layers":
            return self.across()
        found = asked(
            self.subject,
            by=self.by,
            row=self.row,
            rows=self.rows,
            batch=self.batch,
            layer=self.layer,
            points=self.points,
            seed=self.seed,
        )
        scan = PointScan(
            asked=found,
            threshold=self.threshold,
            limit=self.limit,
            memory=self.memory * 2**20,
            way=self.way,
            batch=self.batch,
            weight=self.weight,
            seed=self.seed,
        )
        scan.plan  # noqa: B018  a way that is not possible is refused now
        return scan

    def across(self) -> LayerScan:
        if not isinstance(self.subject, Network):
            raise UserError(f"by=layers is for networks, and {self.subject.name} is a function. Leave it out")
        given = {"layer": self.layer, "batch": self.batch, "points": self.points}
        if wrong := [key for key, value in given.items() if value is not None]:
            raise UserError(
                f"by=layers and {', '.join(wrong)} do not go together: every layer is looked at. Leave it out"
            )
        if self.way != "auto":
            raise UserError(f"by=layers way={self.way}: every layer has a way of its own. Leave way out")
        count = check_rows(self.subject, self.row, self.rows, None)
        if count > 1 and not maps.apart(self.subject.batch_outputs, self.subject.rows[:2]):
            raise UserError(
                f"by=layers rows={self.rows}: {self.subject.name} mixes rows (batch statistics?), and no row is by "
                "itself. Leave rows out"
            )
        scan = LayerScan(self.subject, self.row, count, self.threshold, self.seed)
        scan.tape  # noqa: B018  a network without layers is refused now
        return scan

    @cached_property
    def weight(self) -> Tensor | None:
        """The weight of a network that is one linear layer: there the Jacobian by the input is known."""
        if not isinstance(self.subject, Network) or self.layer is not None or self.by != "input":
            return None
        scan = Layers(self.subject)
        tape = scan.followed
        real = [i for i, m in enumerate(tape.modules) if not isinstance(m, nn.Flatten | nn.Identity)]
        if not tape.sequential or len(real) != 1 or not isinstance(tape.modules[real[0]], nn.Linear):
            return None
        own = self.subject.parameters()
        return next((own[name] for name in scan.own[real[0]] if name.rpartition(".")[2] == "weight"), None)
