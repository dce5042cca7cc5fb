"""What is told while a runtime is fetched and carried to a device, and what stays where that is killed."""

import base64
import contextlib
import dataclasses
import hashlib
import http.server
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from edgewright import runtimes
from edgewright.devices._carried import wheels_for
from edgewright.devices._found import look
from edgewright.devices._links import Here
from edgewright.devices._runtime_there import install, provide, runtimes_folder
from edgewright.devices._ssh import Ssh

from ._ssh_servers import FREEZE, Line, needs_ssh
from ._waiting import met

needs_ssh()

pytestmark = pytest.mark.usefixtures("home")

# In a runtime's place: what imports by its name, needs another distribution, and is 1 MB that nothing makes smaller.
_PACKAGES = {"one": ("ai_edge_litert/interpreter.py", ["two"]), "two": ("two.py", [])}
_RUNTIME = dataclasses.replace(runtimes.get("litert"), distribution="one", needs=("two",))
_PAYLOAD_BYTES = 1_000_000


def _wheel(folder, name):
    """Write a wheel and, beside it, its metadata."""
    module, needs = _PACKAGES[name]
    metadata = "".join(
        [f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", *(f"Requires-Dist: {x}\n" for x in needs)]
    )
    info = f"{name}-1.0.dist-info"
    files = {module: b"", f"{info}/METADATA": metadata.encode()}
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if name == "one":
        files["ai_edge_litert/payload"] = os.urandom(_PAYLOAD_BYTES)
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        record = ""
        for path, content in files.items():
            archive.writestr(path, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(content)}\n"
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    (folder / f"{name}-1.0-py3-none-any.whl.metadata").write_text(metadata)


class _Index(http.server.ThreadingHTTPServer):
    """A package index of this host's, which tells wheels' metadata or not, and may hold a wheel back half sent."""

    def __init__(self, folder, metadata):
        super().__init__(("127.0.0.1", 0), _Pages)
        self.folder, self.metadata = folder, metadata
        self.held, self.go_on = "", threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        """Answer with a distribution's page, or a file."""
        name = self.path.strip("/").split("/")[-1]
        wheel = f"{name}-1.0-py3-none-any.whl"
        if name in _PACKAGES:
            mark = ' data-core-metadata="true" data-dist-info-metadata="true"' if self.server.metadata else ""
            self._answer(name, "text/html", f'<a href="/files/{wheel}"{mark}>{wheel}</a>'.encode())
        else:
            self._answer(name, "application/octet-stream", (self.server.folder / name).read_bytes())

    def _answer(self, name, kind, content):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        if name == self.server.held:
            self.server.go_on.wait(60)
        with contextlib.suppress(OSError):  # nobody waits for the rest
            self.wfile.write(content[len(content) // 2 :])

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(params=[True], ids=["metadata"])
def index(request, tmp_path, monkeypatch):
    """The index that pip asks, and no other."""
    (tmp_path / "index").mkdir()
    for name in _PACKAGES:
        _wheel(tmp_path / "index", name)
    server = _Index(tmp_path / "index", request.param)
    address = f"http://127.0.0.1:{server.server_port}/simple"
    settings = {"CONFIG_FILE": os.devnull, "INDEX_URL": address, "RETRIES": "0", "NO_CACHE_DIR": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    for name in ("FIND_LINKS", "EXTRA_INDEX_URL", "CONSTRAINT"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def own(tmp_path):
    """This host's Python, as that of a device whose home is a folder of the test's."""
    (tmp_path / "there").mkdir()
    return dataclasses.replace(look(Here(), sys.executable).pythons[0], home=str(tmp_path / "there"))


def _there(own):
    return sorted(path.name for path in Path(runtimes_folder(own.home)).glob("*"))


def _asked(own, cache):
    return (_RUNTIME, None, own.machine, own.libc, own.version, own.implementation, cache)


@pytest.mark.parametrize("index", [True, False], indirect=True, ids=["metadata", "none"])
def test_each_step_of_a_runtimes_way_to_a_device_is_told(index, own, server, home, tmp_path):
    """Each wheel with its size and, where the index lets pip know, of how many; each tenth sent; and the unpacking."""
    one, host_key = server()
    told = []
    with Ssh(one.url, {one.known_as: [host_key]}) as link:
        made = provide(link, own, _RUNTIME, cache=tmp_path / "cache", on_step=lambda *step: told.append(step))
        of = " of 2" if index.metadata else ""
        texts = [text for text, _ in told]
        assert texts[:2] == [f"fetch wheel 1{of}: one 1.0 (1.0 MB)", f"fetch wheel 2{of}: two 1.0 (834 bytes)"]
        assert texts[2] == "carry litert, 0.0 of 1.0 MB" and texts[-2].startswith("carry litert, 0.9 of")
        assert len(texts) == 2 + 10 + 1 and texts[-1] == "unpack and import it there"
        shares = [share for _, share in told]
        assert shares == sorted(shares) and shares[0] >= 0 and shares[-1] < 1
        # It is there: nothing is fetched or sent, and so nothing told; and no listener stays.
        assert provide(link, own, _RUNTIME, cache=tmp_path / "cache", on_step=lambda *step: told.append(step)) == made
        assert len(told) == len(texts) and link.on_sent is None
    assert _there(own) == [Path(made.path).name]


def _begun(code, *arguments):
    """Begin a program that prints each step, and return it once it printed one that is at work."""
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline()
    return process


def _kill(process):
    process.kill()
    process.wait()
    process.stdout.close()


_FETCHES = """
import dataclasses, sys
from pathlib import Path
from edgewright import runtimes
from edgewright.devices._carried import wheels_for
runtime = dataclasses.replace(runtimes.get("litert"), distribution="one", needs=("two",))
wheels_for(runtime, None, *sys.argv[2:], Path(sys.argv[1]), on_wheel=lambda text: print(text, flush=True))
"""


def test_killed_while_it_fetches_nothing_half_is_taken_for_a_runtime(index, own, tmp_path):
    """Where one was killed in the middle of a wheel, the next takes nothing of it and fetches a whole runtime."""
    cache = tmp_path / "cache"
    index.held = "one-1.0-py3-none-any.whl"
    _kill(_begun(_FETCHES, cache, own.machine, own.libc, own.version, own.implementation))
    left = list(cache.iterdir())
    assert left and all(path.name.startswith(".") for path in left)
    index.held = ""
    made = wheels_for(*_asked(own, cache))
    assert made.distributions == {"one": "1.0", "two": "1.0"}
    install(Here(), made, own.home, python=sys.executable)
    assert _there(own) == [made.key]


_CARRIES = """
import dataclasses, sys
from pathlib import Path
from edgewright import runtimes
from edgewright.devices._carried import _read
from edgewright.devices._runtime_there import install
from edgewright.devices._ssh import Ssh
url, server, host_key, folder, home = sys.argv[1:]
with Ssh(url, {server: [host_key]}) as link:
    tell = lambda text, share: text.startswith("carry litert, 0.3") and print(text, flush=True)
    install(link, _read(Path(folder)), home, python=sys.executable, on_step=tell)
"""


def test_killed_while_it_carries_nothing_half_stays_there(index, own, server, home, tmp_path):
    """Killed when a third was sent over SSH, it leaves nothing on the device; the next one puts all of it there."""
    made = wheels_for(*_asked(own, tmp_path / "cache"))
    one, host_key = server()
    line = Line(one.port, _PAYLOAD_BYTES // 2, FREEZE)
    try:
        url, known_as = one.url.replace(str(one.port), str(line.port)), f"[127.0.0.1]:{line.port}"
        process = _begun(_CARRIES, url, known_as, host_key, made.archive.parent, own.home)
        assert met(lambda: _there(own))
        _kill(process)
    finally:
        line.close()
    assert met(lambda: not _there(own))
    with Ssh(one.url, {one.known_as: [host_key]}) as link:
        install(link, made, own.home, python=sys.executable)
    assert _there(own) == [made.key]
