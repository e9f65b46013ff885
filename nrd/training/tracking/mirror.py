"""Writes runs' records into an MLflow store; doing it twice changes nothing."""

import importlib.util
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import Timeout

from nrd.layout import Layout
from nrd.spec import RunSpec, SpecError
from nrd.training.tracking import content
from nrd.training.tracking.pages import page, write_pages
from nrd.training.tracking.records import FINISHED, RUNNING, Record, digest, read_record
from nrd.training.tracking.store import (
    TrackingError,
    first_line,
    is_server,
    open_client,
    project_id,
    shown,
    store_lock,
    store_uri,
)
from nrd.training.tracking.views import experiment_tags

if TYPE_CHECKING:
    from mlflow.entities import Run

METRICS_PER_CALL, PARAMETERS_PER_CALL = 1000, 100  # MLflow's limits
PREFETCH_FROM = 6  # so many runs are looked up by one search rather than one by one


@dataclass
class Summary:
    """What a pass over some runs did. ``failed`` says why, by run."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [
            (self.created, "new"),
            (self.updated, "updated"),
            (self.unchanged, "up to date"),
            (self.missing, "not trained yet"),
            (self.failed, "failed"),
        ]
        return ", ".join(f"{len(names)} {what}" for names, what in parts if names) or "no runs"


def sync(
    layout: Layout,
    runs: Mapping[str, RunSpec] | Iterable[str],
    uri: str | None = None,
    study: str | None = None,
    artifacts: bool = True,
) -> Summary:
    """Mirror runs into the store, as far as they are trained.

    Args:
        layout: Folders of the project.
        runs: Specs by name, or names alone.
        uri: The store; by default ``MLFLOW_TRACKING_URI`` or the project's own database.
        study: The study in whose name this is done; it joins the runs' tag ``studies``, and its report is told where
            MLflow shows them.
        artifacts: Whether to log the small files of finished runs, too.

    Returns:
        Which runs were new, updated, up to date, not trained yet, or damaged.

    Raises:
        TrackingError: the store cannot be used or does not answer.
    """
    specs = dict(runs) if isinstance(runs, Mapping) else dict.fromkeys(runs)
    summary = Summary()
    mirror = Mirror(layout, store_uri(layout, uri), artifacts, prefetch=len(specs) >= PREFETCH_FROM)
    for name, spec in specs.items():
        try:
            getattr(summary, mirror.write(name, spec, study)).append(name)
        except SpecError as error:
            summary.failed[name] = first_line(error)
    if study:
        write_pages(layout, study, mirror.pages, mirror.uri)
    return summary


class Mirror:
    """An open store."""

    def __init__(self, layout: Layout, uri: str, artifacts: bool = True, prefetch: bool = False) -> None:
        self.layout, self.uri, self.artifacts, self.prefetch = layout, uri, artifacts, prefetch
        self.project = project_id(layout)
        self.lock = store_lock(layout, uri)
        self.client = open_client(layout, uri)
        self.pages: dict[str, str] = {}  # of the runs seen, by name
        self._experiments: dict[str, str] = {}
        self._prefetched: dict[str, dict[str, list[Run]]] = {}  # by dataset and name

    def write(self, name: str, spec: RunSpec | None = None, study: str | None = None) -> str:
        """Mirror one run and return ``created``, ``updated``, ``unchanged``, or ``missing`` if it has no history.

        Raises:
            SpecError: the run's files are damaged.
            TrackingError: the store does not answer, or refuses.
        """
        record = read_record(self.layout, name, spec)
        if record is None:
            return "missing"
        if self.prefetch:
            known, surplus = self._choose(self._look_ahead(record), record)
            if known is not None and not surplus and not RunWriter(self, record, study, known).pending():
                self.pages[name] = page(known.info.experiment_id, known.info.run_id)
                return "unchanged"
        with self._answering(), self.lock:
            record = read_record(self.layout, name, record.spec)  # others may have mirrored a newer state by now
            if record is None:
                return "missing"
            found, surplus = self._choose(self._search(record.spec.dataset.name, name), record)
            for run in surplus:
                self.client.delete_run(run.info.run_id)
            writer = RunWriter(self, record, study, found)
            done = writer.write()
            self.pages[name] = page(writer.remote.info.experiment_id, writer.run_id)
            return done

    def _look_ahead(self, record: Record) -> "list[Run]":
        """Return the MLflow runs of a name from one search over its whole experiment."""
        dataset = record.spec.dataset.name
        if dataset not in self._prefetched:
            by_name = self._prefetched[dataset] = {}
            with self._answering():
                for run in self._search(dataset):
                    by_name.setdefault(run.data.tags.get(content.RUN_TAG), []).append(run)
        return self._prefetched[dataset].get(record.name, [])

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except Timeout:
            raise TrackingError(f"{shown(self.uri)}: another process keeps the store's lock") from None
        except SpecError:
            raise
        except Exception as error:  # MLflow, SQLAlchemy, requests and artifact stores each raise their own
            raise TrackingError(f"{shown(self.uri)}: {first_line(error, self.uri)}") from error

    def _search(self, dataset: str, name: str | None = None) -> "list[Run]":
        condition = f"tags.`{content.RUN_TAG}` = '{name}'" if name else ""
        found, token = [], None
        while True:
            page = self.client.search_runs([self.experiment(dataset)], condition, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _choose(self, found: "list[Run]", record: Record) -> "tuple[Run | None, list[Run]]":
        """Return the MLflow run of this training, and those of ours that have become needless.

        Its content is the same, or it was written from this project folder: on a shared store somebody else's
        training of the same run stays what it is, beside ours. Restoring an experiment brings deleted runs back.
        """
        ours = [run for run in found if run.data.tags.get(content.PROJECT_TAG) == self.project]
        chosen = ours[0] if ours else None
        if record.status == FINISHED:
            mark = digest(record.history)
            marks = ((run, content.read_mark(run.data.tags.get(content.MIRRORED_TAG))) for run in found)
            chosen = next((run for run, marked in marks if marked.get("history") == mark), chosen)
        return chosen, [run for run in ours if run is not chosen]

    def experiment(self, dataset: str) -> str:
        """Return the identifier of a dataset's experiment, which is created or brought back where needed."""
        if dataset not in self._experiments:
            self._experiments[dataset] = self._open_experiment(dataset)
        return self._experiments[dataset]

    def _open_experiment(self, dataset: str) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self.client.get_experiment_by_name(dataset)
        if experiment is None:
            # A server knows where artifacts go; a bare database would put them into the working folder.
            folder = None if is_server(self.uri) else self.layout.root.resolve() / "mlartifacts" / dataset
            try:
                return self.client.create_experiment(dataset, folder and folder.as_uri(), tags=experiment_tags())
            except MlflowException:  # somebody else created it just now
                experiment = self.client.get_experiment_by_name(dataset)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage == "deleted":
            self.client.restore_experiment(experiment.experiment_id)
        for key, value in experiment_tags().items():
            if key not in experiment.tags:
                self.client.set_experiment_tag(experiment.experiment_id, key, value)
        return experiment.experiment_id


class RunWriter:
    """Brings one MLflow run up to its record."""

    def __init__(self, mirror: Mirror, record: Record, study: str | None, remote: "Run | None") -> None:
        self.mirror, self.client, self.record, self.remote = mirror, mirror.client, record, remote
        self.study = study or record.machine.get("study")
        self.files = [record.folder / name for name in content.ARTIFACTS if (record.folder / name).is_file()]
        self.predictions = record.folder / "predictions.npz"
        self.marked = content.read_mark(remote.data.tags.get(content.MIRRORED_TAG)) if remote else {}
        self.changed = False

    def pending(self) -> bool:
        """Whether anything is to be written, as far as the MLflow run at hand tells."""
        record, data = self.record, self.remote.data
        settled = record.status == FINISHED and data.tags.get(content.MIRRORED_TAG) == self._mark()
        return not settled or self.remote.info.status != FINISHED or bool(self._new_tags() or self._new_parameters())

    def write(self) -> str:
        """Write what is missing and return ``created``, ``updated`` or ``unchanged``."""
        inherited = {}
        if self.remote is not None and self._is_obsolete():
            inherited = self._discard()
        created = self.remote is None
        if created:
            self._create(inherited)
        self._log(parameters=self._new_parameters(), tags=self._new_tags())
        self._log_epochs()
        if self.record.status == FINISHED:
            self._finish()
        self._set_status()
        return "created" if created else "updated" if self.changed else "unchanged"

    @property
    def run_id(self) -> str:
        """MLflow's name of the run."""
        return self.remote.info.run_id

    def _is_obsolete(self) -> bool:
        """Whether the MLflow run shows another training than the folder does: metrics cannot be taken back.

        So it is after a run was trained again, was evaluated again with another result, or was killed and
        continued to slightly other numbers (on a GPU without deterministic kernels).
        """
        record, marked = self.record, self.marked
        if record.status != FINISHED:
            return bool(marked)
        if not marked:
            return self._logged_epoch() > 0 and not self._shows_this_history()
        known = self.remote.data.metrics
        evaluated = content.evaluation(record)
        return marked.get("history") != digest(record.history) or any(
            known.get(key, value) != value for key, value in evaluated.items()
        )

    def _shows_this_history(self) -> bool:
        logged = {m.step: m.value for m in self.client.get_metric_history(self.run_id, "epoch/loss")}
        rows = {int(row[content.EPOCH]): row["loss"] for row in self.record.rows if "loss" in row}
        return all(step in rows and math.isclose(value, rows[step], rel_tol=1e-9) for step, value in logged.items())

    def _discard(self) -> dict[str, str]:
        """Move the MLflow run to its trash and return the tags and the note that people gave it."""
        old = self.remote.data.tags
        self.client.delete_run(self.run_id)
        self.remote, self.marked = None, {}
        ours = {*content.tags(self.record, ""), content.MIRRORED_TAG, content.FAILURE_TAG, content.PROJECT_TAG}
        return {
            key: value
            for key, value in old.items()
            if key not in ours and (not key.startswith("mlflow.") or key == content.NOTE_TAG)
        }

    def _create(self, inherited: dict[str, str]) -> None:
        record = self.record
        tags = {content.NOTE_TAG: content.description(record.spec), **inherited}
        self.remote = self.client.create_run(
            self.mirror.experiment(record.spec.dataset.name),
            start_time=_milliseconds(record.started),
            tags={**tags, **content.tags(record, self.mirror.project)},
            run_name=content.title(record.spec),
        )
        self.changed = True

    def _new_parameters(self) -> dict[str, str]:
        """MLflow refuses other values for a parameter, so only absent ones are logged."""
        known = self.remote.data.params
        return {key: value for key, value in content.parameters(self.record.spec).items() if key not in known}

    def _new_tags(self) -> dict[str, str]:
        known = self.remote.data.tags
        wanted = content.tags(self.record, self.mirror.project)
        if content.PROJECT_TAG in known:
            wanted.pop(content.PROJECT_TAG)
        if studies := content.join_studies(known.get(content.STUDIES_TAG), self.study):
            wanted[content.STUDIES_TAG] = studies
        return {key: value for key, value in wanted.items() if known.get(key) != value}

    def _logged_epoch(self) -> int:
        return int(self.remote.data.metrics.get(content.EPOCHS, 0))

    def _log_epochs(self) -> None:
        """Log the epochs after the last one logged; an epoch's metrics go into one call, hence one transaction."""
        rows, done = self.record.rows, self._logged_epoch()
        times = self.record.epoch_times(len(rows), done)
        batch: list[tuple[str, float, int, int]] = []
        for row, time in zip(rows, times, strict=True):
            if (step := int(row.get(content.EPOCH, 0))) <= done:
                continue
            values = content.epoch_metrics(row)
            if len(batch) + len(values) > METRICS_PER_CALL:
                self._log(metrics=batch)
                batch = []
            batch += [(key, value, _milliseconds(time), step) for key, value in values.items()]
        self._log(metrics=batch)

    def _finish(self) -> None:
        """Log final numbers and small files once; the mark comes last, so that a broken attempt is repeated."""
        record, known = self.record, self.remote.data.metrics
        if self.remote.data.tags.get(content.MIRRORED_TAG) == self._mark():
            return
        time, step = _milliseconds(record.ended), 0  # at step 0 the interface draws bars, not curves of one point
        final = content.final_metrics(record)
        new = [(key, value, time, step) for key, value in final.items() if key not in known]
        if self.mirror.artifacts:
            for file in self.files:
                self.client.log_artifact(self.run_id, str(file))
            if self._has_diagram():
                self._log_diagram()
        self._log(metrics=new, tags={content.MIRRORED_TAG: self._mark()})

    def _has_diagram(self) -> bool:
        """Whether a reliability diagram is to be drawn: once the run is evaluated, where matplotlib is installed."""
        evaluated = self.record.metrics is not None and self.predictions.is_file()
        return evaluated and importlib.util.find_spec("matplotlib") is not None

    def _log_diagram(self) -> None:
        from nrd.evaluation.diagram import write_diagram

        with tempfile.TemporaryDirectory() as folder:
            try:
                picture = write_diagram(
                    self.predictions, content.title(self.record.spec), Path(folder, content.DIAGRAM)
                )
            except SpecError:  # a run with damaged predictions still shows its curves; the report names it
                return
            self.client.log_artifact(self.run_id, str(picture))

    def _mark(self) -> str:
        artifacts = len(self.files) + self._has_diagram() if self.mirror.artifacts else 0
        return content.mark(self.record, artifacts, self.marked)

    def _set_status(self) -> None:
        record, known = self.record, self.remote.data.tags
        if content.FAILURE_TAG in known and record.failure is None:
            self.client.delete_tag(self.run_id, content.FAILURE_TAG)
            self.changed = True
        if self.remote.info.status == record.status:
            return
        if record.status == RUNNING:
            self.client.update_run(self.run_id, status=RUNNING)
        else:
            self.client.set_terminated(self.run_id, record.status, _milliseconds(record.ended))
        self.changed = True

    def _log(
        self,
        metrics: Iterable[tuple[str, float, int, int]] = (),
        parameters: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(key, value, time, step) for key, value, time, step in metrics]
        params = [Param(key, value) for key, value in (parameters or {}).items()]
        tags = [RunTag(key, value) for key, value in (tags or {}).items()]
        while len(params) > PARAMETERS_PER_CALL:
            self.client.log_batch(self.run_id, params=params[:PARAMETERS_PER_CALL], synchronous=True)
            params = params[PARAMETERS_PER_CALL:]
        if metrics or params or tags:
            self.client.log_batch(self.run_id, metrics, params, tags, synchronous=True)
            self.changed = True


def _milliseconds(seconds: float) -> int:
    return int(1000 * seconds)
