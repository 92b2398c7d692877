"""A job made from a pattern has, key for key and type for type, the configuration that Hydra itself composes for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from hypothesis import given, settings
from hypothesis import strategies as st

from calclab.app.compose import lab_config
from calclab.app.studies import register
from calclab.app.sweep.composer import Composer
from calclab.app.sweep.pattern import Pattern
from calclab.schema import catalogue

FILES = {
    "config": """
        defaults: [_self_, part: small, store/inner: near]
        lr: 0.1
        seed: 0
        claims: []
        whole: null
        copy: ${lr}
        again: ${copy}
        list: [1, "${lr}", {deep: "${nested.rate}"}]
        nested: {rate: 2.0, name: n, at: [1.0, 2.0], rows: [[1], [2, 3]], none: null, here: "${..lr}"}
        mirror: ${nested}
        told: "lr is ${lr}"
        escaped: '\\${lr}'
        odd: {1: one, two: 2, "3": "${nested.at}"}
    """,
    "part/small": "{size: 1, twice: '${part.size}', sub: {a: 1, b: [x, y]}}",
    "part/large": "{size: 100, lr: '${lr}', sub: {c: '${part.size}'}}",
    "store/inner/near": "{path: /tmp/near, tag: '${seed}'}",
    "store/inner/far": "{path: /far, tag: null}",
    "only/groups/one": "{v: 1}",
}
PLAIN = [  # the same files without what needs OmegaConf: every job is then filled in the quick way
    line for line in FILES["config"].splitlines() if not any(word in line for word in ("told", "escaped", "nested: "))
]
SCALARS = [
    "0",
    "-3",
    "1e-3",
    "2.50",
    "true",
    "null",
    "word",
    "'a b'",
    "'1'",
    "''",
    "nan",
    "inf",
    "x.y",
    "1_000",
    "/a/b",
]
VALUES = [*SCALARS, "[]", "[1,2]", "[[1,2],[a,null]]", "'${seed}'", "'pre ${seed}'", "???", "{p:1}", "[{q:2}]"]
KEYS = ["lr", "seed", "whole", "copy", "nested.rate", "nested.at", "nested.rows", "nested.name", "nested.none"]
KEYS += ["part.size", "part.sub.a", "part.sub", "store.inner.tag", "list", "nested.at.0", "nested", "odd.two", "claims"]
OTHERS = ["part=large", "part=small", "store/inner=far", "~nested.name", "~part", "+only/groups=one", "~nested.none"]
ADDED = ["+new", "++new", "++lr", "+nested.extra", "++nested.at", "+new.deep", "++part.sub"]


@pytest.fixture(scope="module", params=["all", "lab_config"])
def compare(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    folder = tmp_path_factory.mktemp("conf")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if request.param == "lab_config" and name == "config":
            text = (
                "\n".join(PLAIN) + "\n        nested: {rate: 2.0, name: n, at: [1.0, 2.0], rows: [[1]], none: null}\n"
            )
        (folder / f"{name}.yaml").write_text("\n".join(line.removeprefix(" " * 8) for line in text.splitlines()))
    with initialize_config_dir(str(folder), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
    return comparer(loader)


def comparer(loader: ConfigLoader) -> Callable[..., None]:
    """Compares the jobs of one sweep, made in order by one composer, with what Hydra composes for each."""
    config = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)

    def compare(*jobs: list[str]) -> None:
        composer = Composer(loader, config)
        for number, overrides in enumerate(jobs):
            try:
                composed = loader.load_sweep_config(config, overrides)
                choices = dict(composed.hydra.runtime.choices)
                del composed._content["hydra"]  # type: ignore[union-attr]
                expected = lab_config(composed)
            except Exception as error:
                with pytest.raises(type(error)):
                    composer.ticket(number, overrides, Path())
                continue
            ticket = composer.ticket(number, overrides, Path())
            assert text(ticket.config) == text(expected), overrides
            assert ticket.choices == choices

    return compare


def text(config: Any) -> str:
    """Values, types and the order of keys."""
    return json.dumps(config, default=repr)


words = st.one_of(
    st.builds("{}={}".format, st.sampled_from(KEYS), st.sampled_from(VALUES)),
    st.builds("{}={}".format, st.sampled_from(ADDED), st.sampled_from(VALUES)),
    st.sampled_from(OTHERS),
)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(st.lists(words, min_size=1, max_size=4, unique_by=lambda word: word.partition("=")[0]), st.data())
def test_jobs_of_a_sweep_are_as_hydra_composes_them(
    compare: Callable[..., None], first: list[str], data: st.DataObject
) -> None:
    """Two jobs of the kind of the first: the same words with other values."""
    jobs = [first]
    for _ in range(2):
        other = [data.draw(st.sampled_from(VALUES)) if word.partition("=")[0] in KEYS + ADDED else "" for word in first]
        jobs.append([f"{w.partition('=')[0]}={v}" if v else w for w, v in zip(first, other, strict=True)])
    compare(*jobs)


@pytest.mark.minutes
@pytest.mark.parametrize("key", KEYS)
def test_every_value_after_every_other(compare: Callable[..., None], key: str) -> None:
    compare(*([f"{key}={value}"] for value in [*VALUES, *reversed(SCALARS)]))


def test_dicts_are_merged_with_the_configuration_and_not_with_the_job_before(compare: Callable[..., None]) -> None:
    compare(["nested={a:1}"], ["nested={b:2}"], ["lr=1", "nested={a:1}"], ["lr=2", "nested={b:2}"])


def test_a_deleted_key_stays_deleted(compare: Callable[..., None]) -> None:
    compare(["lr=1", "~seed"], ["lr=2", "~seed"], ["seed=1", "~seed"], ["seed=2", "~seed"], ["+seed=1"])


def test_keys_within_each_other(compare: Callable[..., None]) -> None:
    compare(*(["nested=null", f"+nested.rate={rate}"] for rate in (1, 2)))
    compare(*([f"+new.deep={k}", f"++new={k}"] for k in (1, 2)))
    compare(*([f"nested.rate={k}", "~nested.name", f"lr={k}"] for k in (1, 2)))


def test_a_group_of_groups_is_a_group(compare: Callable[..., None]) -> None:
    compare(["+only=groups/one", "lr=1"], ["+only=groups/one", "lr=2"])


def test_the_lab_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Topics and subjects as they are swept, without asking OmegaConf a second time."""
    register()
    slow: list[object] = []
    monkeypatch.setattr(
        "calclab.app.sweep.pattern.lab_config", lambda config: slow.append(config) or lab_config(config)
    )
    with initialize_config_dir(str(catalogue.home("conf")), version_base="1.3"):
        compare = comparer(GlobalHydra.instance().config_loader())
        pairs = [(lr, steps) for lr in ("0.1", "1e-3") for steps in (1, 2)]
        compare(*(["topic=descent", "function=booth", f"lr={lr}", f"steps={steps}"] for lr, steps in pairs))
        compare(*(["topic=hessian", f"function.at={at}", "seed=3"] for at in ("[1,2]", "[0.5,-1]", "null")))
        compare(*(["topic=descent", "network=mlp", f"data.rows={rows}", f"lr={rows}"] for rows in (10, 20)))
        rules = ([f"optimizer={name}", f"tol={tol}"] for name in ("gd", "adam") for tol in ("0", "1e-9"))
        compare(*(["topic=descent", *words] for words in rules))
    assert not slow


def test_a_reference_to_itself_is_told_as_by_omegaconf(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: ${b}\nb: ${a}\nc: 1\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        comparer(GlobalHydra.instance().config_loader())(["c=1"], ["c=2"], ["a=1"], ["a=2"])


def test_a_pattern_does_not_share_its_lists() -> None:
    from omegaconf import OmegaConf

    pattern = Pattern(OmegaConf.create({"a": 1, "list": [1], "hydra": {"runtime": {"choices": {}}}}))
    pattern.filled([("a", [5])])["list"].append(2)
    assert pattern.filled([("a", 7)]) == {"a": 7, "list": [1]}
