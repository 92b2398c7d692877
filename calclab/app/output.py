"""What a user gets of a run while it goes on: its sinks."""

from __future__ import annotations

from calclab.core import Run, Sink
from calclab.sink.csv import CsvSink
from calclab.sink.progress import ProgressSink
from calclab.sink.summary import SummarySink
from calclab.sink.tensorboard import TensorBoardSink


def make_sinks(run: Run, *, progress: bool) -> list[Sink]:
    """CSV, summary and TensorBoard always; TensorBoard after pictures and summary, since it shows them."""
    board = TensorBoardSink()
    pictures: list[Sink] = []
    if run.config["figures"]:
        from calclab.sink.figures import FiguresSink

        pictures = [FiguresSink(board)]
    bar: list[Sink] = [ProgressSink()] if progress else []
    return [CsvSink(), *pictures, SummarySink(run, board), board, *bar]
