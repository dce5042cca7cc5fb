"""The text of a systemd user unit that keeps a device's service running."""

from collections.abc import Sequence

from ..errors import InputError

# It says itself when it is ready (sd_notify(3)), for which whoever starts it waits. After a failed start it is tried
# again, ten times within five minutes; where the runtime is not there, or the command is wrong, it is not.
_UNIT = """\
[Unit]
Description={description}
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
Type=notify
WorkingDirectory={folder}
ExecStart={command}
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2 3
TimeoutStartSec={start_s}
TimeoutStopSec=30
NoNewPrivileges=true
UMask=0077

[Install]
WantedBy=default.target
"""


def unit_text(command: Sequence[str], folder: str, description: str, start_s: int = 120) -> str:
    """Return a unit that runs a command in a folder, and again when it fails.

    The rules are those of systemd.syntax(7), systemd.service(5) "Command lines" and systemd.unit(5) "Specifiers":
    arguments are unquoted, then ``%`` begins a specifier and, other than in the program's path, ``$`` a variable; in
    ``WorkingDirectory`` and ``Description`` quotes mean themselves. A backslash at a line's end joins the next line.

    Args:
        command: the program's absolute path, then its arguments.
        folder: the absolute path of the folder that it runs in.
        description: one line.
        start_s: how long it may take until it is ready, in seconds.

    Raises:
        InputError: a path is not absolute, or a text cannot stand in a unit.

    >>> print(unit_text(["/usr/bin/python3", "service.py", "--name", "50 % off"], "/srv/a b", "a").split("\\n")[8])
    ExecStart="/usr/bin/python3" "service.py" "--name" "50 %% off"
    """
    for what, path in (("program", command[0] if command else ""), ("folder", folder)):
        if not path.startswith("/"):
            raise InputError(f"Expected the absolute path of a {what} in a systemd unit. Got: {path!r}.")
    for text in (*command, folder, description):
        _check(text)
    if description.endswith("\\"):
        raise InputError(f"Expected a description that does not end in a backslash. Got: {description!r}.")
    program, *arguments = command
    words = [_quoted(program), *(_quoted(argument.replace("$", "$$")) for argument in arguments)]
    # The slash at the end keeps a space that the path ends with, and a backslash from joining the next line.
    place = folder.replace("%", "%%").rstrip("/") + "/"
    return _UNIT.format(
        description=description.replace("%", "%%"), folder=place, command=" ".join(words), start_s=start_s
    )


def _check(text: str) -> None:
    """Refuse what ends a line, or is no UTF-8, which systemd passes over."""
    control = any(ord(letter) < 32 or ord(letter) == 127 for letter in text)
    surrogate = any(0xD800 <= ord(letter) <= 0xDFFF for letter in text)
    if control or surrogate:
        raise InputError(f"Expected text without control characters in a systemd unit. Got: {text!r}.")


def _quoted(word: str) -> str:
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{word}"'
