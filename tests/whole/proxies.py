"""Proxies in front of us, as people have them: each keeps its connections to us, and is Debian's own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import PATIENCE
from tests.whole.clients import listening
from tests.whole.lines import wait_until

NGINX = """
daemon off;
pid {place}/nginx.pid;
error_log {place}/error.log;
worker_processes 1;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    upstream us {{
        server 127.0.0.1:{behind};
        keepalive 32;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{front};
        keepalive_requests 1000000;
        location / {{
            proxy_pass http://us;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
frontend clients
    bind 127.0.0.1:{front}
    default_backend us
backend us
    server us 127.0.0.1:{behind}
"""

HAPROXY_ANNOUNCES = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend clients
    bind 127.0.0.1:{front}
    default_backend us
backend us
    server us 127.0.0.1:{behind} %s
"""

NGINX_ANNOUNCES = """
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
pid {place}/nginx.pid;
error_log {place}/error.log;
worker_processes 1;
events {{ }}
stream {{
    server {{
        listen 127.0.0.1:{front};
        proxy_pass 127.0.0.1:{behind};
        proxy_protocol on;
    }}
}}
"""

CADDY = """
{{
    admin off
    auto_https off
}}
:{front} {{
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:{behind} {{
        transport http {{
            keepalive_idle_conns_per_host 32
        }}
    }}
}}
"""

# Without retry=0 one lost connection is an error of the whole server for a minute.
APACHE = """
ServerRoot {place}
DefaultRuntimeDir {place}
PidFile {place}/apache.pid
ErrorLog {place}/error.log
ServerName test
User www-data
Group www-data
Listen 127.0.0.1:{front}
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
MaxKeepAliveRequests 0
ProxyPass / http://127.0.0.1:{behind}/ retry=0
"""


@dataclass(frozen=True)
class Proxy:
    """A program, its configuration, and how it takes it."""

    program: str
    configuration: str
    arguments: Sequence[str]

    @contextmanager
    def before(self, behind: int, place: Path) -> Iterator[int]:
        """Run it before our port; the port it serves. Skips the test where it is missing, but not in CI."""
        path = shutil.which(self.program, path=f"{os.environ['PATH']}:/usr/sbin")
        if path is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{self.program} is not installed")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            front = probe.getsockname()[1]
        file = place / "proxy.conf"
        file.write_text(self.configuration.format(place=place, front=front, behind=behind))
        with (place / "proxy.log").open("w") as log:
            process = subprocess.Popen(
                [path, *(each.format(file=file, place=place) for each in self.arguments)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "HOME": str(place),
                    "XDG_DATA_HOME": str(place),
                    "XDG_CONFIG_HOME": str(place),
                },
            )
        try:
            wait_until(lambda: listening(front), (place / "proxy.log").read_text)
            yield front
        finally:
            process.terminate()
            process.wait(PATIENCE)


PROXIES = {
    "nginx": Proxy("nginx", NGINX, ("-p", "{place}", "-c", "{file}")),
    "haproxy": Proxy("haproxy", HAPROXY, ("-db", "-f", "{file}")),
    "caddy": Proxy("caddy", CADDY, ("run", "--config", "{file}", "--adapter", "caddyfile")),
    "apache": Proxy("apache2", APACHE, ("-f", "{file}", "-DFOREGROUND")),
}

ANNOUNCING = {
    "haproxy, version 1": Proxy("haproxy", HAPROXY_ANNOUNCES % "send-proxy", ("-db", "-f", "{file}")),
    "haproxy, version 2": Proxy("haproxy", HAPROXY_ANNOUNCES % "send-proxy-v2", ("-db", "-f", "{file}")),
    "nginx": Proxy("nginx", NGINX_ANNOUNCES, ("-p", "{place}", "-c", "{file}")),
}
"""Those that pass a connection's bytes on as they are, with the PROXY protocol in front."""
