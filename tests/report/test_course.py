"""The row of blocks that shows the way of a loss."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from calclab.lines import Line
from calclab.report.course import BLOCKS, course, sparkline, with_course


@pytest.mark.parametrize("values", [[3.0, 1.0], [1.0, 1e308, -1e308], [5.0] * 9, [math.inf, math.nan, 2.0], [0.0] * 3])
def test_every_value_has_a_block_and_what_is_no_number_a_cross(values: list[float]) -> None:
    text = sparkline(values).removesuffix(" (log scale)")
    assert len(text) == len(values)
    assert [mark == "×" for mark in text] == [not math.isfinite(value) for value in values]


def test_blocks_keep_the_order_of_the_values() -> None:
    falling = [1000 * 0.9**k for k in range(500)]
    text = sparkline(falling).removesuffix(" (log scale)")
    heights = [BLOCKS.index(mark) for mark in text]
    assert heights == sorted(heights, reverse=True)
    assert (heights[0], heights[-1]) == (7, 0)
    assert len(text) <= 40


def test_the_course_stands_under_the_loss(tmp_path: Path) -> None:
    said = [Line("loss", "3 → 1", of="loss"), Line("status", "done")]
    assert list(with_course(said, tmp_path)) == said
    (tmp_path / "scalars.csv").write_text("step,lr,loss\n0,1,3\n1,1,2\n2,1,\n3,1,1\n")
    assert course(tmp_path) == [3, 2, 1]
    assert [line.label for line in with_course(said, tmp_path)] == ["loss", "", "status"]
    (tmp_path / "scalars.csv").write_text("step,loss\n0,torn")
    assert course(tmp_path) == []
