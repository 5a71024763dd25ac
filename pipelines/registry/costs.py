"""What training costs: estimated before it starts, metered after it ends, summed per domain and calendar month (UTC).

    money = GPU hours x price_per_gpu_hour + CPU hours x price_per_cpu_hour

Prices are those of the compute profile, in whatever currency the domain's budget names. CPU hours are core hours. Energy is told where
NVML tells it, and has no price.

Does not cover storage, the index, or steps lost between a checkpoint and a crash.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from pipelines.config import DomainConfig, Recipe, Settings, profile_of
from pipelines.registry import parts
from pipelines.state.database import reading
from pipelines.state.models import Charge, now
from pipelines.strict import Strict

UTILISATION = 0.3
"""Share of a core's matrix-multiplication speed that a small model's training reaches: assumed, not measured."""
_PROBE = 384
"""Rows and columns of the matrices that are multiplied to learn a core's speed."""


class Prices(Strict):
    """Of one compute profile; None where its file has none."""

    profile: str
    per_gpu_hour: float | None = None
    per_cpu_hour: float | None = None
    gpus: int = 0
    """That one training holds."""


class Cost(Strict):
    """Of one training. `money` is None where `why` says what is missing."""

    basis: Literal["none", "estimated", "metered"]
    profile: str = ""
    tokens: int = 0
    """Positions computed, padding counted."""
    seconds: float | None = None
    gpu_hours: float = 0.0
    cpu_hours: float = 0.0
    energy_kwh: float | None = None
    money: float | None = None
    currency: str | None = None
    why: str = ""


def prices(settings: Settings, domain: DomainConfig) -> Prices:
    """Prices and GPUs of the compute profile on which the domain trains."""
    profile = profile_of(domain, "train", settings)
    return Prices(
        profile=domain.compute.get("train", "local"),
        per_gpu_hour=profile.price_per_gpu_hour,
        per_cpu_hour=profile.price_per_cpu_hour,
        gpus=profile.gpus,
    )


def charged(basis: Literal["estimated", "metered"], price: Prices, domain: DomainConfig, **facts: Any) -> Cost:
    """Hours as money, or what is missing to say it."""
    cost = Cost(basis=basis, profile=price.profile, currency=domain.budget.currency if domain.budget else None, **facts)
    if cost.seconds is None:
        return cost.model_copy(update={"why": cost.why or "no earlier training on this profile to go by"})
    wanted = "price_per_gpu_hour" if cost.gpu_hours else "price_per_cpu_hour"
    if (price.per_gpu_hour if cost.gpu_hours else price.per_cpu_hour) is None:
        return cost.model_copy(update={"why": f"price missing: configs/compute/{price.profile}.yaml has no {wanted}"})
    money = cost.gpu_hours * (price.per_gpu_hour or 0.0) + cost.cpu_hours * (price.per_cpu_hour or 0.0)
    return cost.model_copy(update={"money": round(money, 6)})


def estimate(settings: Settings, domain: DomainConfig, *, training: bool) -> Cost:
    """Before it starts: by the speed of the domain's last training on the same profile, else by this host's own speed."""
    if not training:
        return Cost(basis="none")
    price, tokens = prices(settings, domain), tokens_of(domain.recipe)
    with reading(settings) as session:
        last = session.scalar(
            select(Charge).where(Charge.domain == domain.domain, Charge.adapter_id.is_not(None)).order_by(Charge.at.desc()).limit(1)
        )
    facts = last.facts if last is not None and last.facts.get("profile") == price.profile else {}
    if facts.get("seconds") and facts.get("tokens"):
        tokens = tokens or int(facts["tokens"])  # a recipe in epochs is taken to be as long as the last time
        share = tokens / facts["tokens"]
        told = {"seconds": round(facts["seconds"] * share, 1)} | {key: facts[key] * share for key in ("gpu_hours", "cpu_hours")}
        return charged("estimated", price, domain, tokens=tokens, why=f"at the speed of {last.adapter_id}" if last else "", **told)
    if price.gpus or price.profile != "local" or not tokens or not Path(domain.base.path).is_dir():
        return charged("estimated", price, domain, tokens=tokens)
    cores = _cores()
    seconds = work(parameters(Path(domain.base.path)), tokens) / (UTILISATION * core_speed() * cores)
    told = {"seconds": round(seconds, 1), "cpu_hours": seconds * cores / 3600}
    return charged("estimated", price, domain, tokens=tokens, why=f"by the speed of this host at {UTILISATION:.0%}", **told)


def metered(settings: Settings, domain: DomainConfig, facts: Mapping[str, Any], energy_kwh: float | None) -> Cost:
    """After it ended, from the adapter's facts.json: the last try's seconds, and of the tries it resumed, the steps that it kept."""
    price, recipe = prices(settings, domain), domain.recipe
    kept = [row for row in facts.get("history", []) if row["step"] <= (facts.get("resumed_at") or 0)]
    tokens = tokens_of(recipe, int(facts.get("steps") or 0))
    each = tokens_of(recipe, 1)
    seconds = float(facts["seconds"]) + sum(each / row["tokens_per_second"] for row in kept if row.get("tokens_per_second"))
    on_gpu = str(facts.get("device", "")).startswith("cuda")
    gpus = int(facts.get("ranks", 1)) if on_gpu else price.gpus
    hours = seconds / 3600
    told = {"gpu_hours": hours * gpus, "cpu_hours": hours * int(facts.get("threads", 1)), "energy_kwh": energy_kwh}
    return charged("metered", price, domain, tokens=tokens, seconds=round(seconds, 1), **told)


def tokens_of(recipe: Recipe, steps: int | None = None) -> int:
    """Positions that so many steps of the recipe compute, by default all: by `epochs` as if every example filled a sequence."""
    steps = recipe.total_steps(recipe.examples) if steps is None else steps
    return steps * recipe.batch_sequences * recipe.sequence_tokens


def work(count: int, tokens: int) -> float:
    """Floating-point operations of LoRA training: 2 per parameter and token forward, 2 for the activations' gradients.

    Kaplan et al., "Scaling laws for neural language models" (2020), section 2.1, count 6; the 2 for the base's weight gradients are saved.
    """
    return 4.0 * count * tokens


def parameters(folder: Path) -> int:
    """Parameters in the safetensors files of a model, from their headers."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        total += sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    return total


def core_speed() -> float:
    """Float32 operations a second of one core of this host, the best of three small matrix products."""
    import numpy as np
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    one = np.ones((_PROBE, _PROBE), dtype=np.float32)
    best = math.inf
    with threadpool_limits(1):
        for _ in range(3):
            began = time.perf_counter()
            one @ one
            best = min(best, time.perf_counter() - began)
    return 2 * _PROBE**3 / best


# --- charges ----------------------------------------------------------------------------------------------------------


def key(settings: Settings, domain: DomainConfig, version_id: str) -> str:
    """Names a training before its training set is made: the same for a cleared run, another for another recipe."""
    return f"{version_id}/{parts.learning_key(settings, domain)[:16]}"


def used(session: Session, domain: str, moment: datetime) -> float:
    """Money of the month that `moment` is in: what was metered, and what is admitted and not done yet at its estimate."""
    start = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    within = (Charge.domain == domain, Charge.at >= start, Charge.at < end)
    return float(session.scalar(select(func.coalesce(func.sum(Charge.money), 0.0)).where(*within)) or 0.0)


def enter(session: Session, name: str, domain: str, version_id: str, cost: Cost, adapter_id: str | None = None) -> None:
    """Write a charge, or what was metered over its estimate. Once metered it stays as it is."""
    row = session.get(Charge, name)
    if row is None:
        row = Charge(key=name, domain=domain, version_id=version_id, facts={})
        session.add(row)
    elif row.adapter_id is not None:
        return
    row.adapter_id, row.money, row.facts, row.at = adapter_id, cost.money, cost.model_dump(mode="json"), now()


def let_go(session: Session, version_id: str, but: str = "") -> None:
    """Give back what was admitted for a version and will not be trained."""
    session.execute(delete(Charge).where(Charge.version_id == version_id, Charge.adapter_id.is_(None), Charge.key != but))


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0))
