"""Networks that nobody here wrote, asked for everything: as plain torch has it, or one sentence. See table.py."""

from __future__ import annotations

import pytest
from network_zoo import ZOO, case
from table import QUESTIONS, asked

CHEAP = ("gcn", "experts", "physics_informed")
NAMES = [name if name in CHEAP else pytest.param(name, marks=pytest.mark.minutes) for name in ZOO]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_every_question_about_a_network_is_answered_as_plain_torch_does_or_refused_in_a_sentence(name: str) -> None:
    try:
        case(name)
    except ImportError as error:
        pytest.skip(f"{error}: pip install -c constraints.txt -e '.[networks]'")
    row = asked(name)
    assert set(row.cells) == set(QUESTIONS)
    assert not [f"{question}: {cell}" for question, cell in row.cells.items() if not cell.right], row.notes


def test_there_are_25_networks() -> None:
    assert len(ZOO) >= 25
    assert {package for package, _ in ZOO.values()} >= {"torchvision", "timm", "transformers", "vit_pytorch", "nflows"}
