"""A sealed record: every flip of a bit is seen, or leaves what it says as it was."""

from __future__ import annotations

import json

import orjson
import pytest

from calclab.archive.folder import damaged, sealed

RECORD = {"status": "completed", "steps": 60, "last": {"loss": 0.25, "x": [1.0, 2.5]}, "name": "ä"}


def written() -> bytes:
    return sealed(orjson.dumps(RECORD, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def test_a_sealed_record_is_json_and_says_what_it_said() -> None:
    assert not damaged(written())
    assert {key: value for key, value in json.loads(written()).items() if key != "crc32"} == RECORD


def test_every_flip_is_seen_or_changes_nothing() -> None:
    text = written()
    for place in range(len(text)):
        for bit in range(8):
            flipped = bytearray(text)
            flipped[place] ^= 1 << bit
            if damaged(bytes(flipped)):
                continue
            try:
                found = json.loads(bytes(flipped))
            except ValueError:
                continue  # no record at all
            assert {key: found[key] for key in RECORD} == RECORD, (place, bit)


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"{}\n", json.dumps(RECORD).encode(), json.dumps(RECORD, indent=2).encode()]
)
def test_what_was_never_sealed_is_believed(text: bytes) -> None:
    assert not damaged(text)
