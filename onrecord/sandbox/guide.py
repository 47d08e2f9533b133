"""What the sandbox prints before `ready`: ports, logins, and lines to paste."""

from __future__ import annotations

from pathlib import Path

from onrecord.sandbox.ports import Ports
from onrecord.sandbox.provider import PASSWORD
from onrecord.sandbox.sample import ADMIN, ADMIN_PASSWORD, CONTACTS, PORTAL, USERS

__all__ = ["guide"]


def guide(folder: Path, ports: Ports) -> str:
    """The text, with everything filled in."""
    users = "\n".join(f"  {each.account:<18} {each.name}: {each.shows}" for each in USERS)
    contacts = "\n".join(f"  {each.primary:<18} {each.name}: {each.shows}" for each in CONTACTS)
    authority, submission = folder / "certs/ca.pem", ports.starttls
    return f"""\
onrecord sandbox: everything on 127.0.0.1, portal {PORTAL}, rule "all"

In the browser: http://localhost:{ports.web}
  sign in as {ADMIN}, password {ADMIN_PASSWORD}

Mail clients point here
  {ports.starttls:<6} submission, STARTTLS
  {ports.implicit:<6} submission, implicit TLS (authority: {authority})
  {ports.imap_starttls:<6} IMAP, STARTTLS
  {ports.imap_implicit:<6} IMAP, implicit TLS
The other side of a correspondence, without onrecord in between
  {ports.smtp:<6} the provider's SMTP, in clear
  {ports.imap:<6} the provider's IMAP, in clear

Users; each login is its address, password {PASSWORD}
{users}
Contacts; they have accounts too
{contacts}

Send a mail from Ann to Kim:
  swaks --server 127.0.0.1:{submission} -tls -au ann@acme.example -ap {PASSWORD} -f ann@acme.example -t kim@cust.example
  curl --ssl-reqd --cacert {authority} -u ann@acme.example:{PASSWORD} --mail-from ann@acme.example \\
    --mail-rcpt kim@cust.example -T message.eml smtp://localhost:{submission}
  python3 - <<'END'
import smtplib, ssl
with smtplib.SMTP_SSL("localhost", {ports.implicit}, context=ssl.create_default_context(cafile="{authority}")) as smtp:
    smtp.login("ann@acme.example", "{PASSWORD}")
    smtp.sendmail("ann@acme.example", "kim@cust.example",
                  "From: ann@acme.example\\nTo: kim@cust.example\\nSubject: Hello\\n\\nHi\\n")
END
Read Ann's mail through onrecord, which logs what Kim wrote to her:
  curl --cacert {authority} -u ann@acme.example:{PASSWORD} 'imaps://localhost:{ports.imap_implicit}/INBOX;MAILINDEX=1'
Read Kim's mail:
  curl -u kim@cust.example:{PASSWORD} 'imap://127.0.0.1:{ports.imap}/INBOX;MAILINDEX=1'
Look at the log:
  onrecord -c {folder / "onrecord.toml"} emails
  onrecord -c {folder / "onrecord.toml"} decisions
"""
