"""A mode that sees every operation on tensors, as torch carries it out."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Torch's own, to which a subclass gives ``__torch_dispatch__``, without the compiler: only to keep that out of a
    method which it never sees, torch would import all of it, and a start would take twice as long.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()  # type: ignore[no-untyped-call]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
