"""Versions of a model on a device: unpacked beside the others, and made current by renaming one link.

Below edgewright's folder there, models/NAME/versions/ID holds all that one version needs, its runner included;
models/NAME/current and models/NAME/previous are links to two of them. Wherever the line is cut, "current" names a whole
version: the one before, or the new one.
"""

import hashlib
import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import DeviceError
from ..files import sha256
from ._lease import HELD, Lease
from ._links import Link
from ._service_scripts import RECORD

SUMS = "SHA256SUMS"
ABOUT = "deployed.json"
# Arguments: the folder of the versions; the part's name. The device itself compares what it wrote with the digests.
_UNPACK = f"""
[ -d "$1" ] || mkdir -p -- "$1" || exit 1
cd "$1" || exit 1
trap 'rm -rf -- "$2"' EXIT
trap 'exit 1' HUP INT TERM PIPE
mkdir -- "$2" || exit 1
said=$(tar -xof - -C "$2" 2>&1) || {{
  echo "$(echo "$said" | head -n 1); $(df -Pk . | tail -n 1 | tr -s ' ' | cut -d ' ' -f 4) kB free" >&2
  exit 1
}}
(cd "$2" && sha256sum -c {SUMS} > /dev/null) || exit 1
trap - EXIT
# Begun here, while the golden inputs run; the switch waits for it.
{{ find "$2" -type f -exec sync {{}} + || sync; }} < /dev/null > /dev/null 2>&1 &
"""
_VERIFY = f'cd "$1" && sha256sum -c {SUMS} > /dev/null'
# "previous" is set first: between the two it names what is still current, which harms nobody.
_LINK = """
link() { ln -sfn "$1" ".$2" && mv -fT ".$2" "$2"; }
"""
# Arguments: the model's folder; the part; the version's ID; the lease's token. Versions that no link names go. Where
# the model is served, ".before" keeps what "previous" named until the service answers with the new version.
_SWITCH = f"""
token=$4
{HELD} || {{ echo "the lease was ended by somebody else" >&2; exit 1; }}
cd "$1" || exit 1
{_LINK}
name=$3
place=1
while [ -e "versions/$name" ]; do place=$((place + 1)); name="$3-$place"; done
find "versions/$2" -type f -exec sync {{}} + 2>/dev/null || sync
mv -T "versions/$2" "versions/$name" || exit 1
before=$(readlink current)
older=
rm -f .before
if [ -e {RECORD} ] && older=$(readlink previous); then ln -sfn "$older" .before || exit 1; fi
if [ -n "$before" ]; then link "$before" previous || exit 1; fi
link "versions/$name" current || exit 1
sync current 2>/dev/null || sync
for each in versions/*; do
  case "$each" in "versions/$name" | "$before" | "$older") ;; *) rm -rf -- "$each" ;; esac
done
echo "$name"
"""
_ROLL_BACK = f"""
token=$2
{HELD} || {{ echo "the lease was ended by somebody else" >&2; exit 1; }}
cd "$1" || exit 1
{_LINK}
now=$(readlink current) before=$(readlink previous)
[ -n "$before" ] && [ -d "$before" ] || {{ echo "no previous version" >&2; exit 1; }}
link "$before" current && link "$now" previous
"""


_KEEP = """
cd "$1" || exit 1
older=$(readlink .before) || exit 0
rm -f .before
[ "$older" = "$(readlink current)" ] || [ "$older" = "$(readlink previous)" ] || rm -rf -- "$older"
"""
_BACK = f"""
cd "$1" || exit 1
{_LINK}
link "$(readlink previous)" current || exit 1
if older=$(readlink .before); then link "$older" previous && rm -f .before; else rm -f previous; fi
"""


def version_of(files: Mapping[str, Path]) -> tuple[str, str]:
    """Return a version's ID, which follows from its files' content, and the text of its digests.

    Args:
        files: by path in the version's folder the file of this host.
    """
    sums = "".join(f"{sha256(path)}  {name}\n" for name, path in sorted(files.items()))
    return hashlib.sha256(sums.encode()).hexdigest()[:12], sums


def send_version(
    link: Link,
    folder: str,
    part: str,
    files: Mapping[str, Path],
    sums: str,
    texts: Mapping[str, str],
    packed: Path,
    on_sent: Callable[[int, float], None] | None = None,
) -> None:
    """Copy a version's files beside the others on a device, which compares their SHA-256.

    Args:
        link: an open link; the lease is held.
        folder: the model's there.
        part: what the version is called until it is made current; begins with PART, so that it goes with the lease.
        files, sums: see ``version_of``.
        texts: by path in the version's folder the text of further files, such as deployed.json.
        packed: a file of this host to write the archive to.
        on_sent: told how many bytes were sent, and which share; see ``Link.telling``.

    Raises:
        DeviceError: the device has no room or received something else; the link broke. Nothing is left there, and what
            is current stays.
    """
    sums += "".join(f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in sorted(texts.items()))
    with tarfile.open(packed, "w") as archive:
        for name, path in sorted(files.items()):
            _add(archive, name, path.read_bytes())
        for name, text in sorted(texts.items()):
            _add(archive, name, text.encode())
        _add(archive, SUMS, sums.encode())
    with link.telling(packed.stat().st_size, on_sent):
        answer = link.run(["sh", "-c", _UNPACK, "sh", f"{folder}/versions", part], stdin=packed, time_limit_s=3600)
    if not answer.ok:
        raise DeviceError(
            f"Expected {link.title} to keep {packed.stat().st_size:,} bytes in {folder}. Got: {answer.reason()}; the "
            "version before is still current."
        )


def is_whole(link: Link, folder: str) -> bool:
    """Tell whether the files of a version on a device have their SHA-256."""
    return link.run(["sh", "-c", _VERIFY, "sh", folder], time_limit_s=600).ok


def switch(link: Link, folder: str, part: str, version: str, lease: Lease) -> str:
    """Make a version current that ``send_version`` copied, and return its folder's name.

    Args:
        link, folder, part: see ``send_version``.
        version: its ID.
        lease: has to be held still.

    Raises:
        DeviceError: it is not; the device refused; the link broke.
    """
    answer = link.run(["sh", "-c", _SWITCH, "sh", folder, part, version, lease.token], time_limit_s=600)
    if not answer.ok:
        raise DeviceError(f"Expected {link.title} to make {version} current. Got: {answer.reason()}.")
    return answer.stdout.decode().strip()


def roll_back(link: Link, folder: str, lease: Lease) -> None:
    """Make the previous version current, and the current one previous.

    Raises:
        DeviceError: there is none; the lease is not held any more; the link broke.
    """
    answer = link.run(["sh", "-c", _ROLL_BACK, "sh", folder, lease.token], time_limit_s=600)
    if not answer.ok:
        raise DeviceError(f"Expected {link.title} to go back to the previous version. Got: {answer.reason()}.")


def keep(link: Link, folder: str) -> None:
    """Let go of what ``switch`` kept of a model that is served, now that the new version is."""
    link.run(["sh", "-c", _KEEP, "sh", folder], time_limit_s=600)


def switch_back(link: Link, folder: str) -> None:
    """Make current and previous what they were before ``switch``, where a new version turned out not to be served."""
    link.run(["sh", "-c", _BACK, "sh", folder])


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    archive.addfile(entry, io.BytesIO(content))
