import asyncio
import socket

import pytest

from proxy.admin.health import Health
from proxy.admin.server import AdminServer
from proxy.admin.status import ConnectionStatus
from proxy.cli.admin_client import AdminClient, AdminRefusalError, NotRunningError
from proxy.definitions.settings import AdminListener
from proxy.secret import Secret
from tests.support.outside import own_address
from tests.support.running import Running

CRM = ConnectionStatus("crm", iclient="acme", grant_type="password", state="valid")


async def no_metrics(_accept):
    raise AssertionError("nobody asked for metrics")


@pytest.fixture
async def serve():
    servers = []

    async def start(sock, **settings):
        server = AdminServer(AdminListener(**settings), Running({"crm": CRM}).ports, Health(list), no_metrics)
        await server.start(sock)
        servers.append(server)

    yield start
    for server in servers:
        await server.close()


async def test_the_api_is_spoken_over_a_unix_socket(serve, tmp_path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "admin.sock"))
    await serve(sock)
    client = AdminClient(f"unix:{tmp_path}/admin.sock", {})

    [row] = await asyncio.to_thread(client.connections)

    assert (row["name"], row["state"]) == ("crm", "valid")
    assert await asyncio.to_thread(client.probe, "/livez") == (200, "ok")
    with pytest.raises(NotRunningError, match=r"no-such-file.*No such file"):
        AdminClient(f"unix:{tmp_path}/no-such-file", {}).connections()


async def test_from_another_machine_the_credential_comes_from_the_environment(serve):
    own = own_address()
    sock = socket.create_server(("0.0.0.0", 0))
    await serve(sock, auth=Secret("canary-admin-credential"))
    url = f"http://{own}:{sock.getsockname()[1]}/"

    with pytest.raises(AdminRefusalError, match="needs a loopback peer or the admin credential"):
        await asyncio.to_thread(AdminClient(url, {}).connections)
    knowing = AdminClient(url, {"ICLIENT_PROXY_ADMIN_TOKEN": "canary-admin-credential"})
    assert (await asyncio.to_thread(knowing.renew, "crm"))["name"] == "crm"
