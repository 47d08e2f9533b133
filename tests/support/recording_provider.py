"""A mail provider that records what reaches it, octet by octet, and behaves as badly as a test wants.

It is SMTP of its own, so that nothing of the code under test judges itself. `replies` puts a test's words in the place
of a step's normal reply; `ends_of_data` makes it one of the servers that take other things than CRLF "." CRLF for the
end of mail data.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import inspect
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import cast

from proxy.route import Tls

__all__ = ["EXTENSIONS", "PASSWORD", "Answer", "Conversation", "Received", "RecordingProvider", "Tls"]

PASSWORD = "secret"  # of every login, and the token of every bearer
STRICT = (b"\r\n.\r\n",)
EXTENSIONS: dict[bytes, bytes] = {
    b"PIPELINING": b"",
    b"8BITMIME": b"",
    b"SIZE": b"157286400",
    b"SMTPUTF8": b"",
    b"CHUNKING": b"",
    b"BINARYMIME": b"",
    b"DSN": b"",
    b"ENHANCEDSTATUSCODES": b"",
}
READ_AHEAD = 4 * 1024 * 1024  # octets kept before reading pauses

Answer = bytes | Callable[["Conversation", bytes], "bytes | Awaitable[bytes | None] | None"]
"""A reply in place of the normal one, or who makes it from the conversation and the command line.

`None` from a callable means that the step is to go on as usual; empty octets, that nothing is said.
"""


@dataclass
class Received:
    """One message that the provider took. `mail_data` is as on the wire, without the final dot line."""

    reverse_path: bytes
    forward_paths: list[bytes]
    mail_data: bytes
    login: str | None
    mechanism: str | None
    is_chunked: bool = False

    @property
    def content(self) -> bytes:
        """The message as its reader sees it: dot-stuffing undone (RFC 5321 §4.5.2)."""
        if self.is_chunked:
            return self.mail_data
        octets = self.mail_data[1:] if self.mail_data[:1] == b"." else self.mail_data
        return octets.replace(b"\r\n.", b"\r\n")


@dataclass
class _Transaction:
    reverse_path: bytes | None = None
    forward_paths: list[bytes] = field(default_factory=list)
    chunks: bytearray = field(default_factory=bytearray)
    is_chunked: bool = False


class _Gone(Exception):
    """The relay has closed the connection, or the test had it closed."""


class RecordingProvider:
    """An async context manager; listens on a port of its own as long as it is open.

    `messages` are those it took, `commands` every command line of every connection as it came, AUTH exchanges
    included; `connections` counts those made, `mail_data_begun` how often mail data was asked for.
    """

    def __init__(
        self,
        *,
        tls: Tls = Tls.NONE,
        context: ssl.SSLContext | None = None,
        extensions: Mapping[bytes, bytes] = EXTENSIONS,
        mechanisms: Sequence[bytes] = (b"PLAIN", b"LOGIN", b"XOAUTH2", b"OAUTHBEARER", b"CRAM-MD5", b"SCRAM-SHA-256"),
        verdicts: Mapping[bytes, bytes] | None = None,
        replies: Mapping[str, Answer] | None = None,
        ends_of_data: Sequence[bytes] = STRICT,
        password: str = PASSWORD,
        host: str = "127.0.0.1",
    ) -> None:
        self.tls = tls
        self.context = context
        self.extensions = dict(extensions)
        self.mechanisms = tuple(mechanisms)
        self.verdicts = dict(verdicts or {})
        self.replies = dict(replies or {})
        self.ends_of_data = tuple(ends_of_data)
        self.password = password
        self.host = host
        self.port = 0
        self.messages: list[Received] = []
        self.commands: list[bytes] = []
        self.logins: list[str] = []
        self.connections = 0
        self.mail_data_begun = 0
        self.unfinished: list[bytes] = []  # mail data whose end never came
        self._conversations: set[Conversation] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._arrived = asyncio.Event()
        self._paused = False

    async def __aenter__(self) -> RecordingProvider:
        loop = asyncio.get_running_loop()
        context = self.context if self.tls is Tls.IMPLICIT else None
        self._server = await loop.create_server(lambda: Conversation(self), self.host, 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.disconnect_all()
        for task in tuple(self._tasks):
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        troubles = [each for each in ended if isinstance(each, Exception)]
        if troubles and error is None:
            raise troubles[0]

    @property
    def is_busy(self) -> bool:
        """Whether a connection is open."""
        return bool(self._conversations)

    @property
    def verbs(self) -> list[bytes]:
        """The first word of each command line, in capitals."""
        return [line.split(maxsplit=1)[0].upper() if line.split() else b"" for line in self.commands]

    def disconnect_all(self) -> None:
        """Resets every open connection."""
        for each in tuple(self._conversations):
            each.abort()

    def say(self, octets: bytes) -> None:
        """Says something out of turn, on every open connection."""
        for each in self._conversations:
            each.write(octets)

    def pause(self) -> None:
        """Reads no more, from anybody, until `resume`."""
        self._paused = True
        for each in self._conversations:
            each.regulate()

    def resume(self) -> None:
        """Reads again."""
        self._paused = False
        for each in self._conversations:
            each.regulate()

    async def until(self, condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
        """Waits until `condition` holds; asked whenever something reaches the provider or a connection ends."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._arrived.clear()
                await self._arrived.wait()

    async def until_idle(self) -> None:
        """Waits until no connection is open."""
        await self.until(lambda: not self._conversations)

    def wake(self) -> None:
        """Something happened: whoever waits in `until` looks again."""
        self._arrived.set()

    def enter(self, conversation: Conversation) -> None:
        """A connection was made."""
        self.connections += 1
        self._conversations.add(conversation)
        task = asyncio.get_running_loop().create_task(conversation.run())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        if self._paused:
            conversation.regulate()
        self.wake()

    def leave(self, conversation: Conversation) -> None:
        """A connection ended."""
        self._conversations.discard(conversation)
        self.wake()

    @property
    def is_paused(self) -> bool:
        """Whether `pause` was called."""
        return self._paused

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._tasks.discard(task)


class Conversation(asyncio.Protocol):
    """One connection to the provider: reads whole lines and whole mail data, answers one after the other."""

    def __init__(self, provider: RecordingProvider) -> None:
        self.provider = provider
        self.transport: asyncio.Transport | None = None
        self.login: str | None = None
        self.mechanism: str | None = None
        self.is_secure = False
        self.commands: list[bytes] = []
        self._buffer = bytearray()
        self._eof = False
        self._more = asyncio.Event()
        self._transaction = _Transaction()

    # -- the connection -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.is_secure = self.provider.tls is Tls.IMPLICIT
        self.provider.enter(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._more.set()
        self.regulate()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._eof = True
        self._more.set()
        self.provider.leave(self)

    def regulate(self) -> None:
        """Pauses or resumes reading, as the provider's pause and what is buffered ask for."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if self.provider.is_paused or len(self._buffer) > READ_AHEAD:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def abort(self) -> None:
        """Resets the connection."""
        if self.transport is not None:
            self.transport.abort()

    def write(self, octets: bytes) -> None:
        """Sends octets outside of any turn."""
        if self.transport is not None and octets:
            self.transport.write(octets)

    async def _receive(self) -> None:
        if self._eof:
            raise _Gone
        self._more.clear()
        self.regulate()
        await self._more.wait()
        if self._eof and not self._buffer:
            raise _Gone

    async def read_line(self) -> bytes:
        """The next line, to its LF."""
        while (end := self._buffer.find(b"\n") + 1) == 0:
            await self._receive()
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        return line

    async def _read_octets(self, count: int) -> bytes:
        while len(self._buffer) < count:
            await self._receive()
        octets = bytes(self._buffer[:count])
        del self._buffer[:count]
        return octets

    async def _read_mail_data(self) -> bytes:
        """Mail data without the end mark; the line end before the lone dot belongs to it."""
        found = bytearray(b"\r\n")  # the dot may be the very first octet
        longest = max(map(len, self.provider.ends_of_data))
        looked = 0
        try:
            while True:
                found += self._buffer
                self._buffer.clear()
                starts = ((found.find(each, looked), each) for each in self.provider.ends_of_data)
                ends = [(start, each) for start, each in starts if start >= 0]
                if ends:
                    break
                looked = max(0, len(found) - longest)
                await self._receive()
        except _Gone:
            self.provider.unfinished.append(bytes(found[2:]))
            raise
        start, mark = min(ends, key=lambda each: (each[0], -len(each[1])))
        self._buffer[:0] = found[start + len(mark) :]
        line_end = mark[: mark.index(b".")]
        return bytes(found[2 : start + len(line_end)])

    # -- the conversation ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Greets and answers until either side has had enough."""
        try:
            await self._say("greeting", b"", b"220 provider.example ESMTP\r\n")
            while True:
                line = await self._next_command()
                verb = line.split(maxsplit=1)[0].upper() if line.strip() else b""
                step = STEPS.get(verb)
                if step is None:
                    await self._say(verb.decode("latin-1"), line, b"500 5.5.2 what\r\n")
                else:
                    await step(self, line)
        except _Quit:
            pass
        except _Gone:
            self.abort()
        finally:
            if self.transport is not None:
                self.transport.close()

    async def _next_command(self) -> bytes:
        line = await self.read_line()
        self.commands.append(line)
        self.provider.commands.append(line)
        self.provider.wake()
        return line

    async def _say(self, step: str, line: bytes, usual: bytes) -> bytes:
        """Gives the test's reply to a step, or the usual one; which one it was."""
        octets = await self._reply_to(step, line, usual)
        self.write(octets)
        return octets

    async def _reply_to(self, step: str, line: bytes, usual: bytes) -> bytes:
        answer = self.provider.replies.get(step)
        if answer is None:
            return usual
        if isinstance(answer, bytes):
            return answer
        made = answer(self, line)
        octets = await made if inspect.isawaitable(made) else made
        return usual if octets is None else octets

    async def _ehlo(self, line: bytes) -> None:
        self._transaction = _Transaction()
        lines = [b"provider.example", *(b" ".join(filter(None, each)) for each in self.provider.extensions.items())]
        if self.provider.mechanisms and self.login is None:
            lines.append(b"AUTH " + b" ".join(self.provider.mechanisms))
        if self.provider.tls is Tls.STARTTLS and not self.is_secure:
            lines.append(b"STARTTLS")
        usual = b"".join(b"250-" + each + b"\r\n" for each in lines[:-1]) + b"250 " + lines[-1] + b"\r\n"
        await self._say("EHLO again" if self.is_secure and self.provider.tls is Tls.STARTTLS else "EHLO", line, usual)

    async def _helo(self, line: bytes) -> None:
        self._transaction = _Transaction()
        await self._say("HELO", line, b"250 provider.example\r\n")

    async def _starttls(self, line: bytes) -> None:
        usual = b"220 2.0.0 go\r\n" if self.provider.tls is Tls.STARTTLS else b"502 5.5.1 no\r\n"
        if not (await self._say("STARTTLS", line, usual)).startswith(b"220"):
            return
        assert self.transport is not None
        assert self.provider.context is not None
        try:
            secure = await asyncio.get_running_loop().start_tls(
                self.transport, self, self.provider.context, server_side=True, ssl_handshake_timeout=10
            )
        except (OSError, ssl.SSLError) as error:
            raise _Gone from error
        if secure is None:
            raise _Gone
        self.transport = secure
        self.is_secure = True
        self.regulate()

    async def _mail(self, line: bytes) -> None:
        if self.provider.mechanisms and self.login is None:
            await self._say("MAIL", line, b"530 5.7.0 log in first\r\n")
            return
        if (await self._say("MAIL", line, b"250 2.1.0 sender ok\r\n")).startswith(b"2"):
            self._transaction = _Transaction(reverse_path=_path(line))

    async def _rcpt(self, line: bytes) -> None:
        usual = self.provider.verdicts.get(_path(line), b"250 2.1.5 recipient ok\r\n")
        if self._transaction.reverse_path is None:
            usual = b"503 5.5.1 MAIL first\r\n"
        if (await self._say("RCPT", line, usual)).startswith(b"2"):
            self._transaction.forward_paths.append(_path(line))

    async def _data(self, line: bytes) -> None:
        usual = b"354 go ahead\r\n" if self._transaction.forward_paths else b"554 5.5.1 no valid recipients\r\n"
        self.provider.mail_data_begun += 1
        if not (await self._say("DATA", line, usual)).startswith(b"354"):
            return
        mail_data = await self._read_mail_data()
        await self._finish(mail_data, "end of data")

    async def _bdat(self, line: bytes) -> None:
        words = line.split()
        is_last = len(words) > 2 and words[2].upper() == b"LAST"
        octets = await self._read_octets(int(words[1]))
        transaction = self._transaction
        if not transaction.forward_paths:
            await self._say("BDAT", line, b"503 5.5.1 RCPT first\r\n")
            return
        transaction.is_chunked = True
        transaction.chunks += octets
        if is_last:
            await self._finish(bytes(transaction.chunks), "BDAT LAST")
        else:
            await self._say("BDAT", line, b"250 2.0.0 chunk ok\r\n")

    async def _finish(self, mail_data: bytes, step: str) -> None:
        """The message is taken unless the test's reply says otherwise."""
        transaction, self._transaction = self._transaction, _Transaction()
        usual = b"250 2.0.0 taken as %d\r\n" % (len(self.provider.messages) + 1)
        octets = await self._reply_to(step, b"", usual)
        if octets.startswith(b"2"):
            assert transaction.reverse_path is not None
            self.provider.messages.append(
                Received(
                    reverse_path=transaction.reverse_path,
                    forward_paths=transaction.forward_paths,
                    mail_data=mail_data,
                    login=self.login,
                    mechanism=self.mechanism,
                    is_chunked=transaction.is_chunked,
                )
            )
        self.provider.wake()
        self.write(octets)

    async def _rset(self, line: bytes) -> None:
        self._transaction = _Transaction()
        await self._say("RSET", line, b"250 2.0.0 ok\r\n")

    async def _noop(self, line: bytes) -> None:
        await self._say("NOOP", line, b"250 2.0.0 ok\r\n")

    async def _quit(self, line: bytes) -> None:
        await self._say("QUIT", line, b"221 2.0.0 bye\r\n")
        raise _Quit

    # -- login --------------------------------------------------------------------------------------------------------

    async def _auth(self, line: bytes) -> None:
        words = line.split()
        mechanism = words[1].upper() if len(words) > 1 else b""
        initial = words[2] if len(words) > 2 else None
        exchange = EXCHANGES.get(mechanism)
        if exchange is None or mechanism not in self.provider.mechanisms:
            await self._say("AUTH", line, b"504 5.5.4 mechanism?\r\n")
            return
        try:
            login = await exchange(self, initial)
        except (_Cancelled, ValueError, IndexError) as error:
            text = b"cancelled" if isinstance(error, _Cancelled) else b"what"
            await self._say("AUTH", line, b"501 5.5.2 " + text + b"\r\n")
            return
        usual = b"535 5.7.8 wrong\r\n" if login is None else b"235 2.7.0 welcome\r\n"
        if (await self._say("AUTH", line, usual)).startswith(b"2") and login is not None:
            self.login, self.mechanism = login, mechanism.decode()
            self.provider.logins.append(login)

    async def _challenge(self, octets: bytes, given: bytes | None = None) -> bytes:
        """The client's next message, decoded: the one it gave already, or the answer to our challenge."""
        if given is None:
            self.write(b"334 " + base64.b64encode(octets) + b"\r\n")
            given = (await self._next_command()).rstrip(b"\r\n")
        if given == b"*":
            raise _Cancelled
        return b"" if given == b"=" else base64.b64decode(given, validate=True)

    async def _plain(self, initial: bytes | None) -> str | None:
        _, login, password = (await self._challenge(b"", initial)).split(b"\0")
        return login.decode() if password.decode() == self.provider.password else None

    async def _login(self, initial: bytes | None) -> str | None:
        login = await self._challenge(b"Username:", initial)
        password = await self._challenge(b"Password:")
        return login.decode() if password.decode() == self.provider.password else None

    async def _xoauth2(self, initial: bytes | None) -> str | None:
        user, token = (await self._challenge(b"", initial)).rstrip(b"\x01").split(b"\x01")
        return await self._bearer_verdict(user.removeprefix(b"user="), token, b'{"status":"401"}')

    async def _oauthbearer(self, initial: bytes | None) -> str | None:
        parts = (await self._challenge(b"", initial)).split(b"\x01")
        login = parts[0].removeprefix(b"n,a=").rstrip(b",")
        token = next(each for each in parts if each.startswith(b"auth="))
        return await self._bearer_verdict(login, token, b'{"status":"invalid_token"}')

    async def _bearer_verdict(self, login: bytes, token: bytes, refusal: bytes) -> str | None:
        """RFC 7628 §3.2.3: a refusal is explained in one more 334, which the client answers with nothing."""
        if token == b"auth=Bearer " + self.provider.password.encode():
            return login.decode()
        self.write(b"334 " + base64.b64encode(refusal) + b"\r\n")
        await self._next_command()
        return None

    async def _cram_md5(self, initial: bytes | None) -> str | None:
        challenge = b"<" + os.urandom(8).hex().encode() + b"@provider.example>"
        login, _, digest = (await self._challenge(challenge)).rpartition(b" ")
        wanted = hmac.new(self.provider.password.encode(), challenge, "md5").hexdigest()
        return login.decode() if digest.decode() == wanted else None

    async def _scram(self, initial: bytes | None) -> str | None:
        """RFC 5802 §3, without channel binding."""
        first = await self._challenge(b"", initial)
        bare = first.split(b",", 2)[2]
        fields = dict(each.split(b"=", 1) for each in bare.split(b","))
        salt, nonce = os.urandom(12), fields[b"r"] + os.urandom(8).hex().encode()
        server_first = b"r=%s,s=%s,i=4096" % (nonce, base64.b64encode(salt))
        final = await self._challenge(server_first)
        without_proof, _, proof = final.rpartition(b",p=")
        salted = hashlib.pbkdf2_hmac("sha256", self.provider.password.encode(), salt, 4096)
        key = hmac.digest(salted, b"Client Key", "sha256")
        auth_message = b",".join((bare, server_first, without_proof))
        signature = hmac.digest(hashlib.sha256(key).digest(), auth_message, "sha256")
        if base64.b64decode(proof) != bytes(a ^ b for a, b in zip(key, signature, strict=True)):
            return None
        verifier = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), auth_message, "sha256")
        await self._challenge(b"v=" + base64.b64encode(verifier))
        return fields[b"n"].decode()


class _Cancelled(Exception):
    """The client sent "*" (RFC 4954 §4)."""


class _Quit(_Gone):
    """The client has said QUIT."""


def _path(line: bytes) -> bytes:
    return line[line.index(b"<") + 1 : line.rindex(b">")] if b"<" in line and b">" in line else line


STEPS: dict[bytes, Callable[[Conversation, bytes], Awaitable[None]]] = {
    b"EHLO": Conversation._ehlo,
    b"HELO": Conversation._helo,
    b"STARTTLS": Conversation._starttls,
    b"AUTH": Conversation._auth,
    b"MAIL": Conversation._mail,
    b"RCPT": Conversation._rcpt,
    b"DATA": Conversation._data,
    b"BDAT": Conversation._bdat,
    b"RSET": Conversation._rset,
    b"NOOP": Conversation._noop,
    b"QUIT": Conversation._quit,
}
EXCHANGES: dict[bytes, Callable[[Conversation, bytes | None], Awaitable[str | None]]] = {
    b"PLAIN": Conversation._plain,
    b"LOGIN": Conversation._login,
    b"XOAUTH2": Conversation._xoauth2,
    b"OAUTHBEARER": Conversation._oauthbearer,
    b"CRAM-MD5": Conversation._cram_md5,
    b"SCRAM-SHA-256": Conversation._scram,
}
