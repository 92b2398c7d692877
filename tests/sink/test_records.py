"""The bulk encoding against tensorboard's own: byte for byte where it is unique, and as its reader sees it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.summary.writer.record_writer import RecordWriter

from calclab.sink.records import masked_crc, scalar_records, varint


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=13, max_size=13), min_size=1, max_size=5))
def test_crc_is_tensorboards(rows: list[bytes]) -> None:
    table = np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, 13)
    assert masked_crc((row.tobytes() for row in table), len(table)).tolist() == [masked_crc32c(row) for row in rows]


def test_crc_check_value() -> None:
    """CRC-32C of "123456789" is 0xE3069283 (RFC 3720 and every catalogue), here masked as TFRecord does."""
    crc = 0xE3069283
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert masked_crc([b"123456789"], 1).tolist() == [masked]


class Collector:
    def __init__(self) -> None:
        self.content = b""

    def write(self, content: bytes) -> None:
        self.content += content


def reference(steps: list[int], times: list[float], tags: list[str], values: np.ndarray) -> bytes:
    """The same events through protobuf and RecordWriter."""
    collector = Collector()
    for k, when, row in zip(steps, times, values, strict=True):
        pairs = zip(tags, row, strict=True)
        summary = summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=t, simple_value=v) for t, v in pairs])
        event = event_pb2.Event(wall_time=when, step=k, summary=summary)
        RecordWriter(collector).write(event.SerializeToString(deterministic=True))
    return collector.content


@pytest.mark.parametrize(
    "steps", [[1], [126, 127, 128, 129], [16382, 16383, 16384], [2**21 - 1, 2**21, 2**28 - 1, 2**28, 2**35]]
)
@pytest.mark.parametrize("tags", [["loss"], ["scalars/loss", "x/λ₁", "y" * 200]])
def test_records_equal_tensorboards_own(steps: list[int], tags: list[str]) -> None:
    values = np.linspace(-3, 1e9, len(steps) * len(tags), dtype=np.float32).reshape(len(steps), -1)
    values[0, 0] = np.nan
    times = [1.5e9 + k for k in range(len(steps))]
    made = b"".join(scalar_records(np.array(steps), np.array(times), tags, values))
    assert made == reference(steps, times, tags, values)


def test_step_zero_and_infinities_read_back() -> None:
    values = np.array([[np.inf, -np.inf]], dtype=np.float32)
    (made,) = scalar_records(np.array([0]), np.array([2.0]), ["a", "b"], values)
    event = event_pb2.Event.FromString(bytes(made[12:-4]))
    assert (event.step, event.wall_time) == (0, 2.0)
    assert [(v.tag, v.simple_value) for v in event.summary.value] == [("a", np.inf), ("b", -np.inf)]


def test_no_steps_no_bytes() -> None:
    assert scalar_records(np.array([], dtype=np.int64), np.array([]), ["a"], np.zeros((0, 1), dtype=np.float32)) == []


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_varint(number: int) -> None:
    assert sum((byte & 0x7F) << 7 * i for i, byte in enumerate(varint(number))) == number
