"""The pictures of a descent: its path, its curves, and of a network its scores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from calclab.core import Components, Contours, Curves, Function, Guide, Picture, PrincipalPlane, Rates, Rule, Walk
from calclab.subject.network import Network
from calclab.topic.descent import modes

EDGE = Guide("the edge of stability", 1.0, 1.0)
EXPECTED = {"gradient": "gradient_flow_loss", "central": "central_flow_mean_loss"}  # of the run, on average
THEORY = Guide("theory: ‖g₀‖ ρ^k", "gradient_norm", "predicted_contraction")


def pictures(
    subject: Function | Network,
    function: Function,
    rule: Rule,
    lr: float,
    *,
    path: bool,
    edge: bool,
    flows: Sequence[str] = (),
) -> Sequence[Picture]:
    """``function`` is the subject's objective; ``path``: positions are logged, ``edge``: the sharpness is; ``flows``
    name theory's beside the run."""
    found: list[Picture] = [
        Curves("loss", ("loss",)),
        Curves("gradient_norm", ("gradient_norm", "step_length"), guides=(THEORY,)),
    ]
    if len(function.start) == 1:
        found.insert(0, Walk("walk", "x", function))
    elif len(function.start) == 2:
        found.insert(0, Contours("path", "x", function))
    elif len(function.start) > 2 and path:
        found.insert(0, PrincipalPlane("path", "x", function))
    if isinstance(subject, Function) and 1 < len(function.start) <= modes.MOST:
        found.append(Components("components", "x", partial(modes.modes, function, rule, lr)))
        if modes.mapped(function, rule):
            found.append(Rates("momentum_map", partial(modes.rates, function, rule), (lr, float(rule.momentum))))  # type: ignore[attr-defined]
    if edge:
        found.append(Curves("edge_of_stability", ("edge",), log="", guides=(EDGE,)))
    if flows:
        beside = tuple(EXPECTED[name] for name in flows)
        limit = Guide("2/lr", 2 / lr, 1.0)
        found.append(Curves("loss_beside_flows", ("loss", *beside)))
        sharp = ("sharpness", *(f"{name}_flow_sharpness" for name in flows))
        found.append(Curves("sharpness_beside_flows", sharp, log="", guides=(limit,)))
        found.append(Curves("distance_to_flows", tuple(f"{name}_flow_distance" for name in flows)))
    if isinstance(subject, Network):
        measure = "accuracy" if subject.data.classification else "r2"
        parts = ("train", "held_out") if subject.data.held_out is not None else ("train",)
        found.append(Curves("scores", tuple(f"{part}_{measure}" for part in parts), log=""))
    return found
