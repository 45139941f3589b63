"""With one process nothing of workers is there."""

from __future__ import annotations

import subprocess
import sys

from proxy.runtime.workers.inherited import environment
from tests.support.process import ROOT

_LOADED = (
    "import sys; import proxy.runtime.run; "
    "print([name for name in sys.modules if name.startswith(('proxy.runtime.workers', 'proxy.tokens.watched'))])"
)


def test_a_proxy_without_workers_loads_nothing_of_them():
    said = subprocess.run([sys.executable, "-c", _LOADED], cwd=ROOT, capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "[]"


def test_a_worker_that_somebody_starts_by_hand_says_who_starts_it():
    process = subprocess.run(
        [sys.executable, "-m", "proxy", "worker"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert process.returncode == 71
    assert "iclient-proxy run" in process.stderr


def test_a_worker_has_what_the_machine_and_the_form_of_the_product_need_and_nothing_of_the_operator():
    machine = {"PATH": "/bin", "LC_ALL": "C", "SSL_CERT_FILE": "/c.pem", "PYTHONHASHSEED": "0"}
    product = {"ICLIENT_PROXY_PURE": "1"}
    operator = {"ICLIENT_PROXY_KEY": "k", "ICLIENT_PROXY_ADMIN_TOKEN": "t", "CLIENT_SECRET": "s", "HTTPS_PROXY": "p"}

    assert environment({**machine, **product, **operator}) == {**machine, **product}
