"""Host keys when a device is added: known to the user's own OpenSSH already, or accepted by the user now."""

from pathlib import Path

from ..errors import DeviceError
from ._ssh import HostKeyRefused, Ssh, fingerprint, import_asyncssh
from ._ssh_address import Address, parse_ssh_url


def introduce(url: str, key: Path | None, accept: bool, name: str = "") -> dict[str, str]:
    """Log in to each server on the way, once, and return the host keys to pin, by ``Address.known_as``.

    A server whose key stands in ~/.ssh/known_hosts has to show that one. Of another, the key is taken as it is where
    ``accept`` says so, and told to the user by whoever calls.

    Args:
        url, key, name: see ``Ssh``.
        accept: take keys that are not known.

    Raises:
        HostKeyRefused: a key is not known, and not accepted.
        DeviceError: a server shows another key than ~/.ssh/known_hosts has, or a revoked one; and as ``Ssh`` does.
    """
    known = {address.known_as: known_to_user(address) for address in parse_ssh_url(url)}
    allowed = {server: list(keys) for server, (keys, _) in known.items()}
    while True:
        try:
            with Ssh(url, allowed, key=key, name=name) as link:
                return link.shown
        except HostKeyRefused as refused:
            keys, revoked = known[refused.address.known_as]
            if keys or refused.shown in revoked:
                raise _contradiction(refused, keys) from refused
            # A server that shows a second key, after its first was taken, is not asked again.
            if not accept or allowed[refused.address.known_as]:
                raise
            allowed[refused.address.known_as].append(refused.shown)


def known_to_user(address: Address, file: Path | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keys of a server in an OpenSSH known_hosts file, and the revoked ones, in OpenSSH's text form.

    Lines that cannot be read are passed over, as OpenSSH does. Of a port other than 22 only entries with it count.

    Args:
        address: the server.
        file: ~/.ssh/known_hosts by default; none there is an empty one.
    """
    ssh = import_asyncssh()
    file = file or Path.home() / ".ssh" / "known_hosts"
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return (), ()
    keys: list[str] = []
    revoked: list[str] = []
    for line in lines:
        try:
            found = ssh.import_known_hosts(line).match(address.known_as, "", None)
        except ValueError:
            continue
        for into, which in ((keys, found[0]), (revoked, found[2])):
            into += [" ".join(key.export_public_key("openssh").decode().split()[:2]) for key in which]
    return tuple(key for key in keys if key not in revoked), tuple(revoked)


def _contradiction(refused: HostKeyRefused, keys: tuple[str, ...]) -> DeviceError:
    expected = " or ".join(map(fingerprint, keys)) or "that is not revoked"
    return DeviceError(
        f"Expected the host key {expected} of {refused.address}, by ~/.ssh/known_hosts. Got: "
        f"{fingerprint(refused.shown)}; nothing was sent. Either the system there was set up anew, or something else "
        f"answers at its address. If you know that it is the device: ssh-keygen -R '{refused.address.known_as}'."
    )
