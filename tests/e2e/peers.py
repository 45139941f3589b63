"""The real programs around the proxy, each a process of its own: nginx, an authorization server on Node, the proxy."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import trustme

from tests.conftest import AUTHORIZATION_SERVER, program

SECONDS = 30


class Program:
    """A running process; `lines` is what it has written on both outputs."""

    def __init__(self, command, *, environment=None, **options):
        self.lines = []
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], **(environment or {})},
            **options,
        )
        self._reader = threading.Thread(target=self._read, name=str(command[0]), daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            with self._changed:
                self.lines.append(line.decode("utf-8", "backslashreplace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    @property
    def output(self):
        return "\n".join(self.lines)

    def until(self, what, find):
        """Wait until `find(lines)` returns something other than None; return it."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: (find(self.lines) is not None) or self._process.poll() is not None, timeout=SECONDS
            )
            result = find(self.lines)
        assert found, f"waited {SECONDS} s in vain for {what}:\n{self.output}"
        assert result is not None, f"ended before {what}:\n{self.output}"
        return result

    def logged(self, event):
        """Return the log lines of that event."""
        found = (json.loads(line) for line in list(self.lines) if line.startswith("{"))
        return [line for line in found if line.get("event") == event]

    def stop(self, number=signal.SIGTERM):
        """End the process by a signal and return its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            status = self._process.wait(SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join(SECONDS)
            self._process.stdout.close()
            self._process.stdin.close()
        return status


class Authority:
    """A certificate authority of the test; `ca`, `cert`, `key` are files, good for `localhost`; `issue` makes more."""

    def __init__(self, folder):
        authority = trustme.CA()
        leaf = authority.issue_cert("localhost")
        self.issue = authority.issue_cert
        self.ca, self.cert, self.key = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
        authority.cert_pem.write_to_path(self.ca)
        leaf.private_key_pem.write_to_path(self.key)
        self.cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))


class AuthorizationServer:
    """npm's oidc-provider over TLS. Counts come from its own events."""

    def __init__(self, authority, clients):
        self._authority = authority
        self._program = Program(
            [
                program("node"), AUTHORIZATION_SERVER / "server.mjs", authority.cert, authority.key, authority.ca,
                json.dumps(clients),
            ],
            environment={"NODE_NO_WARNINGS": "1"},
        )  # fmt: skip
        said = self._program.until(
            "its addresses", lambda lines: next((json.loads(line) for line in lines if line.startswith("{")), None)
        )
        self.issuer = said["issuer"]
        self.api = f"127.0.0.1:{said['api']}"
        self._control = f"http://127.0.0.1:{said['control']}"

    def counts(self):
        """Return the token requests it has seen: `requests`, and by "CLIENT GRANT" those `issued` and `refused`."""
        with urllib.request.urlopen(f"{self._control}/counts", timeout=SECONDS) as response:
            return json.load(response)

    def forget(self, token):
        """Make one access token worthless and nothing else."""
        with urllib.request.urlopen(f"{self._control}/forget/{token}", data=b"", timeout=SECONDS) as response:
            assert response.status == 200

    def knows(self, token):
        """Tell whether an access token is good."""
        return curl(f"http://{self.api}/check", "-H", f"Authorization: Bearer {token}").status == 204

    @staticmethod
    def credentials(client, secret):
        """Return what has curl send them as RFC 6749 §2.3.1 says."""
        return "--user", f"{quote(client, safe='')}:{quote(secret, safe='')}"

    def revoke(self, token, client, secret):
        """Revoke a token as its client may (RFC 7009), by curl; this server then revokes its refresh token, too."""
        reply = curl(
            f"{self.issuer}/token/revocation", "--cacert", self._authority.ca, *self.credentials(client, secret),
            "--data-urlencode", f"token={token}",
        )  # fmt: skip
        assert reply.status == 200

    def stop(self):
        self._program.stop()


_LAST = "/what-came-before-is-logged"


class Nginx:
    """The upstream: nginx over TLS. Every request has to bring a token that the authorization server calls good.

    `/files/` holds files, the rest is an API that echoes what reached it. The access log counts: one line a request.
    """

    def __init__(self, folder, authority, check):
        self._ca = authority.ca
        self.files = folder / "files"
        self.files.mkdir()
        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        self.url = f"https://localhost:{port}"
        self._log = folder / "access.log"
        configuration = folder / "nginx.conf"
        configuration.write_text(
            textwrap.dedent(f"""\
                {"user root;" if os.geteuid() == 0 else ""}
                daemon off;
                master_process on;
                worker_processes 1;
                pid {folder}/nginx.pid;
                error_log stderr warn;
                events {{ worker_connections 256; }}
                http {{
                    log_format seen escape=json
                        '{{"request":"$request","status":$status,"authorization":"$http_authorization"}}';
                    access_log {self._log} seen;
                    client_body_temp_path {folder}/body;
                    proxy_temp_path {folder}/proxy;
                    fastcgi_temp_path {folder}/fastcgi;
                    uwsgi_temp_path {folder}/uwsgi;
                    scgi_temp_path {folder}/scgi;
                    client_max_body_size 0;
                    server {{
                        listen 127.0.0.1:{port} ssl;
                        server_name localhost;
                        ssl_certificate {authority.cert};
                        ssl_certificate_key {authority.key};
                        ssl_protocols TLSv1.2 TLSv1.3;
                        auth_request /_check;
                        error_page 401 @refused;
                        location = /_check {{
                            internal;
                            proxy_pass http://{check}/check;
                            proxy_pass_request_body off;
                            proxy_set_header Content-Length "";
                        }}
                        location @refused {{
                            internal;
                            auth_request off;
                            default_type application/json;
                            add_header WWW-Authenticate 'Bearer error="invalid_token"' always;
                            return 401 '{{"error":"invalid_token"}}';
                        }}
                        location /files/ {{ root {folder}; }}
                        location / {{
                            proxy_pass http://{check};
                            proxy_http_version 1.1;
                            proxy_set_header Host $http_host;
                            proxy_request_buffering off;
                        }}
                    }}
                }}
            """)
        )
        # nginx takes over the listening socket, so that no other process can take its port in between.
        self._program = Program(
            [program("nginx"), "-p", folder, "-c", configuration, "-e", "stderr"],
            environment={"NGINX": f"{listening.fileno()};"},
            pass_fds=[listening.fileno()],
        )
        listening.close()

    def seen(self):
        """Return what its access log holds: for each request its request line, status and credential.

        A line is written after the response is; the one worker takes up another request when that is done.
        """
        curl(f"{self.url}{_LAST}", "--cacert", self._ca)
        lines = (json.loads(line) for line in self._log.read_text().splitlines())
        return [line for line in lines if line["request"].split()[1] != _LAST]

    def stop(self):
        self._program.stop()


class Proxy:
    """The product, by the command that an operator types."""

    def __init__(self, folder, definitions, environment):
        self.file = folder / "iclient-proxy.yaml"
        self.file.write_text(definitions)
        self.environment = {"HOME": str(folder), **environment}
        self._folder = folder
        self._program = Program([COMMAND, "run"], environment=self.environment, cwd=folder)
        self.url, self.admin = (f"http://{self._listening(name)}" for name in ("reverse", "admin"))

    def _listening(self, listener):
        def find(lines):
            said = [json.loads(line) for line in lines if '"listening"' in line]
            return next((line["address"] for line in said if line["listener"] == listener), None)

        return self._program.until(f"the {listener} listener", find)

    @property
    def output(self):
        return self._program.output

    def logged(self, event):
        return self._program.logged(event)

    def until_line(self, event, path):
        """Wait for the line of an event with that path; return it."""
        return self._program.until(
            f"the {event} of {path}",
            lambda _: next((line for line in self._program.logged(event) if line.get("path") == path), None),
        )

    def say(self, *words, status=0):
        """Run another command of the product beside the running one; return what it prints."""
        return command(*words, folder=self._folder, environment={**self.environment}, status=status)

    def stop(self):
        return self._program.stop()


COMMAND = Path(sys.executable).with_name("iclient-proxy")


def command(*words, folder, environment, status=0):
    """Run the product's command to its end; return its standard output."""
    done = subprocess.run(
        [COMMAND, *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout if status == 0 else done.stdout + done.stderr


class Reply:
    """What curl saw: status, header fields by lower-case name, body."""

    def __init__(self, status, fields, body):
        self.status = status
        self.fields = fields
        self.body = body

    def json(self):
        return json.loads(self.body)


def curl(url, *options):
    """Ask by the real curl, without its own settings and without proxies."""
    done = subprocess.run(
        [program("curl"), "--disable", "--silent", "--show-error", "--noproxy", "*", "--max-time", str(SECONDS),
         "--dump-header", "/dev/stderr", *map(str, options), url],
        capture_output=True, check=False, timeout=SECONDS + 5, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    heads = done.stderr.decode("latin-1").strip().split("\r\n\r\n")
    first, *rest = heads[-1].splitlines()
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    return Reply(int(first.split()[1]), fields, done.stdout)


@contextmanager
def running(peer):
    """Stop the peer in the end."""
    try:
        yield peer
    finally:
        peer.stop()
