"""Estimates, metering and admission against a monthly budget."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from releasing import edit, own_configs

from pipelines.config import Settings, load_domain
from pipelines.errors import ConfigError, Conflict
from pipelines.registry import costs, views
from pipelines.state.database import reading, transaction
from pipelines.state.models import Charge, DatasetVersion, Plan
from pipelines.steps import budget, learn, plan

NOVEMBER = datetime(2026, 11, 27, 12, tzinfo=UTC)
VERSION = "ConsumerLeasing_v1.0"


@pytest.fixture
def site(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A planned version of the regulatory domain, a budget of 10 EUR and a price per CPU hour; it is November."""
    for module in (budget, costs):
        monkeypatch.setattr(module, "now", lambda: NOVEMBER)
    own = own_configs(settings, regulatory={"budget": {"monthly": 10.0}})
    price(own, price_per_cpu_hour=0.5)
    version(own, VERSION, 0)
    with transaction(own) as session:
        session.add(Plan(version_id=VERSION, domain="regulatory", kind="adapter"))
    return own


def version(site: Settings, name: str, minor: int) -> None:
    with transaction(site) as session:
        session.add(
            DatasetVersion(
                id=name,
                domain="regulatory",
                major=1,
                minor=minor,
                snapshot_id="1",
                arrival_id=name,
                known_on="2014-01-01",
                documents=1,
                changed={},
                content="c",
            )
        )


def price(site: Settings, profile: str = "local", **values: Any) -> None:
    path = site.configs / "compute" / f"{profile}.yaml"
    path.parent.mkdir(exist_ok=True)
    before = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(yaml.safe_dump({"kind": "local"} | before | values), encoding="utf-8")


def spend(site: Settings, money: float, at: datetime = NOVEMBER, **facts: Any) -> None:
    with transaction(site) as session:
        number = session.query(Charge).count()
        session.add(
            Charge(
                key=f"k{number}", domain="regulatory", version_id=VERSION, adapter_id=f"adapter-{number}", money=money, facts=facts, at=at
            )
        )


def charges(site: Settings) -> list[Charge]:
    with reading(site) as session:
        return list(session.query(Charge).order_by(Charge.key))


def waits(site: Settings) -> tuple[str | None, datetime | None]:
    with reading(site) as session:
        row = session.get_one(Plan, VERSION)
        return row.waits, row.waits_since


def test_what_fits_is_admitted_once_and_counts_at_its_estimate(site: Settings) -> None:
    assert budget.admit(site, "regulatory", VERSION) and budget.admit(site, "regulatory", VERSION)
    (row,) = charges(site)
    assert row.adapter_id is None and row.facts["basis"] == "estimated" and 0 < float(row.money or 0) < 10
    with reading(site) as session:
        assert costs.used(session, "regulatory", NOVEMBER) == row.money
    assert waits(site) == (None, None)


def test_over_budget_it_waits_and_says_for_what_and_since_when(site: Settings) -> None:
    spend(site, 12.40)
    assert not budget.admit(site, "regulatory", VERSION)
    said, since = waits(site)
    assert said is not None and said.startswith("waits for budget: 12.40 of 10.00 EUR used in November 2026")
    assert said.endswith("ask compliance or raise budget.monthly") and since == NOVEMBER
    assert len(charges(site)) == 1, "nothing is half-entered"
    (told,) = views.plans(site, "regulatory")
    assert (told["waits"], told["waits_since"]) == (said, "2026-11-27 12:00:00")
    with pytest.raises(Conflict, match=r"12.40 of 10.00 EUR .* since 2026-11-27 12:00 UTC"):
        budget.require(site, "regulatory", VERSION)
    assert [one["action"] for one in views.audit_events(site, VERSION, 9)] == ["training.waits"]


def test_training_over_budget_starts_nothing(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    spend(site, 12.40)
    from pipelines.manifest import Manifest

    packed = Manifest.model_construct(hash="h", outputs={"artifact": "training_set-1", "path": "training_set/1"})
    monkeypatch.setattr(learn, "training_set", lambda *_: packed)
    with pytest.raises(Conflict, match="waits for budget"):
        learn.train(site, "regulatory", VERSION)
    assert not (site.var / "work").exists() and not (site.artifacts / "adapter").exists()


def test_a_raised_budget_or_another_month_lets_it_go(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    spend(site, 12.40)
    assert not budget.admit(site, "regulatory", VERSION)
    edit(site, "regulatory", budget={"monthly": 20.0, "currency": "USD", "ask": "the CFO"})
    assert budget.admit(site, "regulatory", VERSION)
    assert waits(site) == (None, None)
    assert [one["action"] for one in views.audit_events(site, VERSION, 9)] == ["training.waits", "training.admitted"]


def test_the_next_month_begins_with_nothing_used(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    spend(site, 12.40)
    monkeypatch.setattr(budget, "now", lambda: datetime(2026, 12, 1, tzinfo=UTC))
    assert budget.admit(site, "regulatory", VERSION)
    with reading(site) as session:
        for moment, money in ((datetime(2027, 1, 1, tzinfo=UTC), 0.0), (datetime(2026, 11, 1, tzinfo=UTC), 12.40)):
            assert costs.used(session, "regulatory", moment) == pytest.approx(money, abs=0.1)


def test_two_at_once_cannot_spend_the_same_money(site: Settings) -> None:
    spend(
        site,
        1.0,
        profile="local",
        seconds=36_000.0,
        tokens=costs.tokens_of(load_domain("regulatory", site).recipe),
        gpu_hours=0,
        cpu_hours=12,
    )
    version(site, "ConsumerLeasing_v1.1", 1)
    assert budget.admit(site, "regulatory", VERSION), "1 used, 6 wanted"
    assert not budget.admit(site, "regulatory", "ConsumerLeasing_v1.1"), "7 used, 6 wanted"


@pytest.mark.parametrize("values", [{}, {"price_per_gpu_hour": 2.5}, {"price_per_cpu_hour": None}])
def test_a_budget_without_a_price_starts_nothing(site: Settings, values: dict[str, Any]) -> None:
    (site.configs / "compute" / "local.yaml").write_text(yaml.safe_dump({"kind": "local"} | values), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"local\.yaml: price missing: .* has no price_per_cpu_hour"):
        budget.admit(site, "regulatory", VERSION)
    edit(site, "regulatory", budget=None)
    assert budget.admit(site, "regulatory", VERSION), "without a budget the price is not needed"
    assert charges(site)[0].money is None


def test_gpus_of_the_profile_count_where_the_facts_name_no_device(site: Settings) -> None:
    edit(site, "regulatory", budget=None)
    price(site, gpus_here=2, price_per_gpu_hour=3.0)
    facts = {"seconds": 3600.0, "threads": 4, "steps": 60}
    cost = costs.metered(site, load_domain("regulatory", site), facts, None)
    assert (cost.gpu_hours, cost.cpu_hours, cost.money) == (2.0, 4.0, 8.0)
    price(site, "big", kind="slurm", gpus_per_node=8)
    edit(site, "regulatory", compute={"train": "big"})
    assert costs.prices(site, load_domain("regulatory", site)).gpus == 8


@pytest.mark.parametrize("wrong", ["cheap", -1, float("inf")])
def test_a_price_that_is_none_is_named(site: Settings, wrong: Any) -> None:
    price(site, price_per_cpu_hour=wrong)
    with pytest.raises(ConfigError, match="price_per_cpu_hour"):
        costs.prices(site, load_domain("regulatory", site))


def test_an_override_gives_back_what_was_admitted(site: Settings) -> None:
    assert budget.admit(site, "regulatory", VERSION)
    plan.override(site, VERSION, "index", actor="os:x", reason="too dear")
    assert charges(site) == []


def test_another_recipe_is_admitted_anew_and_the_old_estimate_goes(site: Settings) -> None:
    assert budget.admit(site, "regulatory", VERSION)
    (before,) = charges(site)
    edit(site, "regulatory", recipe={"steps": 90})
    assert budget.admit(site, "regulatory", VERSION)
    (after,) = charges(site)
    assert after.key != before.key


def test_metering_counts_hours_of_every_try_and_their_price(site: Settings) -> None:
    price(site, price_per_cpu_hour=0.5, price_per_gpu_hour=3.0)
    domain = load_domain("regulatory", site)
    each = domain.recipe.batch_sequences * domain.recipe.sequence_tokens
    facts: dict[str, Any] = {
        "seconds": 1800.0, "threads": 4, "ranks": 2, "resumed_at": 30, "steps": domain.recipe.steps,
        "history": [{"step": step, "tokens_per_second": each / 60} for step in range(1, domain.recipe.steps + 1)],
    }  # fmt: skip
    cost = costs.metered(site, domain, facts, None)
    assert (cost.seconds, cost.gpu_hours, cost.cpu_hours) == (1800 + 30 * 60, 0.0, 4.0)
    assert (cost.money, cost.currency, cost.energy_kwh, cost.basis) == (2.0, "EUR", None, "metered")
    assert cost.tokens == costs.tokens_of(domain.recipe)
    cost = costs.metered(site, domain, facts | {"device": "cuda", "resumed_at": None}, 1.5)
    assert (cost.gpu_hours, cost.cpu_hours, cost.money, cost.energy_kwh) == (1.0, 2.0, 4.0, 1.5)
    with transaction(site) as session:
        costs.enter(session, "k", "regulatory", VERSION, cost, "adapter-1")
        costs.enter(session, "k", "regulatory", VERSION, cost.model_copy(update={"money": 99.0}), "adapter-1")
    assert [row.money for row in charges(site)] == [4.0], "once metered it stays"


def test_the_last_training_on_the_same_profile_tells_the_next_ones_price(site: Settings) -> None:
    domain = load_domain("regulatory", site)
    assert "speed of this host" in costs.estimate(site, domain, training=True).why
    spend(site, 1.0, profile="local", seconds=100.0, tokens=costs.tokens_of(domain.recipe) // 2, gpu_hours=0.0, cpu_hours=2.0)
    cost = costs.estimate(site, domain, training=True)
    assert (cost.seconds, cost.cpu_hours, cost.money, cost.why) == (200.0, 4.0, 2.0, "at the speed of adapter-0")
    assert costs.estimate(site, domain, training=False) == costs.Cost(basis="none")


def test_parameters_are_counted_from_the_headers(site: Settings, tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"a": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float16)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert costs.parameters(tmp_path) == 17
    assert costs.work(17, 10) == 680
