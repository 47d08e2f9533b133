"""The load generator for IMAP counts what came, and tells when something did not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from scripted_mailbox import LoggedIn, ScriptedMailbox

CONTENTS = (b"A: b\r\n\r\nc\r\n", b"", b"x)\r\na3 OK not yet\r\n{5}\r\n" * 20_000)
FETCHED = b"".join(b"* %d FETCH (UID 7 BODY[] {%d}\r\n%b)\r\n" % (1, len(each), each) for each in CONTENTS)
WHOLE = {"UID": FETCHED + b"%tag OK done\r\n", "FETCH": FETCHED + b"%tag OK done\r\n"}


async def run(generator: Path, server: ScriptedMailbox, mode: str, *options: object) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        generator, "-p", str(server.port), "-m", mode, *map(str, options), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return json.loads(said)


async def test_messages_are_counted_by_their_literals(generator: Path) -> None:
    async with ScriptedMailbox(password=" p", answers=WHOLE) as server:
        said = await run(generator, server, "download", "-n", 2, "-users", 2, "-user", "some")
    assert (said["messages"], said["octets"], said["errors"]) == (6, 2 * sum(map(len, CONTENTS)), 0)
    logins = [line for line in server.lines if b"LOGIN" in line]
    assert logins == [b"a1 LOGIN some-%d@portal.example p\r\n" % number for number in range(2)]


async def test_only_the_second_time_counts_of_two(generator: Path) -> None:
    async with ScriptedMailbox(password=" p", answers=WHOLE) as server:
        said = await run(generator, server, "download", "-again", 1)
    assert (said["messages"], said["errors"]) == (3, 0)
    assert len([line for line in server.lines if b"UID FETCH" in line]) == 2


async def test_sessions_are_counted_when_they_have_ended_well(generator: Path) -> None:
    async with ScriptedMailbox(password=" p", answers=WHOLE) as server:
        said = await run(generator, server, "sessions", "-c", 3, "-t", 0.2, "-size", 50)
    assert said["errors"] == 0
    assert said["sessions"] == len([line for line in server.lines if b"LOGOUT" in line]) >= 3
    assert said["messages"] == 3 * said["sessions"]


async def test_a_refused_login_is_an_error(generator: Path) -> None:
    async with ScriptedMailbox(password="another") as server:
        said = await run(generator, server, "download")
    assert (said["messages"], said["errors"]) == (0, 1)
    assert "AUTHENTICATIONFAILED" in said["last_error"]


async def test_a_mailbox_that_breaks_off_is_an_error(generator: Path) -> None:
    async def break_off(connection: LoggedIn, tag: bytes) -> None:
        connection.say(FETCHED[:-5000])
        connection.hang_up()

    async with ScriptedMailbox(password=" p", answers={"UID": break_off}) as server:
        said = await run(generator, server, "download")
    assert (said["errors"], said["last_error"]) == (1, "eof")


async def test_idle_sessions_stay_until_its_input_ends(generator: Path) -> None:
    async with ScriptedMailbox(password=" p") as server:
        process = await asyncio.create_subprocess_exec(
            *(generator, "-p", str(server.port), "-m", "idle", "-c", "20"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        said = json.loads(await process.stdout.readline())
        assert (said["opened"], said["errors"]) == (20, 0)
        assert len(server.connections) == 20
        process.stdin.close()
        await server.until(lambda: not server.connections)
        assert await process.wait() == 0
