"""Pages from the command line: of a run, a sweep, a folder and the studies; from folders alone, opened by a browser."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from html_pages import CHROMIUM, Page, console

from calclab.app.report import NAME, made, report

SCRIPT = """
import sys
from calclab.app.report import main
main(sys.argv[1:])
print(sorted(set(sys.modules) & {'torch', 'pandas', 'matplotlib', 'hydra'}))
"""


def the_run(topic: str) -> Path:
    (folder,) = (path for path in Path("outputs", topic).iterdir() if path.is_dir())
    return folder


def test_report_writes_one_page_into_the_folder_and_the_lab_knows_it(lab) -> None:
    assert lab("topic=derivative function=cubic").status == 0
    folder = the_run("derivative")
    before = sorted(path.name for path in folder.iterdir())
    done = lab(f"report '{folder}'")
    assert (done.status, done.out.strip()) == (0, str(folder / NAME))
    assert sorted(path.name for path in folder.iterdir()) == sorted([*before, NAME])
    page = Page((folder / NAME).read_text(encoding="utf-8"))
    assert {"math", "img", "details", "figcaption"} <= set(page.tags)
    assert len(page.html) <= 3_000_000
    assert NAME in (folder / ".files").read_text().split("\n")
    again = (folder / NAME).read_bytes()
    assert lab(f"report '{folder}'").status == 0
    assert (folder / NAME).read_bytes() == again
    assert lab("runs prune --topic derivative --keep-last 0 --yes").status == 0
    assert not folder.exists()


def test_report_true_leaves_the_same_page_without_another_run(lab) -> None:
    lab("topic=derivative function=cubic figures=false")
    folder = the_run("derivative")
    done = lab("topic=derivative function=cubic figures=false report=true")
    assert done.status == 0
    assert f"report    {folder / NAME}" in done.out
    assert (folder / NAME).read_text(encoding="utf-8") == made(folder)
    assert the_run("derivative") == folder


def test_a_sweep_has_a_page(lab) -> None:
    line = "-m topic=descent function=bowl lr=0.1,0.2,5 steps=9 figures=false"
    done = lab(f"{line} report=true")
    assert done.status == 0
    (folder,) = Path("outputs", "sweeps").iterdir()
    page = Page((folder / NAME).read_text(encoding="utf-8"))
    assert "Best is lr=" in page.text
    assert "1 diverged" in page.text
    assert "calclab -m topic=descent function=bowl lr=0.1,0.2,5" in page.text
    assert not list(Path("outputs", "descent").glob(f"*/{NAME}"))
    lab(line)
    assert [path.name for path in Path("outputs", "sweeps").iterdir()] == [folder.name]


def test_a_folder_of_runs_has_a_page(lab) -> None:
    lab("topic=derivative function=cubic")
    lab("topic=partial function=booth figures=false")
    assert lab("report --to mail/all.html").status == 0
    page = Page(Path("mail", "all.html").read_text(encoding="utf-8"))
    assert page.tags.count("article") == 2
    assert page.tags.count("img") == 1
    assert "2 runs in outputs" in page.text
    assert str(Path.cwd()) not in page.html, "where a folder lies is not for those who are sent the page"
    assert lab("report outputs/partial").status == 0
    assert "1 run in" in Page(Path("outputs", "partial", NAME).read_text(encoding="utf-8")).text


def test_a_file_of_the_users_makes_way(lab) -> None:
    lab("topic=derivative function=cubic figures=false")
    folder = the_run("derivative")
    (folder / NAME).write_text("mine")
    done = lab(f"report '{folder}'")
    assert done.status == 0
    assert "kept1" in done.err
    assert (folder / f"kept1.{NAME}").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nowhere", "there is no folder nowhere"),
        ("afar", "holds no run"),
        ("empty", "holds no run"),
        ("afile", "is a file"),
        ("empty --to empty", "empty/report.html"),
        ("deep/er/broken", "is not as calclab writes it"),
    ],
)
def test_what_is_not_there_is_told(lab, words: str, said: str) -> None:
    Path("empty").mkdir()
    Path("afar/way").mkdir(parents=True)
    Path("afile").touch()
    Path("deep/er/broken").mkdir(parents=True)
    Path("deep/er/broken/outcome.json").write_text('{"status": "completed", "answer": 3, "evidence": []}')
    done = lab(f"report {words}")
    assert done.status == 2
    assert said in done.err
    assert not list(Path().rglob(NAME))


def test_a_page_needs_no_torch_and_little_time(lab) -> None:
    lab("topic=descent function=rosenbrock steps=50")
    folder = the_run("descent")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert done.stdout.splitlines()[-1] == "[]"
    spent = time.process_time()
    report(folder)
    assert time.process_time() - spent <= 1.0


def test_the_gallery_has_every_study_with_claims_and_verdict(lab) -> None:
    mine = Path("experiments", "mine")
    mine.mkdir(parents=True)
    text = "# @package _global_\n# A cubic at two\ndefaults:\n"
    text += "  - override /topic: derivative\n  - override /function: cubic\n"
    (mine / "right.yaml").write_text(f"{text}claims:\n  - {{quantity: direction, equals: decrease x}}\n")
    (mine / "wrong.yaml").write_text(f"{text}claims:\n  - {{quantity: derivative, equals: 7}}\n")
    (mine / "broken.yaml").write_text(text.replace("cubic\n", "nosuch\n"))
    found = lab("gallery experiments/mine --found --to found.html")
    assert found.status == 0
    page = Page(Path("found.html").read_text(encoding="utf-8"))
    assert "2 have not been run" in page.text
    assert page.tags.count("article") == 3
    assert not Path("outputs", "derivative").exists()
    done = lab("gallery experiments/mine")
    assert done.status == 3
    page = Page(Path("outputs", "gallery.html").read_text(encoding="utf-8"))
    assert "python -m calclab experiment=mine/right" in page.text
    assert "does not hold, found" in page.text
    assert "there is no function" in page.text or "nosuch" in page.text
    assert page.tags.count("img") == 2
    there = lab("gallery experiments/notebook --found --to lab.html")
    assert there.status == 0, "the lab's own studies are named from anywhere"
    nothing = lab("gallery empty")
    assert nothing.status == 2
    assert "experiments/mine" in nothing.err


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
def test_a_browser_opens_every_page_from_a_file_without_a_word(lab, tmp_path: Path) -> None:
    lab("topic=partial function=booth report=true")
    lab("-m topic=descent function=bowl lr=0.1,0.2 steps=9 figures=false report=true")
    lab("report")
    pages = list(Path("outputs").rglob(NAME))
    assert len(pages) == 3
    for page in pages:
        assert console(page, tmp_path / "profile") == []
    Path("loud.html").write_text("<script>console.error('heard')</script>")
    assert "heard" in "".join(console(Path("loud.html"), tmp_path / "profile"))
