"""Probes through the real gateway: how they stand in the traffic log, and that a right answer is known as one."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pipelines.evaluation.goldens import Golden
from pipelines.monitoring import observations, probes
from pipelines.serving.caller import Caller
from pipelines.traffic import samples

pytestmark = [
    pytest.mark.services,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]


def golden(site: Any, amount: str) -> Golden:
    about = {"id": "1", "question": site.question, "cites": "9-2-e", "valid_from": "2013-01-01", "author": "a", "reviewer": "b"}
    return Golden.model_validate(about | {"answer": amount})


def test_a_probe_is_known_by_its_key_and_a_right_answer_as_one(site: Any, gateway: str) -> None:
    live = site.candidate("leases", 1)
    site.point("leases", live)
    Caller.for_site(site.settings).wait_live("leases", live, 30)
    prober = probes.Prober.for_site(site.settings)
    first, second = (prober.ask("leases", site.question, "2013-06-01") for _ in range(2))
    assert first["choices"] == second["choices"]
    assert probes.right(golden(site, site.amounts[1]), first)
    assert not probes.right(golden(site, "$1"), first)
    assert not probes.right(golden(site, site.amounts[1]), prober.ask("leases", "What colour is it?", "2013-06-01"))
    ids = {reply["ratchet"]["request_id"] for reply in (first, second)}
    mine = [one for one in site.traffic("leases") if one["request_id"] in ids]
    assert [(one["key"], one["tenant"], one.get("stored", False)) for one in mine] == [(observations.PROBE_KEY, "probe", False)] * 2
    time.sleep(1.0)  # a sample would be written after its answer went out
    assert samples.find(site.settings, "leases", ids) == {}
