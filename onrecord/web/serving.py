"""The process of the pages: a web server on sockets that the supervisor has bound."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator, Sequence

import structlog
import uvicorn

from onrecord.settings import Settings
from onrecord.web.application import application
from onrecord.web.services import Services
from store.database import Database

__all__ = ["serve_pages"]

log = structlog.get_logger("web")

GRACE_SECONDS = 3  # for answers under way when the program ends


async def serve_pages(
    settings: Settings, database: Database, hash_key: bytes, sockets: Sequence[socket.socket], stop: asyncio.Event
) -> None:
    """Serves until `stop` is set."""
    assert settings.web is not None, "whoever wants no pages starts no server"
    services = Services(settings=settings, database=database, hash_key=hash_key, clock=time.time)
    config = uvicorn.Config(
        application(services, settings.web.origins),
        log_config=None,
        access_log=False,  # it would hold addresses of contacts
        server_header=False,
        proxy_headers=bool(settings.web.url),
        forwarded_allow_ips="127.0.0.1,::1",
        timeout_graceful_shutdown=GRACE_SECONDS,
        lifespan="off",
        ws="none",
    )
    server = _Server(config)
    log.info("pages", url=settings.web.origins[0])
    serving = asyncio.create_task(server.serve(sockets=list(sockets)))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    stopping.cancel()
    await serving
    await services.bodies.close()


class _Server(uvicorn.Server):
    """Signals are the process's own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves them alone."""
        yield
