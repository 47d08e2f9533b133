"""nginx as mail proxy: it reads the login, then moves octets. It answers its own `auth_http`, at the least cost."""

from __future__ import annotations

from collections.abc import Collection

from processes import Processes, free_port
from system import Site, System

__all__ = ["start", "start_proxy"]

CONFIGURATION = """
daemon off;
worker_processes auto;
pid {folder}/pid;
error_log {folder}/error.log;
user www-data;
load_module /usr/lib/nginx/modules/ngx_mail_module.so;
worker_rlimit_nofile 20000;
events {{ worker_connections 10000; }}
http {{
  access_log off;
  client_body_temp_path {folder}/1;
  proxy_temp_path {folder}/2;
  fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4;
  scgi_temp_path {folder}/5;
  server {{
    listen 127.0.0.1:{auth};
    location / {{
      add_header Auth-Status OK always;
      add_header Auth-Server 127.0.0.1 always;
      add_header Auth-Port {provider} always;
      return 204;
    }}
  }}
}}
mail {{
  server_name bench.invalid;
  auth_http 127.0.0.1:{auth}/;
  proxy_pass_error_message on;
  proxy_buffer 64k;
  timeout 600s;
{servers}}}
"""

SUBMISSION = """
  server {{
    listen 127.0.0.1:{plain} backlog=4096;
    protocol smtp;
    smtp_auth plain login;
    proxy_smtp_auth on;
    xclient off;
    smtp_capabilities PIPELINING 8BITMIME "SIZE 157286400";
  }}
"""


def start(site: Site) -> System:
    """Starts it for submission."""
    plain = free_port()
    pid = start_proxy(site.processes, SUBMISSION.format(plain=plain), provider=site.sink.plain, ports=(plain,))
    return System(name="nginx", plain=plain, pid=pid)


def start_proxy(processes: Processes, servers: str, *, provider: int, ports: Collection[int]) -> int:
    """Starts nginx with one process for each processor; its process id. All logins go to the port `provider`."""
    folder = processes.subfolder("nginx")
    configuration = folder / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, auth=free_port(), provider=provider, servers=servers))
    return processes.start("nginx", ["nginx", "-c", configuration, "-p", folder], ports=ports)
