"""Networks that nobody here wrote, each asked for everything, beside plain torch in float64.

    pip install -c constraints.txt -e '.[networks]'
    python tests/networks/table.py [NAME ...]        (all of network_zoo.py unless told; some minutes)

A number is how far the lab is from plain torch, relative to the largest entry of plain torch's. A word is why there is
none: *refused* where the lab says in one sentence that there is no such derivative. Behind a number stands the verdict
of the lab's own evidence where it is neither certified nor consistent, and *short of tol* where the lab says itself
that a quadrature did not reach its tolerance. Ends with status 1 where a number is above 1e-6 (of such a quadrature
1e-3, of a network that is said to compute in float32 inside 1e-5), evidence is refuted, or anything but a sentence was
raised.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from network_zoo import ZOO, Case, case
from plain_torch import Plain
from torch import Tensor

import calclab
from calclab.errors import UserError

NEAR = 1e-6  # relative: what counts as right
ROUGH = 1e-3  # ... where the lab says that its tolerance was not reached
SINGLE = 1e-5  # ... where it says that the network computes in float32 inside
QUIET = ("certified", "consistent", "unchecked")
QUESTIONS = ("loss", "partial", "hessian", "gauss_newton", "jacobian", "importance", "integrated", "descent")
STEPS = 10  # of the descent


@dataclass(frozen=True)
class Cell:
    """What came of one question."""

    gap: float = float("nan")
    verdict: str = ""
    sentence: str = ""
    seconds: float = 0.0
    short: bool = False  # the lab says itself that its tolerance was not reached
    single: bool = False  # ... that the network computes in float32 inside

    @property
    def right(self) -> bool:
        """Near plain torch's, refused in one sentence, or not so near and said to be so."""
        near = ROUGH if self.short else SINGLE if self.single else NEAR
        untold = self.short and self.verdict == "inconclusive"  # it leaps, or bends too sharply, on the way
        return bool(self.sentence) or untold or (self.gap <= near and self.verdict != "refuted")

    def __str__(self) -> str:
        if self.sentence:
            return "refused"
        said = [self.verdict] * (self.verdict not in ("", *QUIET)) + ["short of tol"] * self.short
        return " ".join([f"{self.gap:.0e}", *said])


@dataclass
class Row:
    name: str
    package: str
    parameters: int
    cells: dict[str, Cell] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def relative(found: Tensor, true: Tensor) -> float:
    """The largest gap, relative to the largest entry of what is true."""
    return float((found - true).abs().max() / true.abs().max().clamp(min=1e-300))


def evidence_of(result: Any) -> list[str]:
    """What stands in the evidence beyond consistent."""
    frame = result.evidence
    rows = frame[~frame["verdict"].isin(QUIET)].drop_duplicates(["quantity", "method", "verdict"])
    return [f"{r.quantity}, {r.method}: {r.verdict}. {r.note}" for r in rows.itertuples()]


class Asked:
    """One network, asked through the calls that a user has."""

    def __init__(self, given: Case) -> None:
        self.case, self.plain = given, Plain(given)
        self.loss = calclab.loss(given.module, given.criterion, given.loader, output=given.output)
        self.outputs = calclab.outputs(given.module, given.loader, criterion=given.criterion, output=given.output)

    def ask(self, question: str) -> tuple[float, Any]:
        """How far the lab is from plain torch, and the lab's result."""
        found: tuple[float, Any] = getattr(self, f"ask_{question}")()
        return found

    def ask_loss(self) -> tuple[float, None]:
        f = self.loss.objective()
        true = self.plain.loss(self.plain.start).detach()
        return relative(f.call(f.start).detach(), true), None

    def ask_partial(self) -> tuple[float, Any]:
        result, true, first = calclab.partial(self.loss), self.plain.gradient(), 0
        gaps = [abs(result.gradient_norm - float(true.norm()))]
        for name, shape in zip(self.plain.names, self.plain.shapes, strict=True):
            last = first + shape.numel()
            if f"grad.{name}" in result.values:
                gaps.append(float((result.values[f"grad.{name}"].reshape(-1) - true[first:last]).abs().max()))
            first = last
        return max(gaps) / float(true.abs().max()), result

    def ask_hessian(self) -> tuple[float, Any]:
        known = {"top": 2, "bottom": 1, "matrix": "never", "tol": 1e-9, "probes": 0, "trace_tol": None, "slices": 0}
        result = calclab.hessian(self.loss, **known)
        return relative(result.eigenvalues, self.plain.ends(2, 1)), result

    def ask_gauss_newton(self) -> tuple[float, Any]:
        known = {"matrix": "never", "tol": 1e-9, "probes": 0, "trace_tol": None, "slices": 0, "bottom": 0}
        result = calclab.hessian(self.loss, operator="gauss_newton", top=2, **known)
        return relative(result.eigenvalues, self.plain.gauss_newton(2)), result

    def ask_jacobian(self) -> tuple[float, Any]:
        result = calclab.jacobian(self.outputs)
        return relative(torch.tensor(result.spectral_norm, dtype=torch.float64), self.plain.jacobian_norm()), result

    def ask_importance(self) -> tuple[float, Any]:
        """Gradient times input of the first output, at two rows."""
        result = self.attributions("gradient_x_input")
        true = torch.stack([self.plain.gradient_times_input(row) for row in self.case.inputs[:2]])
        return relative(result.columns["attributions"].data, true.abs()), result

    def ask_integrated(self) -> tuple[float, Any]:
        """Integrated gradients from zeros, at two rows: entry by entry where plain quadrature is sure of itself, else
        their sum, which is known."""
        result = self.attributions("integrated_gradients", tol=1e-7)
        sums = result.evidence[result.evidence["quantity"] == "Σ integrated_gradients"].set_index("step")["value"]
        found, gaps = result.columns["attributions"].data, []
        for i, row in enumerate(self.case.inputs[:2]):
            true, error = self.plain.integrated_gradients(row)
            size, whole = float(true.abs().max()), float(self.plain.moved(row))
            sure = error <= NEAR / 10 * size and abs(float(true.sum()) - whole) <= NEAR * size  # it may leap on the way
            gaps.append(relative(found[i], true.abs()) if sure else abs(sums[i] - whole) / size)
        return max(gaps), result

    def attributions(self, method: str, **more: Any) -> Any:
        rows = min(2, len(self.case.inputs))
        known = {"target": "output.0", "trust": False, "retrains": 0, "bootstrap": 0, "rows": rows}
        return calclab.importance(self.outputs, method=[method], baseline="zeros", **known, **more)

    def ask_descent(self) -> tuple[float, Any]:
        result = calclab.descent(self.loss, lr=self.case.lr, steps=STEPS, tol=0)
        losses = torch.tensor(result.frames["scalars"]["loss"].to_numpy())
        return relative(losses, self.plain.descent(self.case.lr, STEPS)), result


def asked(name: str, questions: Sequence[str] = QUESTIONS) -> Row:
    """A row of the table."""
    given = case(name)
    about = Asked(given)
    row = Row(name, ZOO[name][0], given.count)
    row.notes += [f"note: {note}" for note in about.loss.notes]
    for question in questions:
        began, sentence, verdict, gap, short = time.perf_counter(), "", "", float("nan"), False
        try:
            gap, result = about.ask(question)
        except UserError as refusal:
            sentence = str(refusal)
            row.notes.append(f"{question}: {sentence}")
        else:
            verdict = "" if result is None else result.verdict
            row.notes += [] if result is None else [f"{question}: {text}" for text in evidence_of(result)]
            short = result is not None and any("ended above tol" in note for note in result.outcome.notes)
        single = about.loss.inside is not None
        row.cells[question] = Cell(float(gap), verdict, sentence, time.perf_counter() - began, short, single)
    return row


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """The table, and under it what was said."""
    yield f"{'network':18}{'package':20}{'θ':>7}  " + "".join(f"{question:24}" for question in QUESTIONS) + "seconds"
    for row in rows:
        seconds = sum(cell.seconds for cell in row.cells.values())
        cells = "".join(f"{cell!s:24}" for cell in row.cells.values())
        yield f"{row.name:18}{row.package:20}{row.parameters:>7}  {cells}{seconds:.0f}"
    for row in rows:
        yield from ("", row.name, *(f"  {text}" for text in row.notes)) if row.notes else ()


def main(names: Sequence[str], say: Callable[[str], None] = print) -> int:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = []
    for name in names or ZOO:
        try:
            rows.append(asked(name))
        except ImportError as error:
            say(f"{name} is left out: {error}. Type pip install -c constraints.txt -e '.[networks]'")
            continue
        say(f"{name}: {', '.join(f'{question} {cell}' for question, cell in rows[-1].cells.items())}")
    say("")
    for line in lines(rows):
        say(line)
    wrong = [f"{row.name} {question}" for row in rows for question, cell in row.cells.items() if not cell.right]
    say(f"\n{len(rows)} networks; " + (f"not right: {', '.join(wrong)}" if wrong else "all right, or said why not"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], lambda text: print(text, flush=True)))
