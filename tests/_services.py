"""Services for tests: each in a folder as it lies on a device, with the two files and no package around them."""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from edgewright.devices import _service as service
from edgewright.devices._service_scripts import LOG, RECORD, SOCKET
from edgewright.runtimes._client import RUNNER

SERVICE = Path(service.__file__)
# Inputs of the small model in the protocol's JSON.
FIRST = {"name": "first", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
SECOND = {"name": "second", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}


class Running:
    """A service in a folder of its own, as it lies on a device: the two files and no package."""

    def __init__(self, folder, *options, wait=True):
        self.folder = place(folder)
        self.path = str(folder / SOCKET)
        with (folder / LOG).open("ab") as log:
            self.process = subprocess.Popen(
                [*command(), *map(str, options)], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        end = time.monotonic() + 30
        while wait and (self.facts.get("pid"), self.facts.get("ready")) != (self.process.pid, True):
            assert self.process.poll() is None and time.monotonic() < end, self.log
            time.sleep(0.02)

    @property
    def log(self):
        """What it printed."""
        return (self.folder / LOG).read_text()

    @property
    def facts(self):
        """What its record says."""
        with contextlib.suppress(OSError, IndexError, ValueError):
            return json.loads((self.folder / RECORD).read_text().splitlines()[1])
        return {}

    def get(self, url):
        """Return the status and the JSON answer."""
        status, _, content = service.call(self.path, "GET", url)
        return status, json.loads(content)

    def post(self, body, headers=(), url="/v2/models/small/infer"):
        """Return the status and the JSON answer."""
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, _, content = service.call(self.path, "POST", url, body, dict(headers))
        return status, json.loads(content)

    def raw(self):
        """Return a connection."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(self.path)
        return connection

    def end(self, how=signal.SIGTERM):
        """End it and return its exit status."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(how)
        return self.process.wait(timeout=30)


def place(folder):
    """Put the service's two files into a folder."""
    folder.mkdir(exist_ok=True)
    shutil.copy(SERVICE, folder / "service.py")
    shutil.copy(RUNNER, folder / "runner.py")
    return folder


def command():
    """Return the command that serves at the scripts' socket; what the model is follows."""
    return [sys.executable, "-I", "service.py", "--socket", SOCKET]


def request(inputs, samples=slice(0, 3)):
    """Return the inputs as the protocol's JSON."""
    return {
        "inputs": [
            {"name": name, "datatype": "FP32", "shape": [*array[samples].shape], "data": array[samples].tolist()}
            for name, array in inputs.items()
        ]
    }
