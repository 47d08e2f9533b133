"""Where the sandbox listens, and the settings file that says so."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["IMAP_PROVIDER", "Ports"]

IMAP_PROVIDER = "sandbox-imap"

SETTINGS = """\
# Written by `onrecord sandbox` for ports from {base}, IMAP too; written anew when it is started with other ports.
hostname = "localhost"

[web]
port = {web}

[tls]
certificates = [{{ certificate = "certs/server.pem", key = "keys/server.key" }}]

[[provider]]
name = "sandbox"
host = "127.0.0.1"
port = {smtp}
tls = "starttls"
ca_file = "certs/ca.pem"

[[provider]]
name = "{imap_provider}"
kind = "imap"
host = "127.0.0.1"
port = {imap}
tls = "none"

[[listener]]
port = {starttls}
tls = "starttls"
provider = "sandbox"

[[listener]]
port = {implicit}
tls = "implicit"
provider = "sandbox"

[[listener]]
kind = "imap"
port = {imap_starttls}
tls = "starttls"
provider = "{imap_provider}"

[[listener]]
kind = "imap"
port = {imap_implicit}
tls = "implicit"
provider = "{imap_provider}"
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """Every port follows from the base."""

    base: int

    @property
    def smtp(self) -> int:
        """The provider's SMTP, in clear."""
        return self.base + 1

    @property
    def imap(self) -> int:
        """The provider's IMAP, in clear."""
        return self.base + 2

    @property
    def implicit(self) -> int:
        """Submission with implicit TLS."""
        return self.base + 65

    @property
    def starttls(self) -> int:
        """Submission with STARTTLS."""
        return self.base + 87

    @property
    def imap_starttls(self) -> int:
        """IMAP with STARTTLS."""
        return self.base + 43

    @property
    def imap_implicit(self) -> int:
        """IMAP with implicit TLS."""
        return self.base + 93

    @property
    def web(self) -> int:
        """The pages."""
        return self.base + 80

    def settings(self) -> str:
        """The settings file."""
        return SETTINGS.format(
            base=self.base,
            imap_provider=IMAP_PROVIDER,
            smtp=self.smtp,
            imap=self.imap,
            starttls=self.starttls,
            implicit=self.implicit,
            web=self.web,
            imap_starttls=self.imap_starttls,
            imap_implicit=self.imap_implicit,
        )
