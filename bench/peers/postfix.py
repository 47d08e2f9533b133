"""Postfix with `always_bcc`: the usual way to keep a copy of all mail. Its copies go to a sink of their own.

It writes no log: that is cheapest for it.
"""

from __future__ import annotations

import shutil

from processes import free_port
from system import Site, System

from peers import dovecot

__all__ = ["start"]

MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
mail_owner = postfix
setgid_group = postdrop
mydestination =
myhostname = relay.invalid
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{sink.plain}
transport_maps = inline:{{ {{ copies.invalid = smtp:[127.0.0.1]:{copies.plain} }} }}
always_bcc = copies@copies.invalid
local_transport = error:none
alias_maps =
alias_database =
smtp_dns_support_level = disabled
smtp_host_lookup = native
bounce_queue_lifetime = 0
smtpd_client_connection_count_limit = 0
smtpd_peername_lookup = no
default_process_limit = 200
message_size_limit = 157286400
mailbox_size_limit = 0
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{sasl}
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions =
smtpd_tls_security_level = none
"""

MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""


def start(site: Site) -> System:
    """Starts Postfix with a queue of its own."""
    folder = site.processes.subfolder("postfix")
    for name in ("spool", "data", "configuration"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    port, sasl = free_port(), dovecot.start_sasl(site)
    configuration = folder / "configuration"
    main = MAIN.format(folder=folder, sink=site.sink, copies=site.copies, sasl=sasl)
    (configuration / "main.cf").write_text(main)
    (configuration / "master.cf").write_text(MASTER.format(port=port))
    pid = site.processes.start("postfix", ["postfix", "-c", configuration, "start-fg"], ports=(port,))
    return System(name="postfix", plain=port, pid=pid, recorded=lambda: site.copies.delivered()[0])
