"""Requests that the gateway's own description allows, and many that it does not: never an unexpected error, always a described answer."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from pipelines.serving import openapi
from pipelines.serving.keys import site_key

pytestmark = [pytest.mark.slow, pytest.mark.services]

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SETTINGS = hypothesis.settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
)
GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Who?"}], "max_tokens": 4},
    "/v1/completions": {"prompt": "Who?", "max_tokens": 4},
    "/v1/embeddings": {"input": "Who?"},
}
"""Bodies that are in order. `/v1/feedback` is not among them: it takes the id of an answer that was given."""
OPERATIONS = [
    f"{method.upper()} {path}" for path, methods in openapi.document()["paths"].items() for method in methods
]  # one test each, so that a finding names its place


@pytest.fixture(scope="module")
def live(site: Any, gateway: str) -> str:
    """A domain that answers: what is made up names none, and would be refused at the door."""
    import httpx

    release = site.candidate("leases", 1)
    site.point("leases", release)
    deadline = time.monotonic() + 60
    while httpx.get(f"{gateway}/readyz", trust_env=False).json()["domains"].get("leases", {}).get("live") != release:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return "leases"


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_request_makes_the_gateway_fail(site: Any, gateway: str, live: str, name: str) -> None:
    method, path = name.split(" ")
    schema = schemathesis.openapi.from_dict(openapi.document())
    schema.config.update(base_url=gateway)
    operation = schema[path][method]
    headers = {"Authorization": f"Bearer {site_key(site.settings)}"}
    statuses: Counter[int] = Counter()

    @SETTINGS
    @hypothesis.given(case=operation.as_strategy() | _negative(operation), known=strategies.booleans())
    def ask(case: schemathesis.Case, known: bool) -> None:
        if known and isinstance(case.body, dict) and "model" in case.body:
            case.body["model"] = live
        response = case.call(headers=headers, timeout=60)
        statuses[response.status_code] += 1
        # A domain without a live release, and a gateway that is not ready, say 503: that is described, and no fault of the gateway.
        checks = [check for check in CHECKS if not (check is not_a_server_error and response.status_code == 503)]
        case.validate_response(response, checks=checks)

    ask()
    assert statuses
    if path in GOOD:
        assert statuses[400], f"some were refused: {statuses}"
        good = operation.Case(body=GOOD[path] | {"model": live}, media_type="application/json")
        answer = good.call(headers=headers, timeout=60)
        good.validate_response(answer, checks=CHECKS)
        assert answer.status_code == 200, "and what is in order is answered"


def _negative(operation: Any) -> Any:
    """Requests that break the description in one place; none where there is nothing to break."""
    if operation.body or operation.query or operation.path_parameters or operation.headers:
        return operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
    return operation.as_strategy()
