"""A user's consent on another device: the user types a code there, and we ask until that was done (RFC 8628)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from onrecord.oauth.client import DeviceCode, OAuthClient
from onrecord.oauth.failure import OAuthRefused, OAuthUnavailable
from store.mailbox_secret import Tokens

__all__ = ["wait_for_device"]

SLOWER = 5.0  # seconds; RFC 8628 §3.5
SLOWEST = 60.0


async def wait_for_device(
    client: OAuthClient,
    name: str,
    code: DeviceCode,
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Tokens:
    """Asks until the user has consented. Raises `OAuthError` when that was refused or the time is over."""
    interval = code.interval
    until = clock() + code.expires_in
    while True:
        await sleep(interval)
        if clock() >= until:
            raise OAuthRefused(f"{name}: the time to consent is over; begin again", code="expired_token")
        try:
            return await client.device_tokens(name, code.device_code)
        except OAuthUnavailable:
            interval = min(interval * 2, SLOWEST)  # RFC 8628 §3.5: back off from a server that does not answer
        except OAuthRefused as error:
            if error.code == "slow_down":
                interval += SLOWER
            elif error.code != "authorization_pending":
                raise
