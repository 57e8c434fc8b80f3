"""Signing keys: one takes over from another without a token lost, by hand and by age; and their end."""

from __future__ import annotations

from typing import Any

import pytest
from tests.identity_kit import World

from headrace.clock import DAY, HOUR
from headrace.identity import keys
from headrace.identity.model import INGESTION, TokenError
from headrace.store.database import Database

LONGEST, OVERLAP = 90 * DAY, 24 * HOUR


def published(world: World) -> list[str]:
    listed = world.client.get(f"/{world.tenant}/discovery/v2.0/keys").json()["keys"]
    return [key["kid"] for key in listed]


def signer(world: World, token: str) -> str:
    import jwt

    return str(jwt.get_unverified_header(token)["kid"])


def rotate(database: Database, now: int) -> str | None:
    due = False
    with database.read() as connection:
        due = keys.is_rotation_due(connection, now, longest=LONGEST, overlap=OVERLAP)
    with database.write() as connection:
        made = keys.rotate_if_due(connection, now, longest=LONGEST, overlap=OVERLAP)
    assert due or made is None
    return made


def test_a_new_key_signs_and_the_old_one_goes_on_verifying(world: World) -> None:
    (old,) = published(world)
    before = world.token()
    world.clock.advance(1)
    answer = world.arm("POST", "/headrace/keys")
    assert answer.status_code == 201
    new = answer.json()["value"][0]
    assert new["signs"] and new["kid"] != old
    after = world.token()
    assert (signer(world, before), signer(world, after)) == (old, new["kid"])
    assert published(world) == [new["kid"], old]
    for token in (before, after):
        assert world.verifier.verify(f"Bearer {token}", INGESTION).app_id == world.first.app_id
    assert [key["kid"] for key in world.arm("GET", "/headrace/keys").json()["value"]] == [new["kid"], old]


def test_rotation_comes_by_age_and_old_keys_go_after_the_overlap(world: World) -> None:
    (old,) = published(world)
    start = world.clock.now()
    assert rotate(world.database, start + LONGEST - 1) is None
    new = rotate(world.database, start + LONGEST)
    assert published(world) == [new, old]
    assert rotate(world.database, start + LONGEST + OVERLAP - 1) is None
    assert published(world) == [new, old]
    assert rotate(world.database, start + LONGEST + OVERLAP) is None
    assert published(world) == [new]


def test_revoked_keys_end_their_tokens_at_once(world: World) -> None:
    bearer = world.token(scope="https://management.azure.com/.default")
    before = world.token()
    world.clock.advance(1)
    assert world.arm("POST", "/headrace/keys", {"revoke": True}, bearer).status_code == 201
    assert len(published(world)) == 1
    with pytest.raises(TokenError, match="not signed with a key of this server"):
        world.verifier.verify(f"Bearer {before}", INGESTION)
    assert world.verifier.verify(f"Bearer {world.token()}", INGESTION)


def test_a_key_may_be_dropped_unless_it_signs(world: World) -> None:
    (old,) = published(world)
    world.clock.advance(1)
    new = world.arm("POST", "/headrace/keys").json()["value"][0]["kid"]

    def drop(kid: str) -> Any:
        return world.arm("DELETE", f"/headrace/keys/{kid}").status_code

    assert drop(new) == 409
    assert drop("none") == 404
    assert drop(old) == 204
    assert published(world) == [new]


def test_who_may_not_manage_apps_may_not_touch_keys(world: World) -> None:
    app, _, secret = world.app("sender")
    token = world.token(client_id=app, client_secret=secret, scope="https://management.azure.com/.default")
    for method in ("GET", "POST"):
        assert world.arm(method, "/headrace/keys", None, token).status_code == 403
    assert world.arm("POST", "/headrace/keys", {"revoke": "yes"}).status_code == 400
    text = world.arm("GET", "/headrace/keys").text
    assert "PRIVATE" not in text and "pem" not in text
