"""A sweep runs code, and takes none from other users: loopback, TLS with a certificate on both sides, no HTTP."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys

import psutil
import pytest
from distributed import LocalCluster
from distributed.security import Security

from ltlib.launch import workers
from ltlib.launch.fill_in import fill_in
from ltlib.launch.sweep import sweep
from ltlib.launch.sweep_file import Options
from tests.waiting import PATIENCE

# What another user can try: to talk without TLS, with TLS and no certificate, and with a certificate of their own. With
# the right one, which comes last, they are let in, so it is the certificate that keeps them out.
ATTACK = """
import json, os, sys
from distributed import Client
from distributed.security import Security
right = json.load(sys.stdin)
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
print(os.getuid())
for protocol, security, timeout in (
    ("tcp", Security(), 5), ("tls", Security(), 5), ("tls", Security.temporary(), 5), ("tls", Security(**right), 120)
):
    try:
        client = Client(f"{protocol}://{sys.argv[1]}", security=security, timeout=timeout)
        print("reached by", client.submit(os.getuid).result(timeout=timeout))
    except Exception as error:
        print("refused:", type(error).__name__)
"""


@pytest.fixture(scope="module")
def crew():
    with workers.connected(Options(workers=1, gpus=0), 1) as found:
        yield found


def sockets(process: psutil.Process) -> list[tuple[str, int]]:
    """Where a process and its children listen on a network."""
    found = []
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            found += one.net_connections("inet")
    return [tuple(connection.laddr) for connection in found if connection.status == psutil.CONN_LISTEN]


def greet(place: tuple[str, int]) -> bytes:
    """What a server answers to a greeting by TLS without a certificate; nothing if it ends the connection."""
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(place, timeout=10) as plain, anyone.wrap_socket(plain) as talking:
            talking.sendall(b"hello")
            return talking.recv(1)
    except OSError:  # ssl.SSLError, or a connection that is reset
        return b""


def test_all_sockets_are_loopback_and_take_nobody_without_a_certificate(crew):
    found = sockets(psutil.Process())
    assert len(found) == 3  # the scheduler, the nanny of the worker, the worker; an HTTP server would be a fourth
    assert {address for address, _ in found} == {"127.0.0.1"}
    assert [greet(place) for place in found] == [b""] * 3


def test_another_user_cannot_reach_a_sweep(crew):
    security = crew.client.security
    right = {name: getattr(security, name) for name in ("tls_ca_file", "tls_client_cert", "tls_client_key")}
    address = crew.client.scheduler.address.removeprefix("tls://")
    tried = subprocess.run(
        [sys.executable, "-c", ATTACK, address],
        input=json.dumps(right),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    user, *refused, reached = tried.stdout.splitlines()
    assert user == str(os.getuid() or 65534), tried.stderr
    assert [answer.partition(":")[0] for answer in refused] == ["refused"] * 3, tried.stdout
    assert reached == f"reached by {os.getuid()}"  # as whom the worker runs


def test_no_certificate_stays_in_a_file_or_is_shown_in_a_command_line(crew):
    key = crew.client.security.tls_client_key
    assert "PRIVATE KEY" in key
    secret = key.splitlines()[2]
    looked_at = 0
    for one in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            words, files = (*one.cmdline(), *one.environ().values()), one.open_files()
            assert not any(secret in word for word in words)
            assert not any(str(file.path).endswith(".pem") for file in files)
            looked_at += 1
    assert looked_at >= 3  # this process, the nanny's worker and what watches over its resources


def test_a_kernel_is_this_python_and_takes_orders_through_sockets_of_its_user_only(tmp_path):
    code = (
        "import json, pathlib, sys, ipykernel.connect\n"
        "told = json.loads(ipykernel.connect.get_connection_info())\n"
        "folder = pathlib.Path(told['ip']).parent\n"
        "print(sys.executable, told['transport'], oct(folder.stat().st_mode), folder.stat().st_uid, sep='\\n')"
    )
    cell = {"cell_type": "code", "source": code, "metadata": {}, "outputs": [], "execution_count": None}
    about = {"kernelspec": {"name": "python3", "language": "python", "display_name": "any"}}
    notebook = {"cells": [cell], "metadata": about, "nbformat": 4, "nbformat_minor": 4}
    (tmp_path / "in.ipynb").write_text(json.dumps(notebook))
    fill_in(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {}, None)
    cells = json.loads((tmp_path / "out.ipynb").read_text())["cells"]
    printed = "".join(text for cell in cells for output in cell["outputs"] for text in output["text"])
    assert printed.split() == [sys.executable, "ipc", "0o40700", str(os.getuid())]


def test_a_cluster_with_certificates_is_used_without_insisting(tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr("ltlib.launch.sweep._Sweep.train", lambda self: trained.append(self))
    (tmp_path / "one.yaml").write_text("common: {profile: smoke}\n")
    cluster = type("Cluster", (), {"scheduler_address": "tls://host:8786"})()
    sweep(tmp_path / "one.yaml", cluster=cluster)
    assert trained[0].cluster is cluster
    assert trained[0].options.scheduler == "tls://host:8786"


def test_a_running_cluster_with_certificates_answers_and_stays(monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", PATIENCE)
    quiet = {"dashboard_address": None, "worker_dashboard_address": None}
    with LocalCluster(n_workers=0, security=Security.temporary(), protocol="tls://", **quiet) as cluster:
        with workers.connected(Options(scheduler=cluster.scheduler_address), 1, cluster) as found:
            assert found.size() == 0
        assert cluster.status.name == "running"
