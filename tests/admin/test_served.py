import subprocess
import sys


def said(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()


def test_a_proxy_without_an_admin_listener_does_not_load_what_serves_it():
    loaded = said("import sys, proxy.runtime.run; print(*sys.modules)")

    assert "proxy.runtime.service" in loaded
    assert "aiohttp" not in loaded


def test_the_client_that_comes_with_the_server_is_not_loaded():
    loaded = said("import sys, proxy.admin.server; print(*sys.modules)")

    assert "aiohttp.web" in loaded
    assert not {"aiohttp.client", "aiohttp.connector", "aiohttp.cookiejar"} & set(loaded)


def test_who_wants_the_client_gets_it_beside_the_same_server():
    assert said(
        "from proxy.admin.served import web; import aiohttp; from aiohttp import web as other;"
        "print(aiohttp.ClientSession.__name__, other is web, aiohttp.web is web, type(aiohttp).__name__)"
    ) == ["ClientSession", "True", "True", "module"]


def test_the_version_that_the_server_tells_is_that_of_the_package():
    assert said(
        "from importlib.metadata import version; from proxy.admin.served import web; from aiohttp.http import *;"
        "import aiohttp; print(aiohttp.http.SERVER_SOFTWARE.endswith('aiohttp/' + version('aiohttp')))"
    ) == ["True"]


def test_what_the_package_has_not_is_missing_as_in_any_package():
    assert said(
        "import proxy.admin.served, aiohttp; print(hasattr(aiohttp, 'nonsense'), hasattr(aiohttp, 'request'))"
    ) == ["False", "True"]
