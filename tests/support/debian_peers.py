"""Debian's Postfix and Dovecot as mail providers and as mail clients, started from settings of their own.

They run as root on loopback ports, each in a folder below /tmp that goes with it, and are stopped by process group;
nothing of the system's configuration or of a service that runs is touched. Both deliver to a recording provider.
Dovecot also keeps mailboxes, when asked to, as maildirs in its folder.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from types import TracebackType

import pytest
from pki import Pki
from ports import free_ports

__all__ = [
    "LOGINS",
    "MAILBOX_DOMAIN",
    "PASSWORD",
    "REFUSAL",
    "REFUSED",
    "Dovecot",
    "Postfix",
    "Route",
    "bearer_token",
    "need",
]

LOGINS = ("ann@acme.example", "bob@acme.example")
PASSWORD = "correct horse battery"
MAILBOX_DOMAIN = "mailboxes.example"  # every login of it is good where Dovecot keeps mailboxes
REFUSED = "nia@other.example"  # who gets no mail at any provider here
REFUSAL = "550 5.1.1 Nobody of that name"
SIZE = 150 * 1024 * 1024
TOKEN_KEY = b"a key that dovecot and the tests share"
START_SECONDS = 30.0
STOP_SECONDS = 30.0
POLL = 0.02


def need(*programs: str, root: bool = False) -> None:
    """Skips the calling test when a program is absent, but fails it where everything must be there (CI=true).

    What has a slash is no name of a program but a path.
    """
    places = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    found = {each: Path(each).exists() if "/" in each else shutil.which(each, path=places) for each in programs}
    missing = [each for each, place in found.items() if not place]
    if root and os.geteuid() != 0:
        missing.append("root")
    if not missing:
        return
    text = f"needs {', '.join(missing)}: run tests/peers/install, as root"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


def bearer_token(login: str) -> str:
    """A token that Dovecot accepts for `login`: a JSON Web Token (RFC 7519) signed with the shared key."""
    header, claims = ({"alg": "HS256", "typ": "JWT"}, {"sub": login, "iat": 1, "exp": 4102444800})
    signed = b".".join(_base64url(json.dumps(each).encode()) for each in (header, claims))
    return (signed + b"." + _base64url(hmac.digest(TOKEN_KEY, signed, "sha256"))).decode()


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where a peer sends mail on to. Without `login` it says none."""

    port: int
    tls: str = "none"
    login: str | None = None
    mechanism: str = "PLAIN"


class _Peer:
    """A server in a folder of its own. Children of another user must get at it, so it is not below pytest's."""

    name = "peer"

    def __init__(self, pki: Pki) -> None:
        self.pki = pki
        self.folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._stack = contextlib.ExitStack()

    async def _start(self, command: Sequence[str], ports: Sequence[int]) -> None:
        with (self.folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        try:
            async with asyncio.timeout(START_SECONDS):
                for port in ports:
                    while not await asyncio.to_thread(_accepts, port):
                        assert self._process.poll() is None, self.log_text()
                        await asyncio.sleep(POLL)
        except TimeoutError:
            pytest.fail(f"{self.name} did not start:\n{self.log_text()}")

    def _make_folder(self) -> None:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="onrecord-", dir="/tmp")))
        self.folder.chmod(0o755)
        for name, path in (("certificate", self.pki.certificate), ("key", self.pki.key), ("ca", self.pki.ca_file)):
            shutil.copy(path, self.folder / f"{name}.pem")

    def log_text(self) -> str:
        """All that the server has said."""
        written = [self.folder / name for name in ("output", "log")]
        return "".join(each.read_text(errors="replace") for each in written if each.exists())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if self._process is not None:
                await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        """Asks the server to end, and its process group, which is this peer's alone, to follow."""
        assert self._process is not None
        self._end(self._server_pid())
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_SECONDS)

    def _server_pid(self) -> int:
        """The process that ends all others."""
        assert self._process is not None
        return self._process.pid

    @staticmethod
    def _end(pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                os.kill(pid, signal.SIGTERM)
                ended, _, _ = select.select([handle], [], [], STOP_SECONDS)
                if not ended:
                    os.kill(pid, signal.SIGKILL)
            finally:
                os.close(handle)


class Dovecot(_Peer):
    """Dovecot: SASL for Postfix on `sasl_port`, and with a `route` the submission service, which relays to it.

    Logins are `LOGINS` with `PASSWORD` or a `bearer_token`. It speaks BDAT to a route that has CHUNKING. With
    `mailboxes` it serves IMAP on `imap_starttls_port` and `imap_implicit_port`, with every extension that it has; then
    every name at `MAILBOX_DOMAIN` is a login too, with mailboxes of its own.
    """

    name = "dovecot"

    def __init__(self, pki: Pki, route: Route | None = None, *, mailboxes: bool = False) -> None:
        super().__init__(pki)
        self.route = route
        self.mailboxes = mailboxes
        self.sasl_port = self.starttls_port = self.implicit_port = 0
        self.imap_starttls_port = self.imap_implicit_port = 0

    async def __aenter__(self) -> Dovecot:
        self._make_folder()
        self._write_logins()
        self.sasl_port, self.starttls_port, self.implicit_port, *imap_ports = free_ports(5)
        self.imap_starttls_port, self.imap_implicit_port = imap_ports
        settings = self.folder / "dovecot.conf"
        settings.write_text(self._settings())
        ports = [self.sasl_port]
        ports += [self.starttls_port, self.implicit_port] if self.route else []
        ports += [self.imap_starttls_port, self.imap_implicit_port] if self.mailboxes else []
        try:
            await self._start(["dovecot", "-F", "-c", str(settings)], ports)
        except BaseException as error:
            await self.__aexit__(type(error), error, None)
            raise
        return self

    # -- mailboxes ----------------------------------------------------------------------------------------------------

    def maildir(self, login: str) -> Path:
        """Where the mail of a login is kept; INBOX is the folder itself, mailbox `x` is `.x` below."""
        return self.folder / "home" / login / "Maildir"

    async def deliver(self, login: str, content: bytes, mailbox: str = "INBOX") -> None:
        """Puts a message into a mailbox, as a delivery agent does."""
        await self.doveadm("save", "-u", login, "-m", mailbox, standard_input=content)

    async def doveadm(self, *arguments: str, standard_input: bytes = b"") -> bytes:
        """What Dovecot's own administration program says."""
        process = await asyncio.create_subprocess_exec(
            *("doveadm", "-c", str(self.folder / "dovecot.conf"), *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate(standard_input)
        assert process.returncode == 0, f"doveadm {arguments[0]}:\n{output.decode(errors='replace')}"
        return output

    async def remember(self, login: str) -> None:
        """Keeps a copy of the mail of a login, for `restore`."""
        await asyncio.to_thread(self._copy, login, f"{login}.kept")

    async def restore(self, login: str) -> None:
        """Makes the mail of a login again what it was: every UID, date and flag."""
        await asyncio.to_thread(self._copy, f"{login}.kept", login)

    def _copy(self, source: str, target: str) -> None:
        home = self.folder / "home"
        shutil.rmtree(home / target, ignore_errors=True)
        subprocess.run(["cp", "--archive", home / source, home / target], check=True)

    # -- starting -----------------------------------------------------------------------------------------------------

    def _write_logins(self) -> None:
        lines = [f"{login}:{{PLAIN}}{PASSWORD}::::::\n" for login in LOGINS]
        (self.folder / "logins").write_text("".join(lines))
        (self.folder / "domains").write_text(f"{MAILBOX_DOMAIN}:{{PLAIN}}{PASSWORD}::::::\n")
        keys = self.folder / "token-keys" / "default" / "HS256"
        keys.mkdir(parents=True)
        (keys / "default").write_bytes(base64.b64encode(TOKEN_KEY))
        (self.folder / "oauth2.conf").write_text(
            "introspection_mode = local\n"
            f"local_validation_key_dict = fs:posix:prefix={self.folder}/token-keys/\n"
            "username_attribute = sub\n"
        )
        home = self.folder / "home"
        home.mkdir()
        home.chmod(0o777)

    def _settings(self) -> str:
        protocols = (["submission"] if self.route else []) + (["imap"] if self.mailboxes else [])
        return (
            f"protocols = {' '.join(protocols)}\n"
            + self._service()
            + (self._submission() if self.route else "")
            + (self._imap() if self.mailboxes else "")
        )

    def _service(self) -> str:
        folder = self.folder
        return dedent(
            f"""
            base_dir = {folder}/run
            state_dir = {folder}/state
            log_path = {folder}/log
            listen = 127.0.0.1
            ssl = required
            ssl_cert = <{folder}/certificate.pem
            ssl_key = <{folder}/key.pem
            ssl_client_ca_file = {folder}/ca.pem
            auth_mechanisms = plain login xoauth2 scram-sha-256
            auth_failure_delay = 0
            first_valid_uid = 1
            mail_location = maildir:~/Maildir
            mail_max_userip_connections = 0
            passdb {{
              driver = oauth2
              mechanisms = xoauth2
              args = {folder}/oauth2.conf
            }}
            passdb {{
              driver = passwd-file
              mechanisms = plain login scram-sha-256
              args = username_format=%u {folder}/logins
            }}
            userdb {{
              driver = static
              args = uid=nobody gid=nogroup home={folder}/home/%u allow_all_users=yes
            }}
            # No penalty for failed logins, which would delay the next ones from loopback.
            service anvil {{
              unix_listener anvil-auth-penalty {{
                mode = 0
              }}
            }}
            service auth {{
              inet_listener {{
                port = {self.sasl_port}
              }}
            }}
            """
        )

    def _submission(self) -> str:
        assert self.route is not None
        route = self.route
        ssl = {"none": "no", "starttls": "starttls", "implicit": "smtps"}[route.tls]
        login = ""
        if route.login is not None:
            login = f"submission_relay_user = {route.login}\nsubmission_relay_password = {PASSWORD}\n"
        return login + dedent(
            f"""
            hostname = dovecot.example
            submission_relay_host = {"localhost" if route.tls != "none" else "127.0.0.1"}
            submission_relay_port = {route.port}
            submission_relay_ssl = {ssl}
            submission_max_mail_size = {SIZE}
            service submission-login {{
              inet_listener submission {{
                port = {self.starttls_port}
              }}
              inet_listener submissions {{
                port = {self.implicit_port}
                ssl = yes
              }}
            }}
            """
        )

    def _imap(self) -> str:
        return dedent(
            f"""
            service imap-login {{
              inet_listener imap {{
                port = {self.imap_starttls_port}
              }}
              inet_listener imaps {{
                port = {self.imap_implicit_port}
                ssl = yes
              }}
            }}
            namespace inbox {{
              inbox = yes
              separator = /
              mailbox Drafts {{
                auto = subscribe
                special_use = \\Drafts
              }}
              mailbox Sent {{
                auto = subscribe
                special_use = \\Sent
              }}
              mailbox Trash {{
                auto = subscribe
                special_use = \\Trash
              }}
            }}
            passdb {{
              driver = passwd-file
              mechanisms = plain login scram-sha-256
              args = username_format=%d {self.folder}/domains
            }}
            # COMPRESS, so that it is there to be withheld.
            mail_plugins = zlib
            protocol imap {{
              mail_plugins = zlib imap_zlib
            }}
            """
        )


class Postfix(_Peer):
    """Postfix with its own configuration, queue and data.

    As a provider it listens on `starttls_port` and `implicit_port`, asks Dovecot about logins and sends all mail to
    `route`. As a client (no `sasl_port`) it takes mail from loopback on `ports[name]` and sends it by the route of that
    name. What can be switched off of its habit of rewriting is off; one Received field is what it adds.
    """

    name = "postfix"

    def __init__(
        self,
        pki: Pki,
        *,
        route: Route | None = None,
        sasl_port: int | None = None,
        routes: Mapping[str, Route] | None = None,
    ) -> None:
        super().__init__(pki)
        self.routes = {**({"provider": route} if route else {}), **(routes or {})}
        self.sasl_port = sasl_port
        self.starttls_port = self.implicit_port = 0
        self.ports: dict[str, int] = {}

    async def __aenter__(self) -> Postfix:
        self._make_folder()
        for name in ("conf", "queue", "data"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        services = [SERVICES]
        self.starttls_port, self.implicit_port, *others = free_ports(2 + len(self.routes))
        self.ports = dict(zip(self.routes, others, strict=True))
        if self.sasl_port is not None:
            self.ports = {"starttls": self.starttls_port, "implicit": self.implicit_port}
            services.append(self._provider_services())
        else:
            services += [self._client_services(name, route) for name, route in self.routes.items()]
        (self.folder / "conf" / "main.cf").write_text(self._settings())
        (self.folder / "conf" / "master.cf").write_text("".join(services))
        try:
            await self._start(["postfix", "-c", str(self.folder / "conf"), "start-fg"], list(self.ports.values()))
        except BaseException as error:
            await self.__aexit__(type(error), error, None)
            raise
        return self

    def _server_pid(self) -> int:
        """The master puts itself into a session of its own, apart from the process that started it."""
        written = self.folder / "queue" / "pid" / "master.pid"
        return int(written.read_text()) if written.exists() else super()._server_pid()

    def _settings(self) -> str:
        folder = self.folder
        provider = self.routes.get("provider")
        lines = {f"[localhost]:{each.port} {each.login}:{PASSWORD}\n" for each in self.routes.values() if each.login}
        (folder / "logins").write_text("".join(sorted(lines)))
        sasl = f"smtpd_sasl_path = inet:127.0.0.1:{self.sasl_port}" if self.sasl_port is not None else ""
        return dedent(
            f"""
            compatibility_level = 3.6
            queue_directory = {folder}/queue
            data_directory = {folder}/data
            daemon_directory = /usr/lib/postfix/sbin
            command_directory = /usr/sbin
            maillog_file = /dev/stdout
            mail_owner = postfix
            setgid_group = postdrop
            myhostname = postfix.example
            mydestination =
            mynetworks = 127.0.0.0/8
            inet_interfaces = 127.0.0.1
            inet_protocols = ipv4
            relayhost = {f"[127.0.0.1]:{provider.port}" if provider else ""}
            local_transport = error:none
            alias_maps =
            alias_database =
            smtp_dns_support_level = disabled
            smtp_host_lookup = native
            smtpd_peername_lookup = no
            smtpd_error_sleep_time = 0
            smtpd_client_connection_count_limit = 0
            message_size_limit = {SIZE}
            mailbox_size_limit = 0
            # Mail passes as it is, but for one Received field.
            local_header_rewrite_clients =
            message_drop_headers =
            disable_mime_input_processing = yes
            disable_mime_output_conversion = yes
            smtp_line_length_limit = 0
            smtputf8_enable = yes
            # As a provider
            smtpd_sasl_type = dovecot
            smtpd_recipient_restrictions = check_recipient_access inline:{{ {{ {REFUSED} = {REFUSAL} }} }}
            {sasl}
            smtpd_tls_cert_file = {folder}/certificate.pem
            smtpd_tls_key_file = {folder}/key.pem
            # As a client
            smtp_tls_CAfile = {folder}/ca.pem
            smtp_tls_secure_cert_match = hostname
            smtp_sasl_password_maps = texthash:{folder}/logins
            smtp_sasl_security_options = noanonymous
            """
        ).replace("\n            #", "\n#")

    def _provider_services(self) -> str:
        options = (
            "  -o smtpd_sasl_auth_enable=yes -o smtpd_tls_security_level=encrypt\n"
            "  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject\n"
        )
        return (
            f"127.0.0.1:{self.starttls_port} inet n - n - - smtpd\n{options}"
            f"127.0.0.1:{self.implicit_port} inet n - n - - smtpd\n{options}  -o smtpd_tls_wrappermode=yes\n"
        )

    def _client_services(self, name: str, route: Route) -> str:
        """A door and a transport for one route; the door's content filter is what chooses the transport."""
        wrapper = "yes" if route.tls == "implicit" else "no"
        return (
            f"127.0.0.1:{self.ports[name]} inet n - n - - smtpd\n"
            f"  -o content_filter={name}:[localhost]:{route.port}\n"
            f"{name} unix - - n - - smtp\n"
            f"  -o smtp_tls_security_level=secure -o smtp_tls_wrappermode={wrapper}\n"
            f"  -o smtp_sasl_auth_enable=yes -o smtp_sasl_mechanism_filter={route.mechanism.lower()}\n"
        )


SERVICES = """\
postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS):
            return True
    except OSError:
        return False


def _base64url(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")
