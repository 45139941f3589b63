"""A pod without a cluster: volumes laid out as the kubelet does, the command as a process under its user id."""

import asyncio
import os
import random
import re
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from tests.conftest import program
from tests.docs.page import ROOT
from tests.helm.charts import containers
from tests.support.client import Client
from tests.support.deadline import eventually
from tests.support.process import Process

# A second address of this machine's loopback stands for the pod's own: what listens on 127.0.0.1 is not there.
POD_IP = "127.0.0.2"
ENTRYPOINT = [sys.executable, "-m", "proxy"]


def free_port():
    """Return a port that nothing listens on, at any address of this machine; the chart wants to know it beforehand.

    It lies below those that the kernel hands out, so that no other test gets it meanwhile.
    """
    while True:
        port = random.randrange(12000, 32000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            return port


class Volume:
    """A folder whose content is swapped as the kubelet's: a new folder, then one rename of the link `..data`."""

    def __init__(self, folder, mode):
        self.folder = folder
        self._mode = mode
        self._writes = 0
        folder.mkdir(mode=0o755, parents=True)
        folder.chmod(0o755)

    def write(self, files):
        """Replace the content by `files`, text by name."""
        self._writes += 1
        before = self.folder / "..data"
        old = before.resolve() if before.is_symlink() else None
        new = self.folder / f"..2026_11_26_08_00_{self._writes:02}.123456789"
        new.mkdir()
        new.chmod(0o755)
        for name, text in files.items():
            (new / name).write_text(text)
            (new / name).chmod(self._mode)
        (self.folder / "..data_tmp").symlink_to(new.name)
        (self.folder / "..data_tmp").rename(before)
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        for link in self.folder.iterdir():
            if link.is_symlink() and not link.exists():
                link.unlink()
        if old is not None:
            shutil.rmtree(old)


class Pod:
    """A pod's spec, the objects it takes files and variables from, and where its volumes lie."""

    def __init__(self, spec, folder, *, config_maps, secrets, annotations=None):
        self.spec = spec
        self.config_maps = config_maps
        self.secrets = secrets
        self.annotations = annotations or {}
        self.volumes = {}
        folder.chmod(0o755)
        for each in spec["volumes"]:
            if "projected" in each:
                volume = Volume(folder / each["name"], each["projected"]["defaultMode"])
                self.volumes[each["name"]] = volume
                volume.write(self._projected(each["projected"]["sources"]))

    def sync(self):
        """Write all volumes anew, as the kubelet does within a minute after an object has changed."""
        for each in self.spec["volumes"]:
            if "projected" in each:
                self.volumes[each["name"]].write(self._projected(each["projected"]["sources"]))

    def _projected(self, sources):
        files = {}
        for source in sources:
            [(kind, block)] = source.items()
            if kind == "downwardAPI":
                for item in block["items"]:
                    [name] = re.fullmatch(r"metadata\.annotations\['(.*)'\]", item["fieldRef"]["fieldPath"]).groups()
                    files[item["path"]] = self.annotations[name]
                continue
            data = {"configMap": self.config_maps, "secret": self.secrets}[kind][block["name"]]
            paths = {item["key"]: item["path"] for item in block.get("items", ())} or {key: key for key in data}
            files |= {path: data[key] for key, path in paths.items()}
        return files

    def container(self, name):
        """Return the container of that name."""
        [found] = [each for each in containers(self.spec) if each["name"] == name]
        return found

    def environment(self, name):
        """Return the variables of a container, each with what it takes from earlier ones: `$(NAME)`."""
        known = {}
        for each in self.container(name).get("env", ()):
            if "valueFrom" in each:
                reference = each["valueFrom"]["secretKeyRef"]
                known[each["name"]] = self.secrets[reference["name"]][reference["key"]]
            else:
                known[each["name"]] = re.sub(
                    r"\$\((\w+)\)", lambda found: known.get(found[1], found[0]), each["value"]
                )  # a reference to nothing stays as it is
        return known

    async def start(self, name="iclient-proxy", needing="proxy.cli.main"):
        """Run the proxy's container as its security context says; its mounts are read where they lie here.

        `needing` is a module without which it would not do. It may be missing in the Python that another user gets.
        """
        container = self.container(name)
        mounts = {each["mountPath"]: self.volumes[each["name"]].folder for each in container["volumeMounts"]}
        args = [str(mounts.get(word, word)) for word in container["args"]]
        context = container["securityContext"]
        running = await asyncio.create_subprocess_exec(
            *under(context["runAsUser"], context["runAsGroup"], needing), *ENTRYPOINT, *args,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            cwd="/", limit=1 << 20,
            env={
                "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONWARNINGS": "default::ResourceWarning", **self.environment(name),
            },
        )  # fmt: skip
        return Process(running)

    async def probe(self, kind, name="iclient-proxy"):
        """Ask what that probe asks, at the pod's address, as a node does; tell whether it is good."""
        container = self.container(name)
        asked = container[kind]["httpGet"]
        [port] = [each["containerPort"] for each in container["ports"] if each["name"] == asked["port"]]
        try:
            client = await Client.connect((POD_IP, port))
        except OSError:
            return False
        try:
            head = f"GET {asked['path']} HTTP/1.1\r\nHost: {POD_IP}:{port}\r\nConnection: close\r\n\r\n"
            return (await client.ask(head.encode())).status == 200
        finally:
            await client.close()

    async def until_good(self, kind):
        """Wait until a probe is good, within what its thresholds allow."""
        probe = self.container("iclient-proxy")[kind]
        seconds = probe["periodSeconds"] * probe["failureThreshold"]
        await eventually(f"a good {kind}", lambda: self.probe(kind), seconds)


def proxy_says(*words):
    """Run another command of the product to its good end; return what it prints."""
    done = subprocess.run(
        [*ENTRYPOINT, *map(str, words)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def under(user, group, needing="proxy.cli.main"):
    """Return the command that takes the container's user id and no privilege; none where this user may not."""
    words = (
        "setpriv",
        f"--reuid={user}",
        f"--regid={group}",
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
    )
    return words if _can(words, needing) else ()


@cache
def _can(words, needing):
    """Tell whether we may become that user, and whether that one may read this project and what it needs."""
    if program(words[0]) is None:
        return False
    asked = [*words, sys.executable, "-c", f"import {needing}"]
    environment = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(asked, cwd="/", env=environment, capture_output=True, check=False).returncode == 0


def folder_of_a_node(name):
    """Return a new folder that other users may enter; pytest's own are closed to them."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    folder.chmod(0o755)
    return folder
