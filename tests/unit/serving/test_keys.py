"""Keys in a real control database: issued, found, rotated, revoked, taken over, and every change in the audit log."""

from __future__ import annotations

import json
import stat
import time
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, event, select, update
from typer.testing import CliRunner

from pipelines import cli
from pipelines.config import Settings
from pipelines.errors import BadInput, ConfigError, NotFound
from pipelines.governance import audit
from pipelines.serving.access.ring import KeyRing
from pipelines.serving.keys import issue_key, list_keys, revoke_key, rotate_key, site_key
from pipelines.state.database import engine_for, reading, transaction
from pipelines.state.models import ApiKey, AuditEvent, now

RULES = [{"key": "^hr-", "roles": ["staff", "board"], "passages": 3}, {"key": "^x-", "roles": ["board"], "passages": 1}]


def events(settings: Settings) -> list[tuple[str, str, dict[str, Any]]]:
    with reading(settings) as session:
        assert audit.verify(session)[1] == []
        rows = session.scalars(select(AuditEvent).order_by(AuditEvent.seq))
        return [(row.action, row.subject, row.detail) for row in rows]


def everything(settings: Settings) -> str:
    """All that the control database holds of keys and events, as text."""
    with reading(settings) as session:
        keys = [[str(getattr(row, column.key)) for column in ApiKey.__table__.columns] for row in session.scalars(select(ApiKey))]
    return json.dumps([keys, events(settings)], default=str)


def test_a_key_has_what_it_was_issued_with(settings: Settings) -> None:
    until = now() + timedelta(days=1)
    secret = issue_key(
        settings,
        "legal desk",
        ["regulatory"],
        roles=["staff"],
        delivers=["clinical"],
        pins=True,
        tenant="acme",
        requests_per_minute=60,
        tokens_per_day=1000,
        expires_at=until,
    )
    key = KeyRing(settings).find(secret)
    assert key is not None and (key.name, key.tenant, key.actor) == ("legal desk", "acme", "key:legal desk")
    assert key.may("regulatory") and not key.may("clinical") and key.may_deliver("clinical") and not key.may_deliver("regulatory")
    assert key.pins and not key.candidates and key.roles == {"staff"}
    assert (key.requests_per_minute, key.tokens_per_day, key.expires_at) == (60, 1000, until)


def test_only_the_hash_is_kept(settings: Settings) -> None:
    secret = issue_key(settings, "desk", ["regulatory"])
    kept = everything(settings)
    assert secret not in kept and secret[3:11] not in kept
    assert events(settings)[0][:2] == ("key.issued", "key:desk")


def test_every_domain_to_ask_is_none_to_deliver_to(settings: Settings) -> None:
    key = KeyRing(settings).find(issue_key(settings, "auditor", ["*"]))
    assert key is not None and key.may("anything") and not key.may_deliver("anything") and key.tenant == "auditor"
    with pytest.raises(BadInput, match="pattern"):
        issue_key(settings, "carrier", [], delivers=["*"])


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"name": ""}, "name"),
        ({"name": "person:0123"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 81}, "name"),
        ({"name": "desk", "domains": ["Regulatory"]}, "domains.0"),
        ({"name": "desk", "roles": ["two words"]}, "roles.0"),
        ({"name": "desk", "tenant": "\x1b[31m"}, "tenant"),
        ({"name": "desk", "requests_per_minute": 0}, "requests_per_minute"),
        ({"name": "desk", "tokens_per_day": -5}, "tokens_per_day"),
        ({"name": "desk", "expires_at": now()}, "expires_at"),
    ],
)
def test_what_no_key_can_be_is_refused(settings: Settings, values: dict[str, Any], where: str) -> None:
    with pytest.raises(BadInput) as caught:
        issue_key(settings, values.pop("name"), values.pop("domains", ["regulatory"]), **values)
    assert caught.value.where == where and events(settings) == []


def test_unknown_expired_and_revoked_keys_are_not_found(settings: Settings) -> None:
    ring = KeyRing(settings)
    assert ring.find("rk-unknown") is None
    expired = issue_key(settings, "old", ["regulatory"], expires_at=now() + timedelta(hours=1))
    with transaction(settings) as session:
        session.execute(update(ApiKey).values(expires_at=now() - timedelta(seconds=1)))
    revoked = issue_key(settings, "gone", ["regulatory"])
    assert revoke_key(settings, "gone", "left the house", "os:eve") == 1
    assert ring.find(expired) is None and ring.find(revoked) is None
    held = [ring.held(secret) for secret in (expired, revoked)]
    assert [one.refusal(time.time()) for one in held if one is not None] == ["expired", "revoked"]
    assert events(settings)[-1] == ("key.revoked", "key:gone", {"keys": 1, "reason": "left the house"})


def test_a_revoked_name_is_not_revoked_twice_and_a_wrong_one_is_corrected(settings: Settings) -> None:
    issue_key(settings, "legal", ["regulatory"])
    with pytest.raises(NotFound, match="there is no key") as caught:
        revoke_key(settings, "leagl", "why", "os:eve")
    assert "did you mean 'legal'" in caught.value.todo
    with pytest.raises(BadInput, match="no reason"):
        revoke_key(settings, "legal", " ", "os:eve")
    revoke_key(settings, "legal", "why", "os:eve")
    with pytest.raises(NotFound, match="valid any more"):
        revoke_key(settings, "legal", "again", "os:eve")


def test_rotation_keeps_the_rights_and_lets_the_old_secret_go_on_for_a_while(settings: Settings) -> None:
    old = issue_key(
        settings, "desk", ["regulatory"], roles=["staff"], tenant="acme", tokens_per_day=5, expires_at=now() + timedelta(days=9)
    )
    new = rotate_key(settings, "desk", 2, "os:eve")
    ring = KeyRing(settings)
    was, is_now = ring.find(old), ring.find(new)
    assert was is not None and is_now is not None and was.expires_at is not None and is_now.expires_at is not None
    assert (is_now.tenant, is_now.roles, is_now.tokens_per_day, is_now.domains) == ("acme", {"staff"}, 5, ("regulatory",))
    assert timedelta(hours=1, minutes=59) < was.expires_at - now() < timedelta(hours=2)
    assert timedelta(days=8) < is_now.expires_at - now() <= timedelta(days=9)
    at_once = rotate_key(settings, "desk", 0, "os:eve")
    ring = KeyRing(settings)
    assert [ring.find(secret) is not None for secret in (old, new, at_once)] == [False, False, True]
    assert [action for action, *_ in events(settings)] == ["key.issued", "key.rotated", "key.rotated"]
    assert revoke_key(settings, "desk", "done", "os:eve") == 1


def test_a_second_rotation_never_lengthens_the_life_of_a_secret(settings: Settings) -> None:
    old = issue_key(settings, "desk", ["regulatory"])
    rotate_key(settings, "desk", 1, "os:eve")
    rotate_key(settings, "desk", 48, "os:eve")
    key = KeyRing(settings).find(old)
    assert key is not None and key.expires_at is not None and key.expires_at < now() + timedelta(hours=1)


@pytest.mark.parametrize("hours", [-1, 24 * 91, float("nan")])
def test_a_grace_that_is_no_time_is_refused(settings: Settings, hours: float) -> None:
    issue_key(settings, "desk", ["regulatory"])
    with pytest.raises(BadInput, match="not a time"):
        rotate_key(settings, "desk", hours, "os:eve")


def test_the_sites_own_key_sees_everything_delivers_nowhere_and_is_for_the_owner_alone(settings: Settings) -> None:
    secret = site_key(settings)
    assert site_key(settings) == secret and stat.S_IMODE((settings.secrets / "site_api_key").stat().st_mode) == 0o600
    key = KeyRing(settings).find(secret)
    assert key is not None and key.candidates and key.pins and key.may("clinical") and not key.may_deliver("clinical")
    assert key.roles_for(RULES) == {"staff", "board"} and key.roles_for([]) == frozenset()
    with pytest.raises(BadInput, match="draws its own"):
        rotate_key(settings, "site", 1, "os:eve")
    revoke_key(settings, "site", "seen in a chat", "os:eve")
    assert site_key(settings) != secret


def test_a_key_searches_with_its_roles_that_the_index_asks_for(settings: Settings) -> None:
    key = KeyRing(settings).find(issue_key(settings, "desk", ["regulatory"], roles=["staff", "unrelated"]))
    assert key is not None and key.roles_for(RULES) == {"staff"}


def test_a_new_key_works_at_once_and_a_flood_of_unknown_ones_costs_few_queries(settings: Settings) -> None:
    ring = KeyRing(settings)
    assert ring.find("rk-nobody") is None
    assert ring.find(issue_key(settings, "desk", ["regulatory"])) is not None
    queries: list[str] = []
    engine = engine_for(settings.database)
    event.listen(engine, "before_cursor_execute", lambda *args: queries.append(args[2]))
    began = time.monotonic()
    for number in range(2_000):
        assert ring.find(f"rk-{number}") is None
    assert len(queries) <= 4 * (6 + 2 * (time.monotonic() - began))


def test_a_row_changed_by_hand_is_seen_when_the_keys_are_read_whole(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.serving.access.ring.READ_WHOLE_SECONDS", 0.0)
    ring, secret = KeyRing(settings), issue_key(settings, "desk", ["regulatory"])
    assert ring.find(secret) is not None
    with transaction(settings) as session:
        session.execute(update(ApiKey).values(revoked_at=now()))
    ring.refresh()
    assert ring.find(secret) is None


def test_a_row_that_is_not_understood_opens_nothing_and_hides_no_other(settings: Settings) -> None:
    strange, plain = issue_key(settings, "strange", ["regulatory"]), issue_key(settings, "plain", ["regulatory"])
    with transaction(settings) as session:
        session.execute(update(ApiKey).where(ApiKey.name == "strange").values(grants={"domains": ["*"], "sudo": True}))
    ring = KeyRing(settings)
    assert ring.find(strange) is None and ring.find(plain) is not None


def test_known_keys_stay_good_while_the_database_is_away(settings: Settings) -> None:
    ring, secret = KeyRing(settings), issue_key(settings, "desk", ["regulatory"])
    assert ring.find(secret) is not None
    with engine_for(settings.database).begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audit RENAME TO moved")
    ring.refresh()
    assert ring.fault is not None and ring.find(secret) is not None
    with engine_for(settings.database).begin() as connection:
        connection.exec_driver_sql("ALTER TABLE moved RENAME TO audit")


def old_file(settings: Settings, text: str) -> None:
    settings.secrets.mkdir(parents=True, exist_ok=True)
    (settings.secrets / "api_keys.json").write_text(text)


def test_keys_of_before_are_taken_over_once(settings: Settings) -> None:
    from pipelines.manifest import sha256

    entries = {
        sha256("rk-legal"): {"name": "legal", "domains": ["regulatory"], "candidates": False, "delivers": ["regulatory"]},
        sha256("rk-older"): {"name": "older", "domains": ["*"]},
        sha256("rk-site"): {"name": "site", "domains": ["*"], "candidates": True},
    }
    old_file(settings, json.dumps(entries))
    (settings.secrets / "site_api_key").write_text("rk-site")
    ring = KeyRing(settings)
    legal, older = ring.find("rk-legal"), ring.find("rk-older")
    assert legal is not None and legal.may("regulatory") and not legal.may("clinical") and legal.may_deliver("regulatory") and legal.pins
    assert older is not None and older.may("clinical") and not older.may_deliver("regulatory") and not older.candidates
    assert site_key(settings) == "rk-site"
    assert [path.name for path in settings.secrets.glob("api_keys*")] == ["api_keys.json.taken_over"]
    old_file(settings, json.dumps(entries))  # as after a crash between the commit and the renaming
    revoke_key(settings, "legal", "why", "os:eve")
    assert KeyRing(settings).find("rk-legal") is None
    assert [action for action, *_ in events(settings)] == ["keys.taken_over", "key.revoked"]


@pytest.mark.parametrize("text", ["", "[]", '{"xyz": {"name": "a", "domains": []}}', '{"ab": {"domains": []}}'])
def test_a_broken_file_of_before_stops_commands_but_not_the_gateway(settings: Settings, text: str) -> None:
    secret = issue_key(settings, "desk", ["regulatory"])
    old_file(settings, text)
    ring = KeyRing(settings)
    assert ring.find(secret) is not None and ring.fault is not None and "not a file of keys" in ring.fault
    with pytest.raises(ConfigError, match="not a file of keys"):
        issue_key(settings, "other", ["regulatory"])


def test_a_key_removed_behind_the_log_is_gone_after_the_next_whole_reading(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.serving.access.ring.READ_WHOLE_SECONDS", 0.0)
    ring, secret = KeyRing(settings), issue_key(settings, "desk", ["regulatory"])
    assert ring.find(secret) is not None
    with transaction(settings) as session:
        session.execute(delete(ApiKey))
    ring.refresh()
    assert ring.held(secret) is None


# --- the commands -----------------------------------------------------------------------------------------------------


class Ran:
    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pipelines.cli.keys.load_settings", lambda: settings)

    def __call__(self, *argv: str) -> str:
        done = CliRunner().invoke(cli.app, ["keys", *argv], catch_exceptions=True)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout


@pytest.fixture
def ran(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Ran:
    return Ran(settings, monkeypatch)


def test_the_commands(settings: Settings, ran: Ran) -> None:
    told = json.loads(
        ran(
            "issue", "legal", "--domain", "regulatory", "--role", "staff", "--tenant", "acme", "--deliver", "clinical", "--pins",
            "--expires", "30", "--requests-per-minute", "60", "--tokens-per-day", "1000", "--json",
        )
    )  # fmt: skip
    key = KeyRing(settings).find(told["key"])
    assert key is not None and (key.tenant, key.roles, key.pins, key.requests_per_minute) == ("acme", {"staff"}, True, 60)
    (row,) = json.loads(ran("list", "--json"))
    assert row["name"] == "legal" and row["state"] == "valid" and row["issued_by"].startswith("os:") and "hash" not in row
    new = ran("rotate", "legal", "--grace-hours", "24").strip()
    assert KeyRing(settings).find(new) is not None and len(json.loads(ran("show", "legal", "--json"))) == 2
    assert json.loads(ran("revoke", "legal", "--reason", "left", "--json")) == [{"name": "legal", "revoked": 2}]
    assert json.loads(ran("list", "--json")) == [] and len(json.loads(ran("list", "--all", "--json"))) == 2
    assert new not in everything(settings)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["issue", "legal", "--domain", "regulatry"], "did you mean 'regulatory'"),
        (["issue", "legal", "--deliver", "regulatry"], "did you mean 'regulatory'"),
        (["issue", "legal"], "without a right"),
        (["issue", "site", "--domain", "regulatory"], "draws its own"),
        (["issue", "taken", "--domain", "regulatory"], "there is a valid key"),
        (["issue", "legal", "--domain", "regulatory", "--role", "A B"], "pattern"),
        (["revoke", "takn", "--reason", "why"], "did you mean 'taken'"),
        (["rotate", "nobody", "--grace-hours", "1"], "there is no key"),
        (["show", "nobody"], "there is no key"),
        (["person", "someone"], "no identity provider"),
    ],
)
def test_bad_commands_exit_2(settings: Settings, ran: Ran, argv: list[str], says: str) -> None:
    issue_key(settings, "taken", ["regulatory"])
    before = events(settings)
    with pytest.raises(BadInput) as caught:
        ran(*argv)
    assert says in str(caught.value) and caught.value.exit_code == 2 and events(settings) == before


@pytest.mark.parametrize("options", [["--expires", "0"], ["--requests-per-minute", "0"], ["--tokens-per-day", "many"]])
def test_numbers_that_are_none_exit_2(settings: Settings, ran: Ran, options: list[str]) -> None:
    assert CliRunner().invoke(cli.app, ["keys", "issue", "legal", "--domain", "regulatory", *options]).exit_code == 2
    assert list_keys(settings, every=True) == []


def test_a_role_that_no_rule_asks_for_is_pointed_out(settings: Settings, ran: Ran) -> None:
    done = CliRunner().invoke(cli.app, ["keys", "issue", "legal", "--domain", "*", "--role", "stff"])
    assert done.exit_code == 0 and "no access rule of these domains asks for role 'stff'" in done.stderr
