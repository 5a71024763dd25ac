"""A real MLflow gateway between the provider and the model that it stands for."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port
from outside_server import completion, far_server, gives, hangs

from pipelines.config import Settings
from pipelines.errors import Unavailable
from pipelines.serving.routing.provider import Outside
from pipelines.serving_config import Provider

pytestmark = [pytest.mark.slow, pytest.mark.services]

PROMPT = "[1] The fee is $55.\nQuestion: How high is the fee?\nAnswer:"


@contextmanager
def mlflow_gateway(folder: Path, upstream: str) -> Iterator[str]:
    """The site's own MLflow server, whose gateway has the endpoint `far`. Yields the base URL that a domain file names."""
    port = free_port()
    argv = [sys.executable, "-m", "pipelines.site.mlflow_server", "127.0.0.1", str(port), str(folder)]
    # Its guard would refuse a model on this host that speaks plain HTTP.
    guard = {"MLFLOW_GATEWAY_API_BASE_ALLOW_PRIVATE_IPS": "true", "MLFLOW_GATEWAY_API_BASE_ALLOWED_SCHEMES": "http"}
    env = {**os.environ, **guard, "DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
    base = f"http://127.0.0.1:{port}"
    try:
        _wait(f"{base}/health", process, folder / "mlflow.log")
        _endpoint(f"{base}/api/3.0/mlflow/gateway", upstream)
        yield f"{base}/gateway/mlflow/v1"
    finally:
        # It would wait for the model that hangs.
        process.kill()
        process.wait(20)


def _endpoint(api: str, upstream: str) -> None:
    import httpx

    def create(what: str, given: dict[str, Any], answer: str) -> dict[str, Any]:
        reply = httpx.post(f"{api}/{what}/create", json=given, trust_env=False)
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()[answer]
        return found

    secret = create(
        "secrets",
        {"secret_name": "far", "secret_value": {"api_key": "upstream-key"}, "provider": "openai", "auth_config": {"api_base": upstream}},
        "secret",
    )
    model = create(
        "model-definitions",
        {"name": "far", "secret_id": secret["secret_id"], "provider": "openai", "model_name": "far-1"},
        "model_definition",
    )
    config = {"model_definition_id": model["model_definition_id"], "linkage_type": "PRIMARY", "weight": 1.0}
    create("endpoints", {"name": "far", "model_configs": [config], "usage_tracking": False}, "endpoint")


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    import httpx

    deadline = time.monotonic() + 90
    while True:
        assert process.poll() is None, log.read_text()
        try:
            httpx.get(url, trust_env=False).raise_for_status()
            return
        except httpx.HTTPError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)


async def test_through_a_real_gateway(settings: Settings, tmp_path: Path) -> None:
    async with far_server() as far:
        far.answers(gives(completion("$55 [1]", [-0.1])))
        with ExitStack() as held:
            # In a thread: waiting here would stop the model's server too.
            url = await asyncio.to_thread(held.enter_context, mlflow_gateway(tmp_path, far.url))
            client = Outside(settings, "regulatory", Provider(url=url, model="far", seconds=10))
            try:
                said = await client.generate(PROMPT, 48)
                assert (said.text, said.tokens_in, said.tokens_out) == ("$55 [1]", 20, 4)
                # MLflow 3.17 passes the request's `logprobs` on and leaves the answer's out: nothing is sure behind it.
                assert (far.asked[0]["logprobs"], said.confidence) == (True, 0.0)
                assert far.asked[0]["messages"][1]["content"] == PROMPT
                assert far.headers[0]["Authorization"] == "Bearer upstream-key"
                far.answers(gives({"error": {"message": "broken"}}, 500))
                with pytest.raises(Unavailable, match="HTTP 5"):
                    await client.generate(PROMPT, 48)
                assert len(far.asked) == 3, "one more try"
                far.answers(hangs)
                impatient = Outside(settings, "regulatory", Provider(url=url, model="far", seconds=0.5))
                with pytest.raises(Unavailable, match=r"within 0\.5 s"):
                    await impatient.generate(PROMPT, 48)
                await impatient.close()
                nobody = Outside(settings, "regulatory", Provider(url=url, model="nobody", seconds=10))
                with pytest.raises(Unavailable, match="HTTP"):
                    await nobody.generate(PROMPT, 48)
                await nobody.close()
            finally:
                await client.close()
