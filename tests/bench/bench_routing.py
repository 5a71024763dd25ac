"""What a smaller base saves and costs on the gate's own cases: `python -m tests.bench.bench_routing [--json FILE] [--layers 12]`.

The sample's rule is delivered, an adapter trained on it, and every golden and held-out question asked through a real Triton of the
domain's engine and of the starter without an adapter. The domain's base is the starter made deeper: layers are put between its own whose
output is zero, so that it reads as the starter does and costs as many layers more; its adapter is one trained on the starter, moved to
the layers that were the starter's. Then the threshold is learned as `ratchet route` does, and the same questions are asked again one at a
time along `cascade.generate`, with and without the smaller base, the two taking turns on every question, for the time that a caller
waits. Real figures of a made-up base: what they say of other bases is the method, not the saving.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pipelines.config import PROJECT, DomainConfig, Ports, Settings, load_domain
from pipelines.evaluation.cases import GOLDENS, HELD_OUT, Asked
from pipelines.retrieval.index import Passage
from pipelines.serving.answer import LookUp, Parts, open_parts, shown
from pipelines.serving.routing import cascade, learn
from pipelines.serving.routing import small as smaller
from pipelines.serving_config import Routing
from pipelines.state.models import Candidate

STARTER = PROJECT / "models" / "starter"
HELD_SHARE, HELD_CASES = 0.5, 260
WAITED = 100
"""Questions that are asked again one at a time, drawn evenly."""
RECIPE = {"examples": 600, "steps": 60, "batch_sequences": 3, "checkpoint_every": 60}
"""A third of the sample's own: what is measured is the routing, and two cores train it in minutes."""


def main() -> int:
    """Print the table; write JSON where asked."""
    sys.path.insert(0, str(PROJECT / "tests"))
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", type=Path)
    options.add_argument("--layers", type=int, default=12, help="of the domain's base; the starter has 4")
    options.add_argument("--steps", type=int, default=RECIPE["steps"], help="of the adapter's training")
    options.add_argument("--tolerance", type=float, default=learn.TOLERANCE)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="routing-") as folder:
        facts = _measure(Path(folder), given.layers, given.steps, given.tolerance)
    _show(facts)
    if given.json is not None:
        given.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return 0


def _measure(folder: Path, layers: int, steps: int, tolerance: float) -> dict[str, Any]:
    from pipelines.state.database import migrate

    base = folder / "base"
    _deepen(base, layers)
    settings = _site(folder, steps)
    migrate(settings)
    domain = load_domain("regulatory", settings)
    began = time.monotonic()
    candidate = _candidate(settings, domain, folder, base, layers)
    trained = time.monotonic() - began
    routing = Routing(small=str(STARTER), threshold=0.95)
    with _triton(settings):
        small = smaller.prepare(settings, routing, domain.serving.engine)
        assert small is not None
        tried, missing = learn.observe(settings, domain, candidate, routing, small)
        found = learn.learn(tried, tolerance, learn.ALPHA, missing)
        # Where no threshold may be used, what it would be like is measured at the highest confidence all the same.
        at = found.threshold if found.threshold is not None else 0.99
        waits = asyncio.run(_waits(settings, domain, candidate, routing.model_copy(update={"threshold": at}), small))
    return {"layers": layers, "prepared_s": round(trained, 1), "waited_at": at, "waits": waits, **found.told()}


def _deepen(out: Path, layers: int) -> None:
    """The starter with layers between its own that add nothing."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    starter = AutoModelForCausalLM.from_pretrained(STARTER, local_files_only=True)
    config = starter.config.__class__.from_dict({**starter.config.to_dict(), "num_hidden_layers": layers})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict({key: value for key, value in starter.state_dict().items() if ".layers." not in key}, strict=False)
    kept = _places(layers, starter.config.num_hidden_layers)
    for place, layer in enumerate(model.model.layers):
        if place in kept:
            layer.load_state_dict(starter.model.layers[kept[place]].state_dict())
        else:
            torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
            torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(STARTER, local_files_only=True).save_pretrained(out)


def _moved(adapter: Path, out: Path, layers: int) -> None:
    """The adapter for the deepened base: what belongs to the starter's layers at their new places, and zeros at the others."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(adapter, out, dirs_exist_ok=True)
    old = load_file(adapter / "adapter_model.safetensors")
    moved = {}
    for key, tensor in old.items():
        before, _, rest = key.partition(".layers.")
        number, _, tail = rest.partition(".")
        if not rest:
            moved[key] = tensor
        elif number == "0":
            moved |= {f"{before}.layers.{place}.{tail}": torch.zeros_like(tensor) for place in range(layers)}
    places = {place: new for new, place in _places(layers).items()}
    for key, tensor in old.items():
        before, _, rest = key.partition(".layers.")
        number, _, tail = rest.partition(".")
        if rest:
            moved[f"{before}.layers.{places[int(number)]}.{tail}"] = tensor
    save_file(moved, out / "adapter_model.safetensors", metadata={"format": "pt"})


def _places(layers: int, old: int = 4) -> dict[int, int]:
    """Place in the deepened base -> place in the starter, spread evenly."""
    return {round(place * (layers - 1) / (old - 1)): place for place in range(old)}


def _site(folder: Path, steps: int) -> Settings:
    from free_ports import free_ports

    configs = folder / "configs"
    shutil.copytree(PROJECT / "configs", configs)
    path = configs / "domains" / "regulatory.yaml"
    told = yaml.safe_load(path.read_text(encoding="utf-8"))
    told["examples"] = {"held_out": HELD_SHARE}
    told["recipe"] |= RECIPE | {"steps": steps}
    told["gate"] |= {"held_out": HELD_CASES}
    path.write_text(yaml.safe_dump(told), encoding="utf-8")
    http, grpc, metrics = free_ports(3)
    return Settings(var=folder / "var", configs=configs, ports=Ports(triton_http=http, triton_grpc=grpc, triton_metrics=metrics))


def _candidate(settings: Settings, domain: DomainConfig, folder: Path, base: Path, layers: int) -> Candidate:
    from pipelines.intake import landing
    from pipelines.manifest import sha256, sha256_folder
    from pipelines.registry import artifacts, candidates, parts
    from pipelines.samples.write import write
    from pipelines.steps import assemble, ingest, learn, publish

    write(folder / "samples")
    files = sorted((folder / "samples" / "regulatory" / "01-base").glob("*.xml"))
    landing.deliver(settings, "regulatory", files, uploader="steward", source="sample", effective="2014-01-01")
    arrivals = ingest.claim(settings, "regulatory", "regulatory.ingest", "bench")
    for arrival in arrivals:
        ingest.prepare(settings, "regulatory", arrival)
    (version,) = publish.publish(settings, "regulatory", arrivals)
    trained = artifacts.get(settings, str(learn.train(settings, "regulatory", version).outputs["artifact"]))
    step_hash = sha256([trained.step_hash, layers])
    artifacts.make(settings, "adapter", step_hash, lambda out: _moved(artifacts.path_of(settings, trained.id), out, layers))
    name = candidates.assemble(
        settings,
        domain="regulatory",
        version_id=version,
        base=str(base),
        base_sha256=sha256_folder(base),
        adapter_id=artifacts.enter(settings, "adapter", "regulatory", step_hash, trained.facts),
        index_id=str(assemble.index(settings, "regulatory", version).outputs["artifact"]),
        prompt=domain.task.prompt,
        prompt_sha256=parts.prompt_sha256(settings, domain),
        policy={"passages": domain.task.passages, "max_new_tokens": domain.base.max_new_tokens},
        step_hash="bench",
    )
    return candidates.get(settings, name)


@contextmanager
def _triton(settings: Settings) -> Iterator[None]:
    from pipelines.serving import client, triton

    argv, env = triton.command(settings)
    settings.logs.mkdir(parents=True, exist_ok=True)
    with (settings.logs / "triton.log").open("wb") as log:
        process = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
    try:
        client.wait_ready(settings, alive=lambda: process.poll() is None)
        yield
    finally:
        process.terminate()
        process.wait(20)
        triton.clean(settings)


async def _waits(
    settings: Settings, domain: DomainConfig, candidate: Candidate, routing: Routing, small: smaller.Small
) -> dict[str, dict[str, float]]:
    """What a lone caller waits for the model, in ms, with and without routing."""
    from pipelines.serving.client import Server

    parts = open_parts(settings, candidate)
    looked = [_shown(one, parts) for one in _asked(settings, domain, candidate)]
    looked = [one for one in looked if one.passages]
    looked = looked[:: max(1, len(looked) // WAITED)]
    server = Server(settings)
    took: dict[str, list[float]] = {"own": [], "routed": []}
    routes = 0
    try:
        for number, found in enumerate(looked):
            for name in ("own", "routed") if number % 2 else ("routed", "own"):
                began = time.perf_counter()
                _, route = await cascade.generate(found, parts, routing, server.generate, small=small if name == "routed" else None)
                took[name].append((time.perf_counter() - began) * 1000)
                routes += route == "small"
    finally:
        await server.close()
    told = {name: {"mean": statistics.fmean(many), "p50": statistics.median(many), "p95": _p95(many)} for name, many in took.items()}
    return told | {"share": {"small": routes / max(1, len(looked)), "requests": float(len(looked))}}


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def _asked(settings: Settings, domain: DomainConfig, candidate: Candidate) -> list[Asked]:
    from pipelines.corpus import warehouse
    from pipelines.evaluation import suites
    from pipelines.registry import artifacts
    from pipelines.state.database import reading
    from pipelines.state.models import DatasetVersion

    with reading(settings) as session:
        version = session.get_one(DatasetVersion, candidate.version_id)
    examples = artifacts.examples_of(settings, artifacts.get(settings, str(candidate.adapter_id)))
    loaded = suites.load(settings, domain, warehouse.documents(settings, domain.domain, version.id), version.known_on, examples)
    return [one for one in loaded.asked if one.suite in (GOLDENS, HELD_OUT)]


def _shown(one: Asked, parts: Parts) -> LookUp:
    from pipelines.serving.answer import look_up

    if not one.case.passages:
        return look_up(one.case.question, one.as_of, parts)
    return shown(one.case.question, tuple(_given(number, text) for number, text in enumerate(one.case.passages, 1)), parts.prompt)


def _given(number: int, text: str) -> Passage:
    return Passage(f"given-{number}", "", text, f"passage {number}", "0001-01-01", "9999-12-31", 0.0)


def _show(facts: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console(width=200, soft_wrap=True)
    console.print(f"{facts['cases']} cases in {facts['groups']} groups; {facts['why']}")
    heads = ("threshold", "small", "cost", "upper", "gained", "right", "own right", "ms saved", "own tokens saved", "small tokens")
    console.print(" | ".join(heads))
    for one in (*facts["table"], facts["crossed"]):
        cost, saved = one["cost"], one["seconds_saved"]["mean"] * 1000
        told = (
            "crossed" if one["threshold"] is None else f"{one['threshold']:g}",
            f"{one['small']['mean']:.3f}",
            f"{cost['mean']:.3f} [{cost['low']:.3f}, {cost['high']:.3f}]",
            *(f"{one[name]:.3f}" for name in ("upper", "gained", "right", "own_right")),
            f"{saved:.1f} of {one['own_seconds'] * 1000:.1f}",
            f"{one['tokens_saved']['mean']:.1f}",
            f"{one['small_tokens']:.1f}",
        )
        console.print(" | ".join(told), markup=False)
    console.print(f"halves: {facts['halves']}")
    for name, many in facts["waits"].items():
        console.print(f"{name} at {facts['waited_at']}: " + ", ".join(f"{key} {value:.3g}" for key, value in many.items()), markup=False)


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    sys.exit(main())
