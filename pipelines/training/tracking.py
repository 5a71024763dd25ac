"""Tells MLflow what was trained, gated and released. Called from the outbox, so every function may be repeated: a fact that MLflow
already has adds nothing.

MLflow is a view here, never the authority: tags carry the control database's ids and hashes. A server that does not answer is
`Unavailable` within seconds, and the message waits in the outbox.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pipelines.config import Settings
from pipelines.errors import NotFound, Unavailable
from pipelines.training import prompt_versions, usage
from pipelines.training.worker import TrainingFacts, facts_of_adapter

_LIMITS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "DO_NOT_TRACK": "1",
}
_PROBE_SECONDS = 3.0
_DIGEST = 36
"""Characters that MLflow keeps of a dataset's digest."""


def publish(settings: Settings, payload: Mapping[str, Any]) -> None:
    """`mlflow.training`: one run per adapter with its curves, cost, dataset and what it took of its machine; its folder as artifacts; and a
    version of the model `<domain>-adapter` that names its ancestry.

    Payload: domain, adapter_id, step_hash, version_id, path (below the artifact store), sha256; and, since they are kept, training_set_id,
    content and documents (of the dataset version), cost (`registry.costs.Cost`). Idempotent by the tag `ratchet.step_hash`.
    """
    folder = settings.artifacts / payload["path"]
    if not (folder / "facts.json").is_file():
        what = f"the folder of {payload['adapter_id']} is gone"
        raise NotFound(what, where=str(folder), todo="`ratchet doctor` tells what can be rebuilt")
    facts = facts_of_adapter(folder)
    with _client(settings) as client:
        experiment = _experiment(client, payload["domain"])
        run = _run(client, experiment, payload["step_hash"])
        if run is None:
            run = client.create_run(experiment, run_name=payload["adapter_id"], tags=_tags(payload, facts))
        run_id = run.info.run_id
        if run.data.tags.get("ratchet.complete") != "yes":
            _log_training(client, run_id, facts)
            _log_machine(client, run_id, payload.get("cost") or {}, usage.read(folder))
            _log_dataset(client, run_id, payload, facts)
            client.log_artifacts(run_id, str(folder), "adapter")
        _register(client, payload, facts, run_id, run.info.artifact_uri)
        if run.data.tags.get("ratchet.complete") != "yes":
            client.set_terminated(run_id, "FINISHED")
            client.set_tag(run_id, "ratchet.complete", "yes")


def publish_gate(settings: Settings, payload: Mapping[str, Any]) -> None:
    """`mlflow.gate`: a run per gated candidate with its metrics and its report; nested under the adapter's run where there is one.

    Payload: domain, candidate_id, step_hash (of the gate), adapter_step_hash (or None), verdict, metrics {name: value}, path (of the
    report's folder, below the artifact store).
    """
    folder = settings.artifacts / payload["path"]
    with _client(settings) as client:
        experiment = _experiment(client, payload["domain"])
        run = _run(client, experiment, payload["step_hash"])
        if run is None:
            tags = {
                "ratchet.step_hash": payload["step_hash"],
                "ratchet.candidate": payload["candidate_id"],
                "ratchet.verdict": payload["verdict"],
            }
            adapter = payload.get("adapter_step_hash")
            parent = _run(client, experiment, adapter) if adapter else None
            if parent is not None:
                tags["mlflow.parentRunId"] = parent.info.run_id
            run = client.create_run(experiment, run_name=f"gate {payload['candidate_id']}", tags=tags)
        if run.data.tags.get("ratchet.complete") == "yes":
            return
        for name, value in payload["metrics"].items():
            # A metric that is missing or NaN made the verdict; MLflow stores numbers only.
            if isinstance(value, int | float) and value == value:
                client.log_metric(run.info.run_id, name, float(value), step=0, timestamp=run.info.start_time)
        if folder.is_dir():
            client.log_artifacts(run.info.run_id, str(folder), "gate")
        client.set_terminated(run.info.run_id, "FINISHED")
        client.set_tag(run.info.run_id, "ratchet.complete", "yes")


def publish_release(settings: Settings, payload: Mapping[str, Any]) -> None:
    """`mlflow.release`: the alias `live` moves to the versions of the release's adapter and of its prompt, or goes where there is none.

    Payload: domain, candidate_id, adapter_step_hash (or None); and, since prompts are registered, prompt and prompt_sha256.
    """
    name, wanted = f"{payload['domain']}-adapter", payload.get("adapter_step_hash")
    with _client(settings) as client:
        found = _versions(client, name, wanted) if wanted else []
        if wanted and not found:
            raise Unavailable("MLflow does not hold this adapter yet", where=name, todo="`ratchet doctor` publishes what is missing")
        if found:
            client.set_registered_model_alias(name, "live", found[0].version)
            client.set_model_version_tag(name, found[0].version, "ratchet.release", payload["candidate_id"])
        elif client.search_registered_models(filter_string=f"name = '{name}'"):
            client.delete_registered_model_alias(name, "live")
        if payload.get("prompt"):
            prompt_versions.move_live(client, _experiment(client, payload["domain"]), settings, payload)


def publish_prompt(settings: Settings, payload: Mapping[str, Any]) -> None:
    """`mlflow.prompt`: an assembled candidate's template as a version of its prompt. Payload: `prompt_versions.message`."""
    with _client(settings) as client:
        prompt_versions.register(client, _experiment(client, payload["domain"]), payload)


HANDLERS: dict[str, Callable[[Settings, dict[str, Any]], None]] = {
    "mlflow.training": publish,
    "mlflow.gate": publish_gate,
    "mlflow.release": publish_release,
    "mlflow.prompt": publish_prompt,
}
"""By the kind of outbox message."""


@contextmanager
def _client(settings: Settings) -> Iterator[Any]:
    """A client of a server that has just answered. Everything MLflow raises inside becomes Unavailable."""
    url = settings.url("mlflow")
    unreachable = {"where": url, "todo": "`ratchet status` shows what runs; the message stays in the outbox"}
    try:
        # Asked first and plainly: MLflow's own client is slow to give up, and slow to import.
        with urllib.request.urlopen(f"{url}/health", timeout=_PROBE_SECONDS):  # noqa: S310 - http on loopback
            pass
    except OSError as error:
        raise Unavailable(f"MLflow does not answer: {error}", **unreachable) from None
    os.environ.update(_LIMITS)
    import requests
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        yield MlflowClient(tracking_uri=url, registry_uri=url)
    except (MlflowException, requests.RequestException) as error:
        reason = " ".join(str(error).split())[:300]
        raise Unavailable(f"MLflow refused or broke off: {reason}", **unreachable) from error


def _experiment(client: Any, domain: str) -> str:
    known = client.get_experiment_by_name(domain)
    return str(known.experiment_id if known is not None else client.create_experiment(domain))


def _run(client: Any, experiment: str, step_hash: str) -> Any:
    found = client.search_runs([experiment], filter_string=f"tags.`ratchet.step_hash` = '{step_hash}'", max_results=1)
    return found[0] if found else None


def _tags(payload: Mapping[str, Any], facts: TrainingFacts) -> dict[str, str]:
    return {
        "ratchet.step_hash": payload["step_hash"],
        "ratchet.adapter": payload["adapter_id"],
        "ratchet.training_set": payload.get("training_set_id", ""),
        "ratchet.prompt": facts.prompt,
        "ratchet.adapter_sha256": payload["sha256"],
        "ratchet.dataset_version": payload["version_id"],
        "ratchet.base": facts.base,
        "ratchet.base_sha256": facts.base_sha256,
        "ratchet.prompt_sha256": facts.prompt_sha256,
        "ratchet.training_set_sha256": facts.training_set_sha256,
    }


def _log_training(client: Any, run_id: str, facts: TrainingFacts) -> None:
    from mlflow.entities import Metric, Param

    settings = facts.recipe.model_dump(mode="json") | {"base": facts.base, "prompt": facts.prompt, "ranks": facts.ranks}
    params = [Param(name, str(value)) for name, value in settings.items()]
    totals = {
        "final_loss": facts.loss,
        "seconds": facts.seconds,
        "peak_mb": facts.peak_mb,
        "trained_parameters": facts.trained_parameters,
        "examples": facts.examples,
    }
    # Timestamp 0 and the step's own number: a repeated log writes the same points, which MLflow keeps once.
    metrics = [Metric(name, float(value), 0, 0) for name, value in totals.items()]
    for row in facts.history:
        metrics += [Metric(name, float(value), 0, int(row["step"])) for name, value in row.items() if name != "step" and value == value]
    client.log_batch(run_id, params=params)
    _log_metrics(client, run_id, metrics)


def _log_machine(client: Any, run_id: str, cost: Mapping[str, Any], samples: list[usage.Sample]) -> None:
    """Cost as metrics, its labels as tags; samples below `system/`, where MLflow's pages look for them. Each point at its own time: a
    repeated log writes it once."""
    from mlflow.entities import Metric

    names = ("money", "gpu_hours", "cpu_hours", "energy_kwh")
    metrics = [Metric(f"cost.{name}", float(cost[name]), 0, 0) for name in names if cost.get(name) is not None]
    for number, sample in enumerate(samples):
        at = int(sample["at"] * 1000)
        metrics += [Metric(f"system/{name}", value, at, number) for name, value in sample.items() if name not in ("began", "at")]
    _log_metrics(client, run_id, metrics)
    for name in ("currency", "profile", "why"):
        if cost.get(name):
            client.set_tag(run_id, f"ratchet.cost.{name}", cost[name])


def _log_dataset(client: Any, run_id: str, payload: Mapping[str, Any], facts: TrainingFacts) -> None:
    """The dataset version as the run's input. MLflow knows it again by name and digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    told = {"documents": payload.get("documents"), "examples": facts.examples, "training_set": payload.get("training_set_id")}
    digest = str(payload.get("content") or payload["version_id"])[:_DIGEST]
    source = json.dumps({"iceberg_tag": payload["version_id"], "domain": payload["domain"]})
    dataset = Dataset(payload["version_id"], digest, "ratchet", source, None, json.dumps(told))
    client.log_inputs(run_id, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def _log_metrics(client: Any, run_id: str, metrics: list[Any]) -> None:
    for start in range(0, len(metrics), 1000):  # MLflow's limit for one request
        client.log_batch(run_id, metrics=metrics[start : start + 1000])


def _register(client: Any, payload: Mapping[str, Any], facts: TrainingFacts, run_id: str, artifact_uri: str) -> None:
    name = f"{payload['domain']}-adapter"
    if not client.search_registered_models(filter_string=f"name = '{name}'"):
        client.create_registered_model(name, description=f"LoRA adapters of the domain {payload['domain']}")
    if not _versions(client, name, payload["step_hash"]):
        client.create_model_version(name, f"{artifact_uri}/adapter", run_id=run_id, tags=_tags(payload, facts))


def _versions(client: Any, name: str, step_hash: str) -> list[Any]:
    found = client.search_model_versions(f"name = '{name}'")
    return [version for version in found if version.tags.get("ratchet.step_hash") == step_hash]
