"""Rows in files that are no tables: arrays of every format, images by class, a Parquet table in parts."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from calclab.core import Data, Rows
from calclab.data.arrays import arrays
from calclab.data.folder import folder
from calclab.data.table import table
from calclab.errors import UserError
from calclab.schema import catalogue

KW: dict[str, Any] = {"dtype": torch.float64, "device": "cpu", "seed": 0}
X = np.random.default_rng(0).normal(size=(60, 4))
Y = (X[:, 0] > 0).astype(np.int64)
LITTLE = 1e-7  # gigabytes, of which none of the files fits in a quarter


def knobs(name: str, **given: Any) -> dict[str, Any]:
    defaults = catalogue.values("data", name)
    return {key: value for key, value in defaults.items() if key not in ("name", "_target_")} | given | KW


def of(name: str, **given: Any) -> Data:
    build = {"arrays": arrays, "folder": folder, "table": table}[name]
    return build(**knobs(name, **given))  # type: ignore[operator]


def written(folder: Path) -> dict[str, dict[str, Any]]:
    """Every kind of file, with what names it."""
    np.savez(folder / "plain.npz", X=X, y=Y)
    np.savez_compressed(folder / "packed.npz", features=X, labels=Y, other=Y)
    np.savez(folder / "turned.npz", X=np.asfortranarray(X), y=Y.astype(">i4"))
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", Y)
    torch.save({"x": torch.tensor(X), "targets": torch.tensor(Y)}, folder / "named.pt")
    torch.save((torch.tensor(X), torch.tensor(Y)), folder / "pair.pth")
    return {
        "plain.npz": {},
        "packed.npz": {},
        "turned.npz": {"inputs": "X", "target": "y"},
        "x.npy": {"target": str(folder / "y.npy")},
        "named.pt": {},
        "pair.pth": {},
    }


@pytest.mark.parametrize("memory", [2.0, LITTLE])
def test_arrays_of_every_format_are_the_same_rows(tmp_path: Path, memory: float) -> None:
    for file, names in written(tmp_path).items():
        found = of("arrays", path=str(tmp_path / file), memory=memory, **names)
        assert isinstance(found.inputs, Rows) == (memory == LITTLE and file != "turned.npz"), file
        assert torch.equal(torch.stack([found.inputs[k] for k in range(60)]), torch.tensor(X)), file
        assert torch.equal(found.targets, torch.tensor(Y)), file
        assert found.classification


def test_safetensors_are_read(tmp_path: Path) -> None:
    save = pytest.importorskip("safetensors.torch").save_file
    save({"X": torch.tensor(X), "y": torch.tensor(Y)}, tmp_path / "rows.safetensors")
    for memory in (2.0, LITTLE):
        found = of("arrays", path=str(tmp_path / "rows.safetensors"), memory=memory)
        assert torch.equal(found.inputs[:9], torch.tensor(X[:9]))


def test_what_is_done_to_rows_does_not_depend_on_where_they_are(tmp_path: Path) -> None:
    written(tmp_path)
    pair = [
        of("arrays", path=str(tmp_path / "plain.npz"), memory=m, standardize=True, held_out=0.25, rows=50)
        for m in (2.0, LITTLE)
    ]
    assert isinstance(pair[1].inputs, Rows)
    for a, b in ((pair[0], pair[1]), (pair[0].held_out, pair[1].held_out)):
        assert a is not None
        assert b is not None
        torch.testing.assert_close(torch.stack([b.inputs[k] for k in range(len(b.inputs))]), a.inputs)
        assert torch.equal(a.targets, b.targets)
        assert a.places is not None
        assert b.places is not None
        assert torch.equal(a.places, b.places)
    assert pair[0].units is not None
    assert pair[1].units is not None
    torch.testing.assert_close(pair[0].units.scale, pair[1].units.scale)
    inputs = pair[0].inputs
    torch.testing.assert_close(inputs.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0)


class Payload:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("unpickled"),))


def test_no_code_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("bad.npy", np.array([Payload()], dtype=object), allow_pickle=True)
    np.savez("bad.npz", X=np.array([Payload()], dtype=object))
    torch.save({"X": Payload()}, "bad.pt")
    Path("raw.pt").write_bytes(pickle.dumps(Payload()))
    Path("torn.npz").write_bytes(b"PK\x03\x04" + bytes(50))
    for file in ("bad.npy", "bad.npz", "bad.pt", "raw.pt", "torn.npz"):
        with pytest.raises(UserError, match=r"cannot be read as arrays|Python objects"):
            of("arrays", path=file)
    assert not Path("unpickled").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"path": None}, "needs a file"),
        ({"path": "nowhere.npz"}, "no such file"),
        ({"path": "x.txt"}, "ends in"),
        ({"path": "plain.npz", "inputs": "Z"}, "holds X, y"),
        ({"path": "plain.npz", "target": "z"}, "holds X, y"),
        ({"path": "odd.npz"}, "Type data.inputs=alpha"),
        ({"path": "x.npy", "target": "plain.npz"}, "several arrays"),
        ({"path": "plain.npz", "features": ["a"]}, "1 features are named"),
    ],
)
def test_mistakes_are_answered_by_what_to_type(
    given: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path)
    np.savez("odd.npz", alpha=X)
    Path("x.txt").write_text("1")
    with pytest.raises(UserError, match=words):
        of("arrays", **given)


def test_images_are_rows_by_class(tmp_path: Path) -> None:
    kept = {}
    for c, shade in (("dog", 200), ("cat", 40)):
        for k in range(3):
            place = tmp_path / c / ("deeper" if k else "") / f"{k}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((6, 5, 3), shade + k, dtype=np.uint8)
            Image.fromarray(pixels).save(place)
            kept[c, k] = pixels
    found = of("folder", path=str(tmp_path))
    assert found.classes == ("cat", "dog")
    assert found.targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.inputs.shape == (6, 3, 6, 5)
    assert {float(v) for v in found.inputs[:3].unique()} == {(40 + k) / 255 for k in range(3)}
    read = of("folder", path=str(tmp_path), memory=1e-7)
    assert isinstance(read.inputs, Rows)
    assert torch.equal(read.inputs[:6], found.inputs)
    assert of("folder", path=str(tmp_path), size=4, colours="grey").inputs.shape == (6, 1, 4, 4)
    assert len(of("folder", path=str(tmp_path), rows=4).inputs) == 4
    Image.fromarray(np.zeros((7, 5, 3), dtype=np.uint8)).save(tmp_path / "cat" / "large.png")
    with pytest.raises(UserError, match=r"differ in size .* Type data.size=5"):
        of("folder", path=str(tmp_path))
    (tmp_path / "cat" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match=r"torn\.png cannot be read"):
        of("folder", path=str(tmp_path), size=4)
    with pytest.raises(UserError, match="no such folder"):
        of("folder", path=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="each of two classes"):
        of("folder", path=str(tmp_path / "dog"))


def test_a_bomb_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for c in "ab":
        (tmp_path / c).mkdir()
        Image.fromarray(np.zeros((50, 50), dtype=np.uint8)).save(tmp_path / c / "0.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UserError, match="decompression bomb"):
        of("folder", path=str(tmp_path))


def test_a_parquet_table_in_parts_is_one_table(tmp_path: Path) -> None:
    frame = pd.DataFrame(X, columns=list("abcd")).assign(t=np.where(Y, "yes", "no"))
    frame.loc[7, "b"] = np.nan
    frame.to_parquet(tmp_path / "whole.parquet")
    parts = tmp_path / "parts"
    parts.mkdir()
    for k in range(3):
        frame[20 * k : 20 * k + 20].to_parquet(parts / f"{k}.parquet")
    whole = of("table", path=str(tmp_path / "whole.parquet"), target="t")
    for path in (parts, parts / "*.parquet"):
        for memory in (2.0, LITTLE):
            found = of("table", path=str(path), target="t", memory=memory)
            assert isinstance(found.inputs, Rows) == (memory == LITTLE)
            inputs = torch.stack([found.inputs[k] for k in range(len(found.inputs))])
            torch.testing.assert_close(inputs, whole.inputs)
            assert torch.equal(found.targets, whole.targets)
            assert found.classes == whole.classes
            assert found.places is not None
            assert whole.places is not None
            assert torch.equal(found.places, whole.places)
    with pytest.raises(UserError, match="missing=drop"):
        of("table", path=str(parts), target="t", memory=LITTLE, missing="mean")
    with pytest.raises(UserError, match="row 7"):
        of("table", path=str(parts), target="t", memory=LITTLE, missing="error")
    with pytest.raises(UserError, match=r"t hold no numbers"):
        of("table", path=str(parts), target="a", memory=LITTLE)
