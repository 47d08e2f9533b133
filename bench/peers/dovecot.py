"""Dovecot: its submission service, which relays command by command, and its SASL service, which Postfix asks.

`start` is for what else it does here: it keeps the mailboxes of the IMAP part, and is the IMAP proxy of one peer.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from processes import Processes, free_port
from sink import Certificate
from system import Site, System, processors

__all__ = ["IMAP", "start", "start_sasl", "start_submission"]

CONFIGURATION = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
listen = 127.0.0.1
ssl = yes
ssl_cert = <{certificate.certificate}
ssl_key = <{certificate.key}
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_cache_size = 10M
first_valid_uid = 1
mail_uid = nobody
mail_gid = nogroup
mail_max_userip_connections = 0
login_trusted_networks = 127.0.0.0/8
default_client_limit = 10000
default_process_limit = 1000
passdb {{
  driver = static
  args = nopassword=y{password_arguments}
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={home}
}}
service anvil {{
  client_limit = 20000
}}
service stats {{
  client_limit = 20000
}}
"""

SASL = """
protocols =
service auth {{
  client_limit = 20000
  inet_listener {{
    port = {port}
  }}
}}
"""

SUBMISSION = """
protocols = submission
hostname = bench.invalid
submission_relay_host = 127.0.0.1
submission_relay_port = {sink.plain}
submission_relay_user = u
submission_relay_password = p
submission_max_mail_size = 150M
mail_location = maildir:~/Maildir
service auth {{
  client_limit = 20000
}}
service submission-login {{
  service_count = 0
  process_min_avail = {processors}
  client_limit = 10000
  vsz_limit = 4G
  inet_listener submission {{
    port = {port}
  }}
  inet_listener submissions {{
    port = 0
  }}
}}
service submission {{
  process_limit = 500
  service_count = 100
}}
"""

# What logs clients in, whether the mailbox is here or behind.
IMAP = """
protocols = imap
service imap-login {{
  service_count = 0
  process_min_avail = {processors}
  client_limit = 10000
  vsz_limit = 4G
  inet_listener imap {{
    port = {plain}
  }}
  inet_listener imaps {{
    port = {tls}
    ssl = yes
  }}
}}
"""


def start_sasl(site: Site) -> int:
    """Starts the SASL service; its port."""
    port = free_port()
    start(site.processes, site.certificate, "dovecot-sasl", SASL.format(port=port), ports=(port,))
    return port


def start_submission(site: Site) -> System:
    """Starts the submission service."""
    port = free_port()
    services = SUBMISSION.format(port=port, sink=site.sink, processors=processors())
    pid = start(site.processes, site.certificate, "dovecot", services, ports=(port,))
    return System(name="dovecot", plain=port, pid=pid)


def start(
    processes: Processes,
    certificate: Certificate,
    name: str,
    services: str,
    *,
    ports: Collection[int],
    homes: Path | str | None = None,
    proxied_to: str = "",
) -> int:
    """Starts a Dovecot with these services; its process id. `homes` is where users' folders are.

    `proxied_to` is what its password database tells of the server that all logins go to.
    """
    folder = processes.subfolder(name)
    configuration = folder / "dovecot.conf"
    common = CONFIGURATION.format(
        folder=folder,
        home=homes or processes.subfolder(f"{name}/home", 0o777),
        certificate=certificate,
        password_arguments=f" proxy=y {proxied_to}" if proxied_to else "",
    )
    configuration.write_text(common + services)
    return processes.start(name, ["dovecot", "-F", "-c", configuration], ports=ports)
