"""TensorBoard as people see it: a run and a sweep of 20 in headless Chromium, every tab opened and read.

    pip install -e '.[browser]' && python tests/browser/tensorboard.py [FOLDER FOR SCREENSHOTS]

Chromium is the system's (found on the path, or named by CHROMIUM), TensorBoard listens on this machine alone. What is
checked is what a reader sees: names, groups, tables, the order of columns, drawings that are drawn, and that the page
raises no error. It takes a minute or two.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

RUN = "topic=descent network=mlp network.width=8 data=iris data.held_out=0.2 lr=0.1 steps=100 sharpness.every=10"
SWEEP = "-m topic=descent network=mlp network.width=8 data=iris data.held_out=0.2 steps=60 figures=false"
SWEPT = "optimizer=gd,adam lr=logspace(0.001,1,10)"
JOBS, WAIT = 20, 60_000  # milliseconds for what is to be seen
SIZE = {"width": 1440, "height": 1000}


def typed(words: str, place: Path) -> None:
    subprocess.run([sys.executable, "-m", "calclab", *words.split()], cwd=place, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def board(folder: Path, place: Path) -> Iterator[str]:
    """``calclab board`` over the runs of a folder, on a free port of this machine; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["board", str(folder), "--port", str(port)]
    process = subprocess.Popen([sys.executable, "-m", "calclab", *words], cwd=place, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}/"
    try:
        deadline = time.monotonic() + 120
        while not served(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("TensorBoard does not serve the runs")
            time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def served(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}data/runs", timeout=5) as answer:
            return answer.read() not in (b"", b"[]")
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


class Reader:
    """Opens tabs, keeps what went wrong on the page, and takes a picture of each."""

    def __init__(self, page: Page, address: str, shots: Path | None, name: str) -> None:
        self.page, self.address, self.shots, self.name = page, address, shots, name
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, tab: str) -> Page:
        self.page.goto(f"{self.address}?darkMode=false#{tab}")
        return self.page

    def seen(self, tab: str, *texts: str | re.Pattern[str]) -> None:
        """Each text is to be seen; then a picture."""
        for text in texts:
            expect(self.page.get_by_text(text).locator("visible=true").first).to_be_visible(timeout=WAIT)
        self.shot(tab)

    def shot(self, tab: str) -> None:
        self.page.wait_for_timeout(1500)  # animations
        if self.shots is not None:
            self.page.screenshot(path=self.shots / f"{self.name}_{tab}.png")
        print(f"{self.name}: {tab} is as it should be")


def read_sweep(reader: Reader) -> None:
    page = reader.open("timeseries")
    reader.seen("timeseries", re.compile(r"adam lr=0\.01 · [0-9a-f]{4}"), "answer/objective", "curvature")
    text = page.locator("runs-selector").first.inner_text()
    assert text.count("·") >= 10, f"names are not to be seen: {text}"
    assert not re.search(r"\d\.\d{10,}", text), "a number is not clean"
    assert "steps=60" not in text, "a constant is in a name"
    assert "_target_" not in text, "a builder is in a name"

    page = reader.open("hparams")
    reader.seen("hparams", "Trial ID")
    head = page.locator("vaadin-grid-cell-content").all_inner_texts()
    columns = [text.strip() for text in head if text.strip()]
    order = [columns.index(name) for name in ("lr", "optimizer", "loss", "held out accuracy", "diverged", "steps")]
    assert order == sorted(order), columns
    rows = [text for text in columns if re.match(r"(gd|adam) lr=", text)]
    assert len(rows) == JOBS, f"{len(rows)} rows"
    page.get_by_text("PARALLEL COORDINATES VIEW").click()
    lines = page.locator("tf-hparams-parallel-coords-plot path")
    expect(lines.nth(JOBS - 1)).to_be_attached(timeout=WAIT)
    reader.shot("parallel")

    reader.open("custom_scalars")
    reader.seen("custom_scalars", "loss, on the rows learnt from and on those held out")
    reader.open("images")
    reader.seen("images", "pictures/1 sweep")
    assert drawn(reader.page, "tf-image-loader img"), "the picture is not there"
    page = reader.open("text")
    reader.seen("text", "overview", "How to read this", re.compile(r"the lowest of 20"))
    reader.open("scalars")
    reader.seen("scalars", "loss", "gradient", "score")


def read_run(reader: Reader) -> None:
    reader.open("timeseries")
    reader.seen("timeseries", "answer/objective", "curvature/sharpness")
    reader.open("custom_scalars")
    reader.seen("custom_scalars", "sharpness, and 2/lr, beyond which gradient descent cannot stay")
    assert reader.page.locator("tf-custom-scalar-multi-line-chart-card svg path").count(), "no line is drawn"
    reader.open("images")
    reader.seen("images", "pictures/1 path", "pictures/2 loss")
    assert drawn(reader.page, "tf-image-loader img"), "no picture is there"
    reader.open("histograms")
    reader.seen("histograms", "gradients/hidden.0", "updates/output")
    reader.open("text")
    reader.seen("text", "Evidence", "How to read this", "pictures/path")


def drawn(page: Page, where: str) -> bool:
    """Whether the first picture has pixels."""
    found = page.locator(where).first
    expect(found).to_be_visible(timeout=WAIT)
    return bool(found.evaluate("image => image.decode().then(() => image.naturalWidth > 100)"))


def main(shots: Path | None = None) -> int:
    binary = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if binary is None:
        raise SystemExit("there is no chromium on the path: install it, or name it by CHROMIUM=...")
    if shots is not None:
        shots.mkdir(parents=True, exist_ok=True)
    errors: list[str] = []
    with tempfile.TemporaryDirectory(prefix="calclab-browser-") as folder, sync_playwright() as players:
        place = Path(folder)
        typed(f"{SWEEP} {SWEPT}", place)
        typed(f"{RUN} watch=layers", place)
        (sweep,) = (place / "outputs" / "sweeps").iterdir()
        (run,) = (path for path in (place / "outputs" / "descent").iterdir() if "watch" in path.name)
        browser = players.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        for of, name, read in ((sweep, "sweep", read_sweep), (run, "run", read_run)):
            with board(of, place) as address:
                reader = Reader(browser.new_page(viewport=SIZE), address, shots, name)
                read(reader)
                errors += reader.errors
                reader.page.close()
        browser.close()
    for error in errors:
        print(f"the page raised: {error}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
