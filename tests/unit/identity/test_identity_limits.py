"""How often an address may ask for tokens; and that nobody can lock anybody else out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from tests.identity_kit import ADDRESSES, Client, World

from headrace.clock import MINUTE, SECOND, ManualClock
from headrace.identity.endpoint import TokenEndpoint, load_authority
from headrace.identity.errors import SignInError
from headrace.identity.limits import SignInLimits
from headrace.identity.routes import SignIn, identity_routes
from headrace.store.live import LiveView

Ask = Callable[..., httpx.Response]


@pytest.fixture
def behind_gateway() -> bool:
    return True


@pytest.fixture
def ask(world: World, behind_gateway: bool) -> Iterator[Ask]:
    """The token endpoint with small limits, asked from any address as the gateway hands it on."""
    import asyncio

    view = LiveView(world.database, load_authority, clock=world.clock)
    limits = SignInLimits(20, 3, world.clock)
    endpoint = TokenEndpoint(view, ADDRESSES, world.clock, limits=limits)
    sign_in = SignIn(endpoint, ADDRESSES, world.clock, behind_gateway=behind_gateway)
    app = Starlette(routes=[*identity_routes(sign_in)])
    with asyncio.Runner() as runner:
        client = Client(runner, app)

        def post(address: str = "10.0.0.1", **fields: Any) -> httpx.Response:
            headers = {"x-forwarded-for": address}
            path = f"/{world.tenant}/oauth2/v2.0/token"
            return client.post(path, data=world.form(**fields), headers=headers)

        yield post
        client.close()


@pytest.mark.parametrize("behind_gateway", [False])
def test_a_guesser_without_a_gateway_before_it_cannot_say_where_it_is(ask: Ask) -> None:
    for number in range(3):
        assert ask(f"10.0.0.{number}", client_secret="guess").status_code == 401
    assert ask("10.0.0.9", client_secret="guess").status_code == 429


def test_a_guesser_is_held_off_and_nobody_else(world: World, ask: Ask) -> None:
    assert ask().status_code == 200
    guess = {"client_secret": str(world.first.secret)[:3] + "guess"}
    for _ in range(3):
        assert ask(**guess).status_code == 401
    held = ask(**guess)
    assert (held.status_code, held.json()["error_codes"]) == (429, [90055])
    assert 1 <= int(held.headers["retry-after"]) <= 60
    # The app's owner goes on: from another address, and from this one with a secret that was right before.
    assert ask("10.0.0.2").status_code == 200
    assert ask().status_code == 200
    # Another app at the guesser's address has its own count.
    app, _, secret = world.app()
    assert ask(client_id=app, client_secret=secret).status_code == 200
    world.clock.advance(MINUTE)
    assert ask(**guess).status_code == 401


def test_an_address_may_ask_so_often_and_no_more(world: World, ask: Ask) -> None:
    for _ in range(20):
        assert ask().status_code == 200
    refused = ask()
    assert (refused.status_code, refused.json()["error_codes"]) == (429, [90055])
    assert ask("10.0.0.2").status_code == 200
    world.clock.advance(60 * SECOND)
    assert ask().status_code == 200


def test_the_count_of_addresses_is_bounded() -> None:
    limits = SignInLimits(1, 1, ManualClock(), most=10)
    for number in range(1000):
        limits.enter(f"10.0.{number // 250}.{number % 250}")
        limits.failed("10.0.0.1", f"app {number}")
    assert len(limits._counts) == 10
    limits.enter("10.9.9.9")
    with pytest.raises(SignInError):
        limits.enter("10.9.9.9")
