"""Errors in OpenAI's shape, without a model behind the gateway."""

from __future__ import annotations

import pickle

import pytest
from fastapi.testclient import TestClient

from pipelines.config import Settings
from pipelines.errors import NotFound
from pipelines.serving import shapes
from pipelines.serving.gateway import create_app
from pipelines.serving.keys import issue_key


def code(error: NotFound) -> tuple[int, str]:
    status, body = shapes.fault(error)
    return status, body["error"]["code"]


def test_only_a_model_that_is_missing_is_called_one() -> None:
    assert code(shapes.NoModel("there is no model 'x'")) == (404, "model_not_found")
    assert code(NotFound("nothing was uploaded")) == (404, "not_found")
    assert isinstance(pickle.loads(pickle.dumps(shapes.NoModel("x", todo="y"))), shapes.NoModel)  # noqa: S301 - our own bytes


@pytest.mark.parametrize("model", ["nothing", "regulatory/r99"])
def test_a_model_that_is_missing_has_a_code_of_its_own(settings: Settings, model: str) -> None:
    client = TestClient(create_app(settings), headers={"Authorization": f"Bearer {issue_key(settings, 'desk', ['*'], pins=True)}"})
    asked = {"model": model, "messages": [{"role": "user", "content": "Who signs?"}]}
    for answer in (client.get(f"/v1/models/{model}"), client.post("/v1/chat/completions", json=asked)):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_a_path_that_is_missing_leads_to_those_there_are(settings: Settings) -> None:
    client = TestClient(create_app(settings))
    for answer in (client.get("/v1/embeddings"), client.get("/v1/chat/completions")):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (404, "not_found")
        assert all(route in error["message"] for route in ("/v1/chat/completions", "/v1/models", "/v1/arrivals"))


def test_a_fixed_day_is_today() -> None:
    assert Settings(today="2015-06-01").day() == "2015-06-01"
