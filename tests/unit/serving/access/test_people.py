"""People's tokens from a real provider on loopback: what opens, what does not, and what happens while the provider is away."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from access_log import refused
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from identity_provider import ISSUER, Provider, jwk
from source_server import Reply

from pipelines.config import Settings
from pipelines.errors import Unavailable
from pipelines.serving.access import Access
from pipelines.serving.access import jwks as jwks_module
from pipelines.serving.keys import Key
from pipelines.serving.shapes import NoKey

pytestmark = pytest.mark.slow


async def let_in(access: Access, token: str) -> Key:
    return await access.authenticate(f"Bearer {token}", "203.0.113.7")


async def reason(access: Access, settings: Settings, token: str) -> str:
    """Why it was refused, as audited; nothing but NoKey may come out."""
    with pytest.raises(NoKey, match="no valid API key or token"):
        await let_in(access, token)
    await access.close()
    (last,) = refused(settings)[-1:]
    assert last[0] == "network:203.0.113.0/24"
    return last[1]


def segment(value: Any) -> str:
    return base64.urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(("kid", "algorithm"), [("rsa", "RS256"), ("rsa", "RS512"), ("rsa", "PS256"), ("ec", "ES256"), ("ed", "EdDSA")])
async def test_a_good_token_opens(access: Access, provider: Provider, kid: str, algorithm: str) -> None:
    key = await let_in(access, provider.token(kid=kid, algorithm=algorithm, tenant="acme"))
    assert (key.tenant, key.domains, key.roles) == ("acme", ("regulatory",), {"staff"})
    assert not (key.candidates or key.pins or key.delivers) and key.requests_per_minute is None
    assert key.actor == key.name and provider.fetched() == 1


async def test_a_person_is_a_pseudonym_that_only_this_site_can_compute(access: Access, provider: Provider, with_people: Settings) -> None:
    ann, again, bob = [
        (await let_in(access, provider.token(sub=sub, jti=jti))).name for sub, jti in (("ann", "1"), ("ann", "2"), ("bob", "3"))
    ]
    assert ann == again != bob and re.fullmatch(r"person:[0-9a-f]{20}", ann)
    assert hashlib.sha256(b"ann").hexdigest()[:20] not in ann
    assert Access(with_people).people.name("ann") == ann  # type: ignore[union-attr]
    (with_people.secrets / "people.key").unlink()
    assert Access(with_people).people.name("ann") != ann  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("claims", "domains", "roles", "own_tenant"),
    [
        ({"domains": None, "roles": None}, (), set(), True),
        ({"domains": "regulatory clinical", "roles": "staff board"}, ("clinical", "regulatory"), {"staff", "board"}, True),
        ({"domains": ["*"], "roles": ["*"]}, ("*",), set(), True),
        ({"domains": [1, None, ["x"], "../etc", "Clinical"], "roles": {"staff": True}}, (), set(), True),
        ({"domains": ["regulatory"] * 300, "tenant": "a\nb"}, ("regulatory",), {"staff"}, True),
        ({"tenant": ["acme"]}, ("regulatory",), {"staff"}, True),
    ],
)
async def test_claims_become_rights_and_nothing_more(
    access: Access, provider: Provider, claims: dict[str, Any], domains: tuple[str, ...], roles: set[str], own_tenant: bool
) -> None:
    key = await let_in(access, provider.token(**claims))
    assert (key.domains, key.roles, key.tenant == key.name) == (domains, roles, own_tenant)
    assert key.roles_for([{"roles": ["staff", "board"]}]) == roles


@pytest.mark.parametrize("claim", ["realm_access.roles", "https://ratchet.example/roles"])
async def test_roles_may_lie_deeper_or_be_named_by_an_address(with_people: Settings, provider: Provider, claim: str) -> None:
    oidc = with_people.oidc
    assert oidc is not None
    access = Access(with_people.model_copy(update={"oidc": oidc.model_copy(update={"roles_claim": claim})}))
    where = {"realm_access": {"roles": ["board"]}} if claim.startswith("realm") else {claim: ["board"]}
    assert (await let_in(access, provider.token(**where))).roles == {"board"}


@pytest.mark.parametrize(
    ("said", "claims"),
    [
        ("token: expired", {"exp": int(time.time()) - 3_600}),
        ("token: not valid yet", {"nbf": int(time.time()) + 3_600}),
        ("token: not valid yet", {"iat": int(time.time()) + 3_600}),
        ("token: for another audience", {"aud": "another"}),
        ("token: for another audience", {"aud": ["another", "third"]}),
        ("token: of another issuer", {"iss": "https://evil.example"}),
        ("token: of another issuer", {"iss": f"{ISSUER}/"}),
        ("token: a claim is missing", {"exp": None}),
        ("token: a claim is missing", {"aud": None}),
        ("token: a claim is missing", {"iss": None}),
        ("token: a claim is missing", {"sub": None}),
        ("token: malformed", {"exp": "tomorrow"}),
        ("token: malformed", {"exp": float("inf")}),
        ("token: malformed", {"sub": 7}),
        ("token: malformed", {"nbf": []}),
    ],
)
async def test_bad_claims(access: Access, with_people: Settings, provider: Provider, said: str, claims: dict[str, Any]) -> None:
    assert await reason(access, with_people, provider.token(**claims)) == said


async def test_clocks_may_differ_a_little(access: Access, provider: Provider) -> None:
    at = int(time.time())
    assert await let_in(access, provider.token(exp=at - 5, nbf=at + 10, iat=at + 10))


def unsigned(provider: Provider, alg: str) -> str:
    _, body, _ = provider.token().split(".")
    return f"{segment({'alg': alg, 'kid': 'rsa', 'typ': 'JWT'})}.{body}."


def confused(provider: Provider) -> str:
    """HS256 with the published public key as the shared secret."""
    public = provider.private["rsa"].public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _, body, _ = provider.token().split(".")
    signed = f"{segment({'alg': 'HS256', 'kid': 'rsa', 'typ': 'JWT'})}.{body}"
    return f"{signed}.{segment(hmac.new(pem, signed.encode(), hashlib.sha256).digest())}"


def altered(provider: Provider) -> str:
    head, body, signature = provider.token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    return f"{head}.{segment(claims | {'domains': ['*']})}.{signature}"


def own_key(provider: Provider) -> str:
    """Signed with the attacker's key, which the header itself brings along."""
    other = provider.private["other"]
    return provider.token(key=other, header={"jwk": jwk(other, "rsa"), "jku": "https://evil.example/keys", "x5u": "https://evil.example"})


FORGED: list[tuple[str, Callable[[Provider], str]]] = [
    ("token: algorithm not allowed", lambda provider: unsigned(provider, "none")),
    ("token: algorithm not allowed", lambda provider: unsigned(provider, "None")),
    ("token: algorithm not allowed", lambda provider: unsigned(provider, "HS256")),
    ("token: algorithm not allowed", confused),
    ("token: algorithm not allowed", lambda provider: provider.token(kid="rsa", algorithm="ES256", key=provider.private["ec"])),
    ("token: wrong signature", altered),
    ("token: wrong signature", own_key),
    ("token: wrong signature", lambda provider: provider.token()[:-8] + "AAAAAAAA"),
    ("token: unknown signing key", lambda provider: provider.token(kid="../../etc/passwd", key=provider.private["other"])),
    ("token: unknown signing key", lambda provider: provider.token(kid="' OR 1=1 --", key=provider.private["other"])),
    ("token: unknown signing key", lambda provider: provider.token(kid=None)),
    ("token: malformed", lambda provider: provider.token(header={"crit": ["exp2"], "exp2": 1})),
    ("token: malformed", lambda provider: f"{segment({'alg': 'RS256', 'kid': ['rsa']})}.e30.AAAA"),
    ("token: malformed", lambda provider: f"{segment([1])}.e30.AAAA"),
    ("token: malformed", lambda provider: f"{segment(b'[' * 3_000)}.e30.AAAA"),
    ("token: malformed", lambda provider: "a.b.c"),
    ("token: malformed", lambda provider: ".."),
    ("malformed", lambda provider: provider.token(padding="x" * 9_000)),
]


@pytest.mark.parametrize(("said", "forge"), FORGED, ids=range(len(FORGED)))
async def test_forged_tokens(
    access: Access, with_people: Settings, provider: Provider, said: str, forge: Callable[[Provider], str]
) -> None:
    assert await reason(access, with_people, forge(provider)) == said


async def test_keys_that_must_not_verify_are_left_out(access: Access, with_people: Settings, provider: Provider) -> None:
    private = provider.private["rsa"]
    shared = {"kty": "oct", "kid": "shared", "k": segment(b"0" * 32), "alg": "HS256"}
    leaked = {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private)), "kid": "leaked"}
    broken = [{"kty": "RSA", "kid": "short"}, {"kid": 5}, "text", {"kty": "EC", "crv": "secp256k1", "kid": "coin"}]
    provider.publish(shared, leaked, jwk(private, "sealing", use="enc"), jwk(private, "rsa", alg="RS256"), *broken)  # type: ignore[arg-type]
    assert (await let_in(access, provider.token())).domains == ("regulatory",)
    for kid in ("shared", "leaked", "sealing", "short", "coin"):
        assert await reason(access, with_people, provider.token(kid=kid, key=private)) == "token: unknown signing key"
    assert await reason(access, with_people, provider.token(algorithm="RS512")) == "token: algorithm not allowed"


async def test_a_short_rsa_key_is_not_enough(access: Access, with_people: Settings, provider: Provider) -> None:
    weak = rsa.generate_private_key(65_537, 1024)  # noqa: S505
    provider.publish(jwk(weak, "weak"))
    with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
        token = provider.token(kid="weak", key=weak)
    assert await reason(access, with_people, token) == "token: signing key too short"


async def test_a_token_without_a_key_id_uses_the_only_key(access: Access, provider: Provider) -> None:
    provider.publish(jwk(provider.private["rsa"], "whatever"))
    assert await let_in(access, provider.token(kid=None))


async def test_the_provider_changes_its_keys(
    access: Access, with_people: Settings, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await let_in(access, provider.token())
    provider.publish(jwk(provider.private["rsa"], "rsa"), jwk(provider.private["other"], "other"))
    token = provider.token(kid="other")
    # Within half a minute of a fetch unknown ids do not cause another one, however many come.
    for _ in range(50):
        assert await reason(access, with_people, token) == "token: unknown signing key"
    assert provider.fetched() == 1
    monkeypatch.setattr(access.people.keys, "_next", 0.0)  # type: ignore[union-attr]
    assert await let_in(access, token) and provider.fetched() == 2


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500),
        Reply(302, headers={"Location": "http://127.0.0.1:1/keys"}),
        Reply(body=b"<html>"),
        Reply(body=b"{}"),
        Reply(body=b'{"keys": []}'),
        Reply(body=b'{"keys": [' + b" " * (jwks_module.BODY_BYTES + 1) + b"]}"),
        Reply(body=b'{"keys": []}', sent=3),
    ],
    ids=["500", "redirect", "html", "no keys", "empty", "too long", "cut"],
)
async def test_while_the_provider_is_down_its_keys_are_kept(access: Access, provider: Provider, reply: Reply) -> None:
    people = access.people
    assert people is not None and await let_in(access, provider.token())
    provider.answer(reply)
    await people.keys._fetch()
    assert people.keys.fault is not None and await let_in(access, provider.token(jti="another"))


async def test_a_provider_that_was_never_reached_is_an_outage_not_a_refusal(access: Access, provider: Provider) -> None:
    provider.answer(Reply(503))
    for _ in range(3):
        with pytest.raises(Unavailable, match="identity provider"):
            await let_in(access, provider.token())
    assert provider.fetched() == 1


async def test_a_provider_that_hangs_is_given_up(access: Access, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks_module, "TIMEOUT_SECONDS", 0.2)

    def slow(_: Any) -> Reply:
        time.sleep(1)
        return Reply(body=b"{}")

    provider.answer(slow)
    with pytest.raises(Unavailable, match="identity provider"):
        await let_in(access, provider.token())


async def test_a_verified_token_is_remembered_but_not_beyond_its_end(access: Access, provider: Provider) -> None:
    token = provider.token(exp=int(time.time()) - 27)  # good for three more seconds of leeway
    first = await let_in(access, token)
    assert await let_in(access, token) is first
    await asyncio.sleep(3.1)
    with pytest.raises(NoKey):
        await let_in(access, token)


async def test_a_withdrawn_signing_key_stops_counting(access: Access, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    token = provider.token(exp=int(time.time()) + 86_400)
    assert await let_in(access, token)
    provider.publish(jwk(provider.private["other"], "other"))
    await access.people.keys._fetch()  # type: ignore[union-attr]
    assert await let_in(access, token)
    monkeypatch.setattr("time.time", lambda at=time.time: at() + 301)
    with pytest.raises(NoKey):
        await let_in(access, token)


async def test_without_a_provider_a_token_is_an_unknown_key(settings: Settings, provider: Provider) -> None:
    access = Access(settings)
    assert await reason(access, settings, provider.token()) == "unknown" and provider.fetched() == 0


def test_the_command_names_a_person(with_people: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from pipelines import cli

    monkeypatch.setattr("pipelines.cli.keys.load_settings", lambda: with_people)
    told = CliRunner().invoke(cli.app, ["keys", "person", "ann"]).stdout.strip()
    assert told == Access(with_people).people.name("ann")  # type: ignore[union-attr]
