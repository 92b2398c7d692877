"""The vocabulary of calclab: question, method, answer. No logic lives here, and nothing but torch is imported.

A *function* is the question, a *topic* the method, an *outcome* the answer. A topic is a scan: ``init() -> state``
and ``step(state, k) -> (state, values)``. A state is a dict of tensors and holds all that is needed to go on.
Values are tensors by name; their rank says what they are: 0 a scalar, 1 a row of a trajectory, 2 a matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from calclab.errors import UserError

State = dict[str, Any]  # names to tensors, or to further states
Values = Mapping[str, Tensor]
Labels = Mapping[str, tuple[Sequence[str], ...]]  # of a value: the names along each of its axes


# --- evidence -------------------------------------------------------------------------------------------------------


class Verdict(Enum):
    """What a check says of a number, from best to worst; the value is the sentence shown to the user."""

    CERTIFIED = "certified: proven to lie within the bound"
    CONSISTENT = "consistent: independent estimates agree"
    INCONCLUSIVE = "inconclusive: the estimates are too rough to tell"
    UNDEFINED = "undefined: the derivative does not exist here (a kink)"
    SUSPECT = "suspect: floating point loses digits here"
    REFUTED = "refuted: independent evidence contradicts the number"

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Ball:
    """A rigorous enclosure: the true number lies within ``rad`` of ``mid`` (both float64, one shape).

    ``rad`` is infinite where nothing could be proven, and ``mid`` is NaN where the number does not exist.
    """

    mid: Tensor
    rad: Tensor


@dataclass(frozen=True)
class Evidence:
    """One row of verify.csv: a number, what it was held against, and what came of it.

    ``gap`` is |value - reference| (for a tensor: the largest over its entries, and value and reference are those of
    that entry); ``bound`` is how far from the truth the value can be, as far as this method knows; ``tolerance`` is
    the largest gap that passes.
    """

    step: int
    quantity: str
    method: str
    value: float
    reference: float
    gap: float
    bound: float
    tolerance: float
    verdict: Verdict
    note: str = ""


# --- the question ---------------------------------------------------------------------------------------------------


class Exact(Protocol):
    """What is known of a function beyond its float program. Points are (n,) tensors, taken as exact numbers."""

    @property
    def latex(self) -> str:
        """The formula to typeset."""
        ...

    @property
    def lean(self) -> Callable[[Tensor], tuple[Tensor, Tensor]] | None:
        """x (..., n) to f (...,) and ∇f (..., n), of a vector function f (..., m) and J (..., m, n): no autograd."""
        ...

    @property
    def degree(self) -> float:
        """The degree as a polynomial, at most; infinite where it is none. A quadratic has 2."""
        ...

    def derivative_latex(self, order: int) -> list[str]:
        """Closed forms to typeset, one equation a string (order 1 or 2); empty when they would be too long to read."""
        ...

    def closed_form(self, x: Tensor, order: int) -> Tensor | None:
        """The closed-form derivative evaluated at 50 digits, rounded to float64; None where there is none."""
        ...

    def enclose(self, x: Tensor, order: int) -> Ball:
        """The derivative tensor of ``order`` 0, 1, 2: (), (n,), (n, n); with m outputs (m,), (m, n), (m, n, n)."""
        ...

    def one_sided(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The first partial derivatives from the left and from the right, each of the shape of order 1."""
        ...

    def eigenvalues(self, x: Tensor) -> Ball:
        """Eigenvalues of the Hessian of a scalar function, ascending, (n,)."""
        ...

    def singular_values(self, x: Tensor) -> Ball:
        """Singular values of the Jacobian of a vector function, descending, (min(m, n),)."""
        ...


@dataclass(frozen=True, eq=False)
class Function:
    """A differentiable map and what is known of it.

    ``call`` takes (n,) to () or to (m,) and works under ``torch.func`` transforms; ``start`` is (n,) and fixes dtype
    and device; ``variables`` names the n inputs, ``outputs`` the m outputs (empty for a scalar function); ``domain``
    is (n, 2); ``minima`` is (p, n). ``links`` are the parts of a composition, innermost first, where it was given as
    one: each takes the outputs of the one before. ``split`` is (inner, outer) of a scalar f = outer ∘ inner, inner from
    (n,) to (m,), outer convex: what the Gauss-Newton matrix is made of.
    """

    name: str
    call: Callable[[Tensor], Tensor]
    start: Tensor
    variables: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    domain: Tensor | None = None
    minima: Tensor | None = None
    source: str = ""
    exact: Exact | None = None
    links: tuple[Function, ...] = ()
    split: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] | None = None

    @property
    def scalar(self) -> bool:
        return not self.outputs

    def objective(self) -> Function:
        """The scalar function that descent and curvature look at: this one."""
        if not self.scalar:
            raise UserError(
                f"{self.name} has {len(self.outputs)} outputs, and this topic needs a scalar function. "
                "Type one formula (function.expr='x0**2 + x1'), or ask for topic=jacobian."
            )
        return self

    def response(self) -> Function:
        """The map whose Jacobian is asked for: this one."""
        return self


@dataclass(frozen=True)
class Units:
    """What standardising did: a number of the user's is ``shift`` + ``scale`` times the number here, entry by entry."""

    shift: Tensor
    scale: Tensor


@dataclass(frozen=True)
class Data:
    """Rows to learn from. ``inputs`` is (B, *shape) in the dtype of the run; ``targets`` is (B,) of class numbers
    (int64) for classification, (B, m) for regression. ``features`` names the inputs, flattened; ``classes`` the
    classes or outputs. ``notes`` are sentences for the user: missing values, columns dropped. ``columns`` names for
    each input the column of a table that it was made of, where they differ: a column of texts becomes several inputs.
    ``units`` and ``target_units``, (d,) and (m,), lead back to the user's own numbers where they were standardised.
    """

    name: str
    inputs: Tensor
    targets: Tensor
    features: tuple[str, ...]
    classes: tuple[str, ...]
    classification: bool
    notes: tuple[str, ...] = ()
    held_out: Data | None = None  # rows kept back, to see how what was learned does on others
    columns: tuple[str, ...] = ()
    units: Units | None = None
    target_units: Units | None = None


# --- the method -----------------------------------------------------------------------------------------------------


class Status(Enum):
    """How a run ended; the value is the sentence shown to the user."""

    COMPLETED = "took all its steps"
    CONVERGED = "converged: the gradient norm fell below tol"
    DIVERGED = "diverged: the iterates run away; try a smaller lr"
    NONFINITE = "left the finite numbers; try a smaller lr or another start"
    INTERRUPTED = "was interrupted"
    FAILED = "failed"

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Column:
    """Values of one name over a block of steps: ``data`` is (len(steps), *shape of the value), on the CPU."""

    steps: Sequence[int]
    data: Tensor


Columns = Mapping[str, Column]


@dataclass(frozen=True)
class Answer:
    """What a topic found: the sentence to show, the numbers and words asked for, and formulas to typeset (LaTeX)."""

    sentence: str
    values: Mapping[str, Tensor | str]
    latex: Sequence[str] = ()


@dataclass(frozen=True)
class Guide:
    """Theory beside a curve: the line y_0 ρ^(power k), y_0 being the value of ``of`` at its first step, k counted from
    there. ``factor`` is ρ, or the scalar that holds it."""

    name: str
    of: str
    factor: float | str
    power: float = 1.0


@dataclass(frozen=True)
class Curves:
    """Scalars over the scan, in one picture: horizontal axis ``against`` ("step" or a scalar's name). ``guides`` are
    drawn over steps only."""

    name: str
    columns: tuple[str, ...]
    against: str = "step"
    log: str = "y"  # which axes are logarithmic: "", "x", "y" or "xy"
    guides: tuple[Guide, ...] = ()

    @property
    def shows(self) -> tuple[str, ...]:
        """Names of the values that the picture is made of; every kind of picture has this."""
        guides = (name for guide in self.guides for name in (guide.of, guide.factor) if isinstance(name, str))
        return (*self.columns, self.against, *guides)


@dataclass(frozen=True)
class Contours:
    """The trajectory ``path`` of two variables over filled contours of ``function``."""

    name: str
    path: str
    function: Function

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.path,)


@dataclass(frozen=True)
class PrincipalPlane:
    """The trajectory ``path`` of many variables in the plane of its two principal directions, over contours of
    ``function`` there; beside it the loss on the path and on the plane, and how far the path is from the plane.
    """

    name: str
    path: str
    function: Function

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.path,)


@dataclass(frozen=True)
class Heatmap:
    """The matrix ``matrix`` of the last step at which it was logged, annotated with its numbers where they fit."""

    name: str
    matrix: str

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.matrix,)


@dataclass(frozen=True)
class Bars:
    """One bar for each entry of the vector ``vector``, by its last row, largest first when ``ranked``; with an interval
    from the vector ``low`` to the vector ``high``, where these are named."""

    name: str
    vector: str
    ranked: bool = False
    low: str = ""
    high: str = ""

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.vector, self.low, self.high) if self.low else (self.vector,)


@dataclass(frozen=True)
class Spread:
    """A line with a band for each row of the matrix ``middle``, between those of ``middle``_25 and ``middle``_75, over
    the rows of the matrix ``across``, which is called ``axis``: of the last step at which they were logged. Both axes
    are logarithmic where they can be."""

    name: str
    middle: str
    across: str
    axis: str

    @property
    def columns(self) -> tuple[str, ...]:
        return (f"{self.middle}_25", self.middle, f"{self.middle}_75")

    @property
    def shows(self) -> tuple[str, ...]:
        return (*self.columns, self.across)


@dataclass(frozen=True)
class Tracks:
    """A line over the steps for each entry of the vector ``vector``; ``log`` as in `Curves`."""

    name: str
    vector: str
    log: str = ""

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.vector,)


@dataclass(frozen=True)
class Multiples:
    """A small panel for each row of the matrices ``lines``, over the same row of the matrix ``across``, which is called
    ``axis``: of the last step at which they were logged. All lines but the first are dashed."""

    name: str
    lines: tuple[str, ...]
    across: str
    axis: str

    @property
    def shows(self) -> tuple[str, ...]:
        return (*self.lines, self.across)


@dataclass(frozen=True)
class Surface:
    """Filled contours of the matrix ``heights`` (a row for each entry of the vector ``upward``, a column for each of
    ``across``), and over them the lines of ``model`` at the same levels."""

    name: str
    heights: str
    model: str
    across: str
    upward: str

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.heights, self.model, self.across, self.upward)


@dataclass(frozen=True)
class Spectrum:
    """How many eigenvalues lie where: the rows of the matrix ``bins`` are (from, to, how many). Those of the vector
    ``found`` are known one by one; of a network with ``classes``, the first ``outliers`` of them, a scalar, stand out.
    """

    name: str
    bins: str
    found: str
    outliers: str = ""
    classes: int = 0

    @property
    def shows(self) -> tuple[str, ...]:
        return (self.bins, self.found, *([self.outliers] if self.outliers else []))


Picture = Curves | Contours | PrincipalPlane | Heatmap | Bars | Spread | Tracks | Multiples | Surface | Spectrum


@runtime_checkable
class Topic(Protocol):
    """A method as a pure scan over k = 0, 1, ..., ``steps``. Its fields are its hyperparameters."""

    @property
    def steps(self) -> int: ...

    @property
    def checks(self) -> int:
        """At about how many of the steps evidence is gathered; the last is always among them."""
        ...

    def init(self) -> State:
        """The state before k = 0."""
        ...

    def step(self, state: State, k: int) -> tuple[State, Values]:
        """The state after step k, and what is logged there; the state passed in is left as it was."""
        ...

    def derive(self, before: State, columns: Columns) -> Columns:
        """The columns to log, from those of one block of steps and the state before it.

        What can be had from logged values is computed here, for a whole block at once. A row may only depend on its
        own row and the one before (which ``before`` holds for the first), so that it is the same however blocks fall.
        """
        ...

    def stop(self, columns: Columns) -> tuple[int, Status] | None:
        """The first step of this block at which the run ends early, and how; None to go on."""
        ...

    def verify(self, state: State, k: int) -> list[Evidence]:
        """Evidence for what was logged at step k, given the state after it. May be empty where there is nothing new."""
        ...

    def answer(self, state: State) -> Answer:
        """The answer, given the state after the last step."""
        ...

    def notes(self) -> Sequence[str]:
        """What the user should know before the run starts, a sentence each."""
        ...

    def leave(self, state: State, folder: Path) -> None:
        """Write what other runs may want of the state after the last step, such as weights."""
        ...

    def labels(self) -> Labels:
        """Names along the axes of every value of rank 1 (columns) and 2 (rows, columns)."""
        ...

    def pictures(self) -> Sequence[Picture]:
        """What to draw when the run has ended."""
        ...


@dataclass(frozen=True)
class Scan:
    """How far a scan has come: how it ended (INTERRUPTED while it goes on), the last step k, the state after it, the
    last value of every name, the evidence gathered."""

    status: Status
    step: int
    state: State
    last: Values
    evidence: Sequence[Evidence]


class Point(NamedTuple):
    """Where a rule stands: x (n,), f(x) (), ∇f(x) (n,), and f itself, for rules that look further than the gradient."""

    x: Tensor
    loss: Tensor
    gradient: Tensor
    function: Function


class Rule(Protocol):
    """An optimizer as a pure pair. ``update`` returns the move x_{k+1} - x_k and the rule's next state.

    ``lr`` is a float, or a tensor where it is one of a batch: a rule that works entry by entry then takes points
    (..., n) and ``lr`` (..., 1) as they are.
    """

    def init(self, x: Tensor) -> State: ...

    def update(self, point: Point, state: State, lr: float | Tensor) -> tuple[Tensor, State]: ...


# --- the answer -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """A number or word that a study promised, and whether the run shows it."""

    text: str
    expected: str
    found: str
    holds: bool


@dataclass(frozen=True)
class Run:
    """What a sink may know of a run before it starts; ``config`` is plain: dicts, lists, scalars."""

    topic: str
    subject: str
    title: str
    folder: Path
    steps: int
    labels: Labels
    pictures: Sequence[Picture]
    config: Mapping[str, Any]
    latex: Sequence[str] = ()


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``steps`` is the last k; ``last`` the last value of each scalar and row of each trajectory."""

    status: Status
    steps: int
    seconds: float
    last: Values
    answer: Answer | None = None
    evidence: Sequence[Evidence] = ()
    claims: Sequence[Claim] = ()
    error: str = ""
    notes: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


class Sink(Protocol):
    """Writes what comes out of a scan. A sink sees columns, never single numbers, and is closed whatever happens."""

    def open(self, run: Run) -> None: ...

    def write(self, columns: Columns) -> None: ...

    def evidence(self, rows: Sequence[Evidence]) -> None: ...

    def flush(self) -> None: ...

    def close(self, outcome: Outcome) -> None: ...
