"""Hyperparameter search: Optuna asks and is told, any launcher computes, a database remembers.

The values to search come from Hydra's own grammar (``lr=interval(1e-4,1e-1)``). Trial k is suggested with a seed of
its own, so that a search that was cut short and goes on suggests what it would have without the cut.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from calclab.app.sweep.engine import guarded
from calclab.app.sweep.ticket import BUSY, announce, keep, row_of
from calclab.app.sweep.values import visited
from calclab.archive.folder import replace_file
from calclab.archive.run import read_run
from calclab.errors import UserError
from calclab.text import warn

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

SAMPLERS = ("tpe", "random", "qmc", "grid")
DIRECTIONS = ("minimize", "maximize")
RESULTS = ("completed", "converged")


class OptunaSweeper(Sweeper):
    """``n_trials`` trials in all, however often the command is given; ``n_jobs`` of them at a time."""

    def __init__(
        self,
        *,
        n_trials: int,
        n_jobs: int,
        direction: str,
        sampler: str,
        seed: int,
        storage: str | None,
        study_name: str | None,
    ) -> None:
        self.n_trials, self.n_jobs, self.seed = n_trials, n_jobs, seed
        self.direction, self.sampler, self.storage, self.study_name = direction, sampler, storage, study_name

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        for key, value, allowed in (("direction", self.direction, DIRECTIONS), ("sampler", self.sampler, SAMPLERS)):
            if value not in allowed:
                raise UserError(f"hydra.sweeper.{key}={value}: there are {', '.join(allowed)}.")
        for key, number in (("n_trials", self.n_trials), ("n_jobs", self.n_jobs)):
            if not isinstance(number, int) or number < 1:
                raise UserError(f"hydra.sweeper.{key}={number}: it is a whole number >= 1.")
        self.context, self.settings = hydra_context, config
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.engine = guarded(launcher, config)
        self.place = Path(config.hydra.sweep.dir)

    def sweep(self, arguments: list[str]) -> None:
        import optuna

        parsed = OverridesParser.create(config_loader=self.context.config_loader).parse_overrides(arguments)
        space = {o.get_key_element(): distribution(o) for o in parsed if o.is_sweep_override()}
        fixed = [f"{o.get_key_element()}={o.get_value_element_as_str()}" for o in parsed if not o.is_sweep_override()]
        if not space:
            raise UserError("nothing to search: type for example 'lr=interval(1e-4,1e-1)' or network=mlp,cnn.")
        self.place.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.settings, self.place / "multirun.yaml")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        name = self.study_name or f"{self.place.name}-{self.direction}"
        locks = Path(self.settings.outputs) / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(locks / f"search-{name[-80:]}.lock", timeout=0):
                study = optuna.create_study(
                    storage=self.storage,
                    study_name=name,
                    load_if_exists=True,
                    direction=self.direction,  # type: ignore[arg-type]
                )
                try:
                    self.search(study, space, fixed)
                finally:
                    self.engine.close()
                    self.report(study)
                    self.draw(study)
        except Timeout:
            raise UserError(f"another process is at the search {name}. Wait for it, or end it.") from None

    def search(self, study: Study, space: Mapping[str, BaseDistribution], fixed: Sequence[str]) -> None:
        """Ask, compute and tell until ``n_trials`` trials have a result."""
        from optuna import samplers
        from optuna.trial import TrialState

        announce(self.place, self.n_trials)
        number = 0
        for trial in study.get_trials(deepcopy=False):
            if trial.state is TrialState.RUNNING:  # of a search that was killed: its run goes on where it stopped
                study.tell(trial.number, state=TrialState.FAIL)
                study.enqueue_trial(trial.params)
            elif trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                keep(trial.user_attrs["row"] | {"job": number}, self.place)
                number += 1
        while number < self.n_trials:
            batch = []
            for k in range(min(self.n_jobs, self.n_trials - number)):
                study.sampler = self.made(space, self.seed + number + k)
                if self.sampler == "grid" and study.sampler.is_exhausted(study):  # type: ignore[attr-defined]
                    break
                batch.append(study.ask(dict(space)))
            if not batch:
                return
            study.sampler = samplers.RandomSampler()  # a grid, once full, would stop a loop that is not Optuna's
            words = [[*fixed, *(f"{key}={text(value)}" for key, value in trial.params.items())] for trial in batch]
            self.engine.launch(words, initial_job_idx=number)
            for k, asked in enumerate(batch):
                tell(study, asked, row_of(self.place, number + k))
            number += len(batch)
            if self.settings.fail_fast and study.trials[-1].state is TrialState.FAIL:
                return

    def made(self, space: Mapping[str, BaseDistribution], seed: int) -> BaseSampler:
        from optuna import samplers

        match self.sampler:
            case "random":
                return samplers.RandomSampler(seed)
            case "qmc":
                return samplers.QMCSampler(seed=self.seed, warn_independent_sampling=False)
            case "grid":
                return samplers.GridSampler({key: points(key, value) for key, value in space.items()}, seed=self.seed)
        return samplers.TPESampler(seed=seed, constant_liar=self.n_jobs > 1)

    def report(self, study: Study) -> None:
        """optuna.json: the study, its trials, and the best of them."""
        from optuna.trial import TrialState

        trials: list[dict[str, Any]] = [
            {"number": t.number, "state": t.state.name.lower(), "value": t.value, "values": t.params}
            | {"overrides": assigned(t.params), "folder": t.user_attrs.get("row", {}).get("folder", "")}
            for t in study.get_trials(deepcopy=False)
        ]
        done = [trial for trial in trials if trial["state"] == TrialState.COMPLETE.name.lower()]
        sign = 1 if self.direction == "minimize" else -1
        best = min(done, key=lambda trial: sign * float(trial["value"]), default=None)
        record = {"study": study.study_name, "direction": self.direction, "storage": self.storage}
        (self.place / "optuna.json").write_text(json.dumps({**record, "best": best, "trials": trials}, indent=2) + "\n")

    def draw(self, study: Study) -> None:
        """Optuna's own pictures; what cannot be drawn must not take the search with it, and is a warning."""
        from calclab.figure.draw.search import draw_search

        rows = (trial.user_attrs.get("row", {}) for trial in study.get_trials(deepcopy=False))
        folders = (Path(row["folder"]) for row in rows if row.get("folder"))
        objectives = (read_run(folder).objective for folder in folders)
        measure = next((found[0] for found in objectives if found), "objective")
        try:
            for name, content in draw_search(study, measure.replace("_", " ")):
                replace_file(self.place / f"{name}.png", content)
        except Exception as error:
            warn(f"the search could not be drawn: {type(error).__name__}: {error}")


def tell(study: Study, trial: Trial, row: Mapping[str, Any] | None) -> None:
    """Finite: complete; diverged: pruned; anything else: failed; an interrupted trial is left as it is."""
    from optuna.trial import TrialState

    if row is None or row["status"] in ("interrupted", BUSY):
        return
    trial.set_user_attr("row", dict(row))
    value = row.get("objective")
    if row["status"] in RESULTS and value is not None and math.isfinite(value):
        study.tell(trial, value)
    else:
        study.tell(trial, state=TrialState.FAIL if row["status"] == "failed" else TrialState.PRUNED)


def distribution(override: Override) -> BaseDistribution:
    """What Optuna searches, from what Hydra's grammar says: interval, range, choice or glob, tagged log or not."""
    from optuna import distributions

    value = override.value()
    log = "log" in getattr(value, "tags", ())
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        assert low is not None
        assert high is not None
        if not low < high or (log and low <= 0):
            raise UserError(f"{override.input_line}: the ends must rise" + (" and be > 0." if log else "."))
        if isinstance(low, int) and isinstance(high, int):
            return distributions.IntDistribution(low, high, log=log)
        return distributions.FloatDistribution(float(low), float(high), log=log)
    if isinstance(value, RangeSweep) and not value.shuffle:
        values = visited(override)
        if len(values) > 1 and all(isinstance(v, int) for v in values) and values[1] > values[0]:
            return distributions.IntDistribution(values[0], values[-1], step=values[1] - values[0])
    texts = visited(override) if isinstance(value, Glob) else list(override.sweep_string_iterator())
    return distributions.CategoricalDistribution(list(dict.fromkeys(map(str, texts))))


def points(key: str, given: BaseDistribution) -> list[Any]:
    """All values of a discrete distribution, for a grid."""
    from optuna import distributions

    if isinstance(given, distributions.CategoricalDistribution):
        return list(given.choices)
    if isinstance(given, distributions.IntDistribution) and not given.log:
        return list(range(given.low, given.high + 1, given.step))
    raise UserError(f"{key}: a grid has no place for an interval. List values ({key}=1,2,3), or sampler=tpe.")


def text(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def assigned(params: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={text(value)}" for key, value in params.items())
