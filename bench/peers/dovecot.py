"""Dovecot: its submission service, which relays command by command, and its SASL service, which Postfix asks."""

from __future__ import annotations

from pathlib import Path

from processes import free_port
from system import Site, System, processors

__all__ = ["start_sasl", "start_submission"]

CONFIGURATION = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
listen = 127.0.0.1
ssl = no
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
  args = nopassword=y
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


def start_sasl(site: Site) -> int:
    """Starts the SASL service; its port."""
    port = free_port()
    _start(site, "dovecot-sasl", SASL.format(port=port), port)
    return port


def start_submission(site: Site) -> System:
    """Starts the submission service."""
    port = free_port()
    pid = _start(site, "dovecot", SUBMISSION.format(port=port, sink=site.sink, processors=processors()), port)
    return System(name="dovecot", plain=port, pid=pid)


def _start(site: Site, name: str, services: str, port: int) -> int:
    folder: Path = site.processes.subfolder(name)
    home = site.processes.subfolder(f"{name}/home", 0o777)
    configuration = folder / "dovecot.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, home=home) + services)
    return site.processes.start(name, ["dovecot", "-F", "-c", configuration], ports=(port,))
