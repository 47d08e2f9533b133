"""The provider of the part with mailboxes: Dovecot, and the mail in it.

Mail lies in maildirs as it goes over the wire, its size in the file's name, so that Dovecot only has to open and send
it. Each login has mailboxes of its own name; those that are read from end to end are one folder under many names.
"""

from __future__ import annotations

import os
import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

from peers import dovecot
from processes import Processes, free_port
from sink import Certificate
from system import processors

from mailboxes.cells import CELLS, LARGE, Cell

__all__ = ["AUTHOR_OF_ALL", "Mail", "Provider"]

AUTHOR_OF_ALL = "kim@client.example"
SIZES = (4096, 8192, 16384, 32768, 75_000)
HUGE = 5  # messages of 10 MB, the last ones of a large mailbox
MB10 = 10_000_000

CONFIGURATION = """
mail_location = maildir:~/Maildir
mail_fsync = never
maildir_very_dirty_syncs = yes
namespace inbox {{
  inbox = yes
}}
service imap {{
  process_limit = 1000
  service_count = 0
  client_limit = {clients_of_one}
  vsz_limit = 4G
}}
"""


@dataclass(frozen=True, slots=True)
class Mail:
    """Home folders with mail. `octets` are those of a mailbox, by the messages in it."""

    homes: Path
    octets: dict[int, int]

    @classmethod
    def make(cls, processes: Processes) -> Mail:
        """Mail for the logins of all cells. A smaller mailbox has the first messages of the large one."""
        mail = cls(processes.subfolder("mail", 0o777), {})
        mail._write_messages()
        for cell in CELLS.values():
            for login in cell.logins:
                home = mail.homes / login.partition("@")[0]
                if not home.exists():
                    home.symlink_to(mail._mailbox(home, cell))
        subprocess.run(["chown", "-Rh", "nobody:nogroup", str(mail.homes)], check=True)
        return mail

    def _mailbox(self, home: Path, cell: Cell) -> Path:
        """Sessions have a mailbox each: they read them at the same time, and lock them. The others share one."""
        shared = self.homes / (f"{home.name}-alone" if cell.connections > 1 else f"shared-{cell.messages}")
        if not shared.exists():
            folder, octets = _maildir(shared), 0
            for path in sorted((self.homes / "messages").iterdir())[: cell.messages]:
                os.link(path, folder / path.name)
                octets += path.stat().st_size
            self.octets[cell.messages] = octets
        return shared

    def _write_messages(self) -> None:
        folder = self.homes / "messages"
        folder.mkdir()
        for number, content in enumerate(_contents()):
            name = f"{1_700_000_000 + number}.M{number}.bench,S={len(content)},W={len(content)}:2,S"
            (folder / name).write_bytes(content)


def _maildir(home: Path) -> Path:
    for name in ("cur", "new", "tmp"):
        (home / "Maildir" / name).mkdir(parents=True)
    return home / "Maildir" / "cur"


def _contents() -> list[bytes]:
    chance = random.Random(7)
    line = bytes(chance.choice(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") for _ in range(76))
    sizes = [chance.choice(SIZES) for _ in range(LARGE - HUGE)] + [MB10] * HUGE
    return [_content(number, size, line + b"\r\n") for number, size in enumerate(sizes)]


def _content(number: int, size: int, line: bytes) -> bytes:
    header = (
        f"From: Kim <{AUTHOR_OF_ALL}>\r\nTo: Ann <ann@portal.example>\r\nSubject: Message {number}\r\n"
        f"Message-ID: <{number}@bench.invalid>\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain\r\n\r\n"
    ).encode()
    return header + line * ((size - len(header)) // len(line))


@dataclass(frozen=True, slots=True)
class Provider:
    """A running Dovecot: `plain` in clear, `tls` with implicit TLS."""

    plain: int
    tls: int
    mail: Mail

    @classmethod
    def start(cls, processes: Processes, certificate: Certificate, mail: Mail, *, clients_of_one: int) -> Provider:
        """Each process that serves a mailbox takes `clients_of_one` clients."""
        provider = cls(free_port(), free_port(), mail)
        services = (dovecot.IMAP + CONFIGURATION).format(
            plain=provider.plain, tls=provider.tls, clients_of_one=clients_of_one, processors=processors()
        )
        ports, homes = (provider.plain, provider.tls), f"{mail.homes}/%n"
        dovecot.start(processes, certificate, "provider", services, ports=ports, homes=homes)
        return provider
