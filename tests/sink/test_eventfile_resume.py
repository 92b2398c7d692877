"""A run that goes on from before its first line has the layout that one run through has, once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from calclab.core import Column, Run
from calclab.sink.eventfile import event_files
from calclab.sink.tensorboard import TensorBoardSink

LAYOUT = b"custom_scalars__config__"


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_the_layout_is_written_once_however_a_run_is_cut(tmp_path: Path, cut: int) -> None:
    run = Run("descent", "booth", "descent of booth", tmp_path, 4, {}, (), {"lr": 0.1, "steps": 4}, [], "")
    sink = TensorBoardSink()
    sink.open(run)
    for k in range(5):
        if k == cut:  # another process goes on
            sink.flush()
            sink = TensorBoardSink()
            sink.open(run)
        values = {} if k < 1 else {"loss": Column([k], torch.ones(1)), "gradient_norm": Column([k], torch.ones(1))}
        sink.write(values)
        sink.flush()
    (file,) = event_files(tmp_path)
    assert file.read_bytes().count(LAYOUT) == 1
