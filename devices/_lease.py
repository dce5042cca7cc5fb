"""The lease on a device: who deploys or measures there holds it, and nobody else meanwhile.

It is a lock of the device's kernel, held by a shell there that reads from the link: where the holder dies or the line
is cut, the shell reads the end of its input, and the lock is free. A line that dies without a word (a laptop that was
closed) leaves it held until the device's sshd notices; ``release`` ends it.

With the lease goes what is only there under it, whoever ends it and however: a run and its files, and versions that
were copied and not made current. After a power cut the next holder removes them.
"""

import getpass
import platform
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import DeviceError, InputError
from ._links import Link

# What edgewright keeps on a device lies below this folder of the user's home there.
FOLDER = "edgewright"
# Below that, the files of the run that holds the lease, and what a model's version is called until it is made current.
SCRATCH, PART = "scratch", ".part-"
_LONGEST_S = 7 * 24 * 3600
_BOOT = "/proc/sys/kernel/random/boot_id"
# What runs under the lease and would outlive its holder: the process group that "running" names, with the boot that it
# was of, for where the power was cut the number is a stranger's later. It ends with the lease, so that two measurements
# never overlap; where a holder was killed that could not end it, whoever comes next does.
_STOP = f"""
{{ read -r group boot < "$home/running" && [ "$boot" = "$(cat {_BOOT})" ] && kill -s KILL -- "-$group"; }} 2>/dev/null
rm -rf "$home/running" "$home/{SCRATCH}" "$home"/models/*/versions/{PART}*
"""
# The note goes first: by that, what is killed tells an end by somebody else.
_END = f"""
rm -f "$home/lease"
{_STOP}
"""
# Seconds since the boot, which no lease outlives: a small board's clock may be years off until the network sets it.
_NOW = "cut -d . -f 1 /proc/uptime"
# Arguments: seconds to wait for it; a token; who; why. The note's lines: token, pid, seconds since the boot, who, why.
_HOLD = f"""
home="$HOME/edgewright"
{{ mkdir -p -- "$home" && exec 9>>"$home/lease.lock"; }} 2>&1 || exit 1
flock -w "$1" 9
status=$?
if [ $status -gt 1 ]; then
  echo "no flock (util-linux): exit $status"
elif [ $status -eq 1 ]; then
  {{ echo busy; {_NOW}; cat "$home/lease"; }} 2>/dev/null
else
{_STOP}
  {{ printf '%s\\n' "$2" $$ "$({_NOW})" "$3" "$4" > "$home/lease"; }} 2>&1 || exit 1
  echo held
  echo "$home"
  cat > /dev/null 9>&-
{_END}
fi
"""
_RELEASE = f"""
home="$HOME/edgewright"
[ -f "$home/lease.lock" ] || {{ echo free; exit 0; }}
exec 9>>"$home/lease.lock" || exit 1
flock -n 9 && {{ rm -f "$home/lease"; echo free; exit 0; }}
{_NOW}
cat "$home/lease"
kill "$(sed -n 2p "$home/lease")" && flock -w 10 9 || exit 1
{_END}
"""
_TELL = f"""
home="$HOME/edgewright"
[ -f "$home/lease.lock" ] && exec 9<"$home/lease.lock" || exit 0
flock -n -s 9
[ $? -ne 1 ] || {{ {_NOW}; cat "$home/lease"; }}
"""
# A shell's condition: whether the lease is still that of the token in "$token".
HELD = '[ "$(sed -n 1p "$HOME/edgewright/lease" 2>/dev/null)" = "$token" ]'
# What a command under a lease ends with where that was ended by somebody else, before or meanwhile.
ENDED = 75
# Arguments: a folder below that of the lease's files, named by its token, to run in; seconds; a command, which ends
# with the lease.
UNDER_LEASE = f"""
token="${{1##*/}}"
{HELD} || exit {ENDED}
cd "$1" && shift || exit 1
timeout -k 5 "$@" &
echo $! "$(cat {_BOOT})" > ../../running || exit 1
wait $!
status=$?
{HELD} || exit {ENDED}
rm -f ../../running
exit $status
"""


class DeviceBusy(DeviceError):
    """Somebody else holds the lease on a device."""


@dataclass(frozen=True)
class Lease:
    """A lease that is held.

    Attributes:
        token: what tells it from others.
        folder: where edgewright's files lie on the device, as an absolute path.
    """

    token: str
    folder: str


@dataclass(frozen=True)
class Holder:
    """Who holds, or held, a lease, and why; ``for_s`` is how long already, in seconds."""

    who: str
    why: str
    for_s: float

    @property
    def ago(self) -> str:
        """How long already, in words."""
        return f"{self.for_s / 60:.0f} minutes" if self.for_s >= 90 else f"{self.for_s:.0f} seconds"


def check_wait(wait_s: float) -> None:
    """Raise unless a lease can be waited for so many seconds.

    Raises:
        InputError: they are negative, no number, or more than a week.
    """
    if not 0 <= wait_s <= _LONGEST_S:
        raise InputError(f"Expected seconds to wait from 0 to {_LONGEST_S}, a week. Got: {wait_s:g}.")


@contextmanager
def lease(link: Link, why: str, *, wait_s: float = 0) -> Iterator[Lease]:
    """Hold the lease on a device while the block runs.

    At least a second is waited, for whoever asks who holds it shares it for a moment.

    Args:
        link: an open link to the device.
        why: what it is held for, such as "deploy mnist".
        wait_s: how long to wait where somebody else holds it, in seconds.

    Raises:
        InputError: it cannot be waited for so long.
        DeviceBusy: somebody else holds it; the message says who, for what and since when.
        DeviceError: the device has no flock or no home that can be written; the link broke.
    """
    check_wait(wait_s)
    token = secrets.token_hex(8)
    command = ["sh", "-c", _HOLD, "sh", str(max(1, int(wait_s))), token, _who(), " ".join(why.split())[:200]]
    with link.hold(command) as held:
        first = held.line(wait_s + 30)
        if first == "busy":
            other = _holder([held.line() for _ in range(6)])
            raise DeviceBusy(
                f"Expected a device that nobody uses. Got: {link.title}, which {other.who} has held for {other.ago} to "
                f"{other.why}. Wait for its end; where nobody is there any more: edgewright devices release NAME."
            )
        if first != "held":
            got = first or "a home there that cannot be written"
            raise DeviceError(f"Expected to hold the lease on {link.title}. Got: {got}.")
        yield Lease(token, held.line())


def holder(link: Link) -> Holder | None:
    """Return who holds the lease on a device; None where nobody does."""
    lines = link.run(["sh", "-c", _TELL]).stdout.decode("utf-8", "replace").splitlines()
    return _holder(lines) if lines else None


def release(link: Link) -> Holder | None:
    """End the lease on a device, whoever holds it, and return who did; None where nobody does.

    Raises:
        DeviceError: the holder cannot be ended, as it is another user's; the link broke.
    """
    answer = link.run(["sh", "-c", _RELEASE])
    lines = answer.stdout.decode("utf-8", "replace").splitlines()
    if not answer.ok:
        raise DeviceError(f"Expected the right to end the lease on {link.title}. Got: {answer.reason()}.")
    return None if lines[:1] == ["free"] else _holder(lines)


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "somebody"
    return f"{user}@{platform.node()}"


def _holder(lines: list[str]) -> Holder:
    """Return who holds the lease, by the seconds since the device's boot and the note's lines."""
    now, _, _, since, who, why = (*lines, *[""] * 6)[:6]
    held_s = float(now) - float(since) if now.isdigit() and since.isdigit() else 0.0
    return Holder(who or "somebody", why or "something", max(0.0, held_s))
