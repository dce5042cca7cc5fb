"""The commands that register devices, and list and forget them."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_options import Json, end
from .errors import InputError


def devices_add(
    name: Annotated[str, typer.Argument(help="What to call the device, such as desk-pi.")],
    url: Annotated[
        str, typer.Argument(help="ssh://user@host[:port]; with ?via=user@host[:port] over another host; here://.")
    ],
    profile: Annotated[str, typer.Option(help="What it is: a device profile's name, or a .toml file of one.")],
    key: Annotated[
        Path | None, typer.Option(help="A private key's file; your agent's keys and those in ~/.ssh by default.")
    ] = None,
    accept_key: Annotated[
        bool, typer.Option("--accept-key", help="Pin a host key that is not in ~/.ssh/known_hosts; it is shown.")
    ] = False,
    python: Annotated[
        str | None, typer.Option(help="The Python there, such as a virtual environment's; python3 by default.")
    ] = None,
    json_: Json = False,
) -> None:
    """Register a device: log in to it once, pin the host key that it shows, and keep it under NAME."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .registering import add, added_text

        added = add(name, url, profile, key=key, accept_key=accept_key, python=python)
        return added.plain(), 0, added_text(added)

    end("devices add", json_, work)


def devices_list(json_: Json = False) -> None:
    """List the devices that you have registered, with their pinned host keys."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .registering import registered, registered_text

        found, damaged = registered()
        document = {"registered": [asdict(device) for device in found], "damaged": damaged}
        return document, InputError.exit_code if damaged else 0, registered_text(found, damaged)

    end("devices list", json_, work)


def devices_remove(
    name: Annotated[str, typer.Argument(help="A registered device.")],
    json_: Json = False,
) -> None:
    """Forget a device and its pinned host keys; nothing is done on the device itself."""

    def work() -> tuple[dict[str, Any], int, Any]:
        from .registering import remove

        remove(name)
        return {"removed": name}, 0, f"{name}: forgotten"

    end("devices remove", json_, work)
