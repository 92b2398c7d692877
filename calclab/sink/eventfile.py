"""One TensorBoard event file, appended to in whole records: those of a block by one system call.

tensorboard's EventFileWriter has a queue and a thread, which cost more than a step of most scans, and opens the file
anew for each event. Its format is simple: a version event, then one record an event (see `records`). Blocks of scalars
are encoded there at once; rare events (text, images, hyperparameters) are protobuf messages of tensorboard's own.
"""

from __future__ import annotations

import functools
import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calclab.sink.growing import AppendingFile
from calclab.sink.records import record, scalar_records

VERSION = "brain.Event:2"
PREFIX, OURS = "events.out.tfevents.", ".calclab"  # a user may write event files of his own
LAYOUT = b"custom_scalars"  # the plugin that its event names
BEGINNING = 2**20  # bytes in which that is: it comes with the first lines
Plain = bool | int | float | str


def event_files(folder: Path) -> list[Path]:
    """The lab's own event files of a run, oldest first."""
    names = sorted(os.listdir(folder))
    return [folder / name for name in names if name.startswith(PREFIX) and name.endswith(OURS)]


class EventFile:
    """Appends events to the event file in ``folder``; ``fresh`` is whether it was made now, not found."""

    def __init__(self, folder: Path, *, fresh: bool = False) -> None:
        self._last = time.time()
        name = f"{PREFIX}{int(self._last):010d}.{platform.node()}.{os.getpid()}.0{OURS}"
        self.path = folder / name if fresh else (event_files(folder) or [folder / name])[-1]
        self._stream = AppendingFile(self.path)
        self._ready: list[bytes | bytearray] = []  # records to be written by the next ``flush``
        self.fresh = self._stream.fresh
        if self.fresh:
            self._add(file_version=VERSION)

    @property
    def laid_out(self) -> bool:
        """Has an earlier attempt left a layout?"""
        with self.path.open("rb") as file:
            return LAYOUT in file.read(BEGINNING)

    def scalars(self, steps: Sequence[int], tags: Sequence[str], values: NDArray[np.float32]) -> None:
        """``values`` (N, tags) at ``steps`` (N,); their wall times are spread evenly since the call before."""
        now = time.time()
        times = np.linspace(self._last, now, len(steps) + 1)[1:]
        self._ready.extend(scalar_records(np.asarray(steps, dtype=np.int64), times, tags, values))

    def tick(self) -> None:
        """The block is written: the next one's wall times begin now."""
        self._last = time.time()

    def text(self, tag: str, markdown: str, step: int) -> None:
        from tensorboard.plugins.text import metadata

        self._tensor(tag, [markdown.encode()], [], metadata.create_summary_metadata(tag, ""), step)

    def image(self, tag: str, png: bytes, step: int) -> None:
        """A PNG file's bytes; width and height are read from its header."""
        from tensorboard.plugins.image import metadata

        width, height = (str(int.from_bytes(png[i : i + 4], "big")).encode() for i in (16, 20))
        self._tensor(tag, [width, height, png], [3], metadata.create_summary_metadata(tag, ""), step)

    def histogram(self, tag: str, bins: NDArray[np.float64], step: int) -> None:
        """``bins`` (k, 3): from, to, how many."""
        from tensorboard.compat.proto import types_pb2
        from tensorboard.plugins.histogram import metadata

        about = metadata.create_summary_metadata(tag, "")
        self._tensor(tag, bins.astype("<f8").tobytes(), bins.shape, about, step, types_pb2.DT_DOUBLE)

    def layout(self, charts: Mapping[str, tuple[Sequence[str], Sequence[str]]], category: str) -> None:
        """The custom layout: of each chart its title, the patterns of the tags of its lines, or the tags of its margins
        (between <tag>_25 and <tag>_75)."""
        from tensorboard.plugins.custom_scalar import layout_pb2, metadata

        def chart(title: str, tags: Sequence[str], margins: Sequence[str]) -> Any:
            series = layout_pb2.MarginChartContent.Series
            if not margins:
                return layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=tags))
            lines = [series(value=tag, lower=f"{tag}_25", upper=f"{tag}_75") for tag in margins]
            return layout_pb2.Chart(title=title, margin=layout_pb2.MarginChartContent(series=lines))

        made = [chart(title, *content) for title, content in charts.items()]
        whole = layout_pb2.Layout(category=[layout_pb2.Category(title=category, chart=made)])
        about, tag = metadata.create_summary_metadata(), metadata.CONFIG_SUMMARY_TAG
        self._tensor(tag, [whole.SerializeToString()], [], about, 0)

    def graph(self, nodes: Sequence[tuple[str, str, Sequence[str], Mapping[str, str]]]) -> None:
        """The graph of a computation, for the GRAPHS tab: of each node its name, its operation, the names of its
        arguments, and what is shown of it beside."""
        from tensorboard.compat.proto import attr_value_pb2, graph_pb2, node_def_pb2, versions_pb2

        def attributes(beside: Mapping[str, str]) -> dict[str, Any]:
            return {key: attr_value_pb2.AttrValue(s=text.encode()) for key, text in beside.items()}

        made = [
            node_def_pb2.NodeDef(name=name, op=op, input=inputs, attr=attributes(beside))
            for name, op, inputs, beside in nodes
        ]
        whole = graph_pb2.GraphDef(node=made, versions=versions_pb2.VersionDef(producer=22))
        self._add(graph_def=whole.SerializeToString())

    def experiment(self, hyperparameters: Mapping[str, Sequence[Plain]], metrics: Mapping[str, str]) -> None:
        """Which hyperparameters, with the values that they take, and which metrics, by tag, with what they are called,
        HParams shows, in this order."""
        from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

        made = api_pb2.Experiment(time_created_secs=time.time())
        for name, values in hyperparameters.items():
            info = made.hparam_infos.add(name=name, differs=True)
            if all(isinstance(value, bool) for value in values):
                info.type = api_pb2.DATA_TYPE_BOOL
                info.domain_discrete.extend(list(dict.fromkeys(values)))
            elif all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
                info.type = api_pb2.DATA_TYPE_FLOAT64
                info.domain_interval.min_value, info.domain_interval.max_value = min(values), max(values)
            else:
                info.type = api_pb2.DATA_TYPE_STRING
                info.domain_discrete.extend(list(dict.fromkeys(map(str, values))))
        for tag, label in metrics.items():
            made.metric_infos.add(name=api_pb2.MetricName(tag=tag), display_name=label)
        self._session("experiment", plugin_data_pb2.HParamsPluginData(experiment=made))

    def session_start(self, knobs: Mapping[str, Plain]) -> None:
        """The run's hyperparameters, without an experiment record: TensorBoard infers the rest."""
        from tensorboard.plugins.hparams import plugin_data_pb2

        start = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
        start.MergeFromString(b"".join(hyperparameter(name, value) for name, value in knobs.items()))
        self._session("session_start_info", plugin_data_pb2.HParamsPluginData(session_start_info=start))

    def session_end(self, status: str) -> None:
        """``status`` is SUCCESS, FAILURE or UNKNOWN."""
        from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

        code = api_pb2.Status.Value(f"STATUS_{status}")
        end = plugin_data_pb2.SessionEndInfo(status=code, end_time_secs=time.time())
        self._session("session_end_info", plugin_data_pb2.HParamsPluginData(session_end_info=end))

    def flush(self) -> None:
        """Write all records of the block, or none of them."""
        piece, self._ready = b"".join(self._ready), []
        self._stream.write(piece)

    def close(self) -> None:
        try:
            self.flush()
        finally:
            self._stream.close()

    def _session(self, tag: str, content: Any) -> None:
        """What tensorboard.plugins.hparams.metadata writes; to import it takes longer than a short run."""
        from tensorboard.compat.proto import summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2

        plugin = summary_pb2.SummaryMetadata.PluginData(plugin_name="hparams", content=content.SerializeToString())
        nothing = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=0)])
        value = summary_pb2.Summary.Value(
            tag=f"_hparams_/{tag}",
            metadata=summary_pb2.SummaryMetadata(plugin_data=plugin),
            tensor=tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_shape=nothing),
        )
        self._add(summary=summary_pb2.Summary(value=[value]))

    def _tensor(
        self, tag: str, content: bytes | Sequence[bytes], shape: Sequence[int], about: Any, step: int, dtype: int = 7
    ) -> None:
        """Texts, or the bytes of numbers of another ``dtype`` than DT_STRING."""
        from tensorboard.compat.proto import summary_pb2, tensor_pb2, tensor_shape_pb2

        dims = [tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in shape]
        form = tensor_shape_pb2.TensorShapeProto(dim=dims)
        held = {"tensor_content" if isinstance(content, bytes) else "string_val": content}
        tensor = tensor_pb2.TensorProto(dtype=dtype, tensor_shape=form, **held)
        value = summary_pb2.Summary.Value(tag=tag, metadata=about, tensor=tensor)
        self._add(step=step, summary=summary_pb2.Summary(value=[value]))

    def _add(self, **content: Any) -> None:
        from tensorboard.compat.proto import event_pb2

        self._ready.append(record(event_pb2.Event(wall_time=time.time(), **content).SerializeToString()))


@functools.lru_cache(maxsize=1024, typed=True)
def hyperparameter(name: str, value: Plain) -> bytes:
    """One hyperparameter, encoded: runs of one sweep have most of them in common."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import SessionStartInfo

    start = SessionStartInfo()
    if isinstance(value, bool):
        start.hparams[name].bool_value = value
    elif isinstance(value, int | float):
        start.hparams[name].number_value = value
    else:
        start.hparams[name].string_value = value
    return start.SerializeToString()
