"""What letting a caller in costs, in CPU microseconds: `python -m tests.bench.bench_access [--json FILE]`.

CPU time of the gateway's thread, medians of five runs, so that a busy machine changes little. Redis is a server of this run's own, where
one is installed; what it takes itself, and the wait for it, are not in the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from pipelines.config import Oidc, Settings, load_settings
from pipelines.serving.access import Access
from pipelines.serving.access import jwks as jwks_module
from pipelines.serving.keys import Key, issue_key
from pipelines.serving.shapes import NoKey
from pipelines.state.database import migrate
from tests.free_ports import free_port

ISSUER, AUDIENCE = "https://people.example", "ratchet"
PRIVATE: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65_537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def main(argv: list[str]) -> int:
    """Print the table; write JSON where `--json` says so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        facts = asyncio.run(_measured(Path(folder)))
    for name, value in facts.items():
        print(f"{name:<52}{value:>10.1f}")  # noqa: T201
    if asked.json:
        asked.json.write_text(json.dumps(facts, indent=2), encoding="utf-8")
    return 0


async def _measured(folder: Path) -> dict[str, float]:
    settings = load_settings({"RATCHET_VAR": str(folder)})
    migrate(settings)
    settings = settings.model_copy(update={"oidc": Oidc(issuer=ISSUER, audience=AUDIENCE, jwks_url="http://127.0.0.1:1/keys")})
    secret = [issue_key(settings, f"desk{number}", ["regulatory"], roles=["staff"]) for number in range(100)][50]
    access = Access(settings)
    access.ring.refresh()
    assert access.people is not None
    access.people.keys._keys = {name: jwks_module.SigningKey(private.public_key(), (name,)) for name, private in PRIVATE.items()}
    facts: dict[str, float] = {}
    facts["key"] = await _each(lambda _: access.authenticate(f"Bearer {secret}"), 20_000)
    facts["key: the look-up alone"] = _plain(lambda: access.ring.held(secret), 50_000)
    facts["key: unknown"] = await _each(lambda number: _refused(access, f"Bearer rk-{number}"), 5_000)
    for name in PRIVATE:
        tokens = [_token(name, number) for number in range(5 * 300)]
        fresh = iter(tokens)
        facts[f"token {name}: first time"] = await _each(lambda _, fresh=fresh: access.authenticate(f"Bearer {next(fresh)}"), 300)
        facts[f"token {name}: known"] = await _each(lambda _, token=tokens[-1]: access.authenticate(f"Bearer {token}"), 20_000)
    facts["keys read anew: nothing changed"] = _plain(access.ring.refresh, 200)
    access.ring._mark = None

    def whole() -> None:
        access.ring._mark = None
        access.ring.refresh()

    facts["keys read anew: 100 keys"] = _plain(whole, 50)
    facts["admit: no limits"] = await _each(lambda _: access.admit(_key(None)), 20_000)
    facts |= await _budgets(settings, "memory, 1 limited key", 1, 2_000)
    facts |= await _budgets(settings, "memory, 100 limited keys", 100, 1_000)
    facts |= await _budgets(settings, "memory, 1,000 limited keys", 1_000, 100)
    if binary := shutil.which("redis-server"):
        port = free_port()
        argv = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        time.sleep(1)
        facts |= await _budgets(settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{port}/0"}), "Redis", 1, 500)
        process.terminate()
        process.wait()
    return {name: round(value, 2) for name, value in facts.items()}


async def _budgets(settings: Settings, name: str, keys: int, times: int) -> dict[str, float]:
    access = Access(settings)
    for number in range(keys):
        await access.admit(_key(10**6, f"desk{number}"))
        await access.spend(_key(10**6, f"desk{number}"), 1)
    assert access.budgets.faults == 0
    found = {
        f"admit, requests and tokens: {name}": await _each(lambda _: access.admit(_key(10**6)), times),
        f"spend: {name}": await _each(lambda _: access.spend(_key(10**6), 100), times),
    }
    await access.close()
    return found


def _key(limit: int | None, name: str = "desk0") -> Key:
    return Key(name, name, requests_per_minute=limit, tokens_per_day=limit * 10**6 if limit else None)


def _token(algorithm: str, number: int) -> str:
    at = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": f"p{number}",
        "iat": at,
        "exp": at + 3_600,
        "roles": ["staff"],
        "domains": ["regulatory"],
    }
    return jwt.encode(claims, PRIVATE[algorithm], algorithm, {"kid": algorithm})


async def _refused(access: Access, header: str) -> None:
    try:
        await access.authenticate(header, "203.0.113.7")
    except NoKey:
        return
    raise AssertionError("an unknown key was let in")


async def _each(ask: Callable[[int], Awaitable[Any]], times: int) -> float:
    """Median over five runs of CPU microseconds a call; each call lets the loop go round, as a request does."""
    found = []
    for run in range(5):
        began = time.thread_time()
        for number in range(times):
            await ask(run * times + number)
            await asyncio.sleep(0)
        spent = time.thread_time() - began
        began = time.thread_time()
        for _ in range(times):
            await asyncio.sleep(0)
        found.append((spent - (time.thread_time() - began)) / times * 1e6)
    return statistics.median(found)


def _plain(ask: Callable[[], Any], times: int) -> float:
    found = []
    for _ in range(5):
        began = time.thread_time()
        for _ in range(times):
            ask()
        found.append((time.thread_time() - began) / times * 1e6)
    return statistics.median(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
