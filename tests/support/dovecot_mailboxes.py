"""Debian's Dovecot as an IMAP server, which takes passwords and bearer tokens."""

from __future__ import annotations

from textwrap import dedent

from debian_peers import Dovecot, Route
from pki import Pki

from proxy.route import Provider, ProviderKind, Tls

__all__ = ["DovecotMailboxes"]

UNUSED = Route(port=0)


class DovecotMailboxes(Dovecot):
    """IMAP on `starttls_port` and `implicit_port`; the logins are those of `debian_peers`."""

    def __init__(self, pki: Pki) -> None:
        super().__init__(pki, UNUSED)

    def provider(self, tls: Tls) -> Provider:
        """The server, as settings name it."""
        port = self.implicit_port if tls is Tls.IMPLICIT else self.starttls_port
        return Provider(
            name="dovecot", kind=ProviderKind.IMAP, host="localhost", port=port, tls=tls, ca_file=self.pki.ca_file
        )

    def _settings(self) -> str:
        text = super()._settings()
        return text.replace("xoauth2 scram", "xoauth2 oauthbearer scram").replace(
            "mechanisms = xoauth2\n", "mechanisms = xoauth2 oauthbearer\n"
        )

    def _submission(self) -> str:
        return dedent(
            f"""
            protocols = imap
            service imap-login {{
              inet_listener imap {{
                port = {self.starttls_port}
              }}
              inet_listener imaps {{
                port = {self.implicit_port}
                ssl = yes
              }}
            }}
            """
        )
