"""Emulated Raspberry Pis that tests log in to, one of each kind for all tests of a session."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgewright.errors import DeviceError, MissingRequirement
from edgewright.registering import add, open_link
from edgewright.runtimes._emulated_sshd import PROFILES, EmulatedServer, emulated_sshd

from ._ssh_servers import make_key

IN_CI = bool(os.environ.get("CI"))
# In CI tools have to be there; a kernel that allows nobody such namespaces has its say.
TOOLS_LACK = "on the PATH"


@dataclass(frozen=True)
class Pi:
    """A running device, and the private key's file that it lets in."""

    server: EmulatedServer
    key: Path

    def add(self, name):
        """Register it under a name, in the test's own $EDGEWRIGHT_CONFIG."""
        return add(name, self.server.url, PROFILES[self.server.core], key=self.key, accept_key=True)

    def open(self, name):
        """Register it and return an open link."""
        self.add(name)
        return open_link(name)


@pytest.fixture(scope="session")
def emulated_pi(tmp_path_factory):
    """A Raspberry Pi 4 with the runtimes."""
    yield from _running(tmp_path_factory, bare=False)


@pytest.fixture(scope="session")
def bare_pi(tmp_path_factory):
    """A Raspberry Pi 4 without runtimes and NumPy."""
    yield from _running(tmp_path_factory, bare=True)


def key_pair(path):
    """Write a private key and, beside it, its public one, whose path is returned."""
    public = path.with_name(f"{path.name}.pub")
    public.write_text(f"{make_key(path)}\n")
    return public


def _running(tmp_path_factory, bare):
    if not IN_CI:
        pytest.importorskip("asyncssh", reason="these tests log in over SSH: pip install 'edgewright[ssh]'")
    key = tmp_path_factory.mktemp("pi-key") / "id_ed25519"
    running = emulated_sshd("pi4", key_pair(key), bare=bare)
    try:
        server = running.__enter__()
    except (MissingRequirement, DeviceError) as error:
        if IN_CI and (not isinstance(error, MissingRequirement) or TOOLS_LACK in str(error)):
            raise
        pytest.skip(f"no emulated device can be logged in to here: {error}")
    try:
        yield Pi(server, key)
    finally:
        running.__exit__(None, None, None)
