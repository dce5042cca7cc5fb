"""What is deployed on a registered device, whether it is whole, and who uses the device."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .devices import _deployment as deployment
from .devices import _registered
from .devices._found import look
from .devices._lease import FOLDER, Holder, holder
from .registering import open_link


@dataclass(frozen=True)
class ModelThere:
    """A model on a device.

    Attributes:
        name: its own.
        current, previous: what these versions say of themselves (their deployed.json); None where there is none.
        whole: whether the current version's files have their SHA-256.
    """

    name: str
    current: Mapping[str, Any] | None
    previous: Mapping[str, Any] | None
    whole: bool


@dataclass(frozen=True)
class DeviceStatus:
    """What there is on a device.

    Attributes:
        device: its name.
        folder: where edgewright's files lie there.
        python: its version.
        runtimes: the versions of runtimes and of NumPy that this Python has.
        carried: those in each folder that ``deploy --install-runtime`` put there.
        free_bytes: where the files lie.
        emulated: whether the device is emulated.
        holder: who uses it now; None where nobody does.
        models: what is deployed.
    """

    device: str
    folder: str
    python: str
    runtimes: Mapping[str, str]
    carried: tuple[Mapping[str, str], ...]
    free_bytes: int
    emulated: bool
    holder: Holder | None
    models: tuple[ModelThere, ...]

    @property
    def exit_code(self) -> int:
        """1 where a current version's files are not those that were deployed, else 0."""
        return 0 if all(each.whole for each in self.models) else 1

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def device_status(name: str) -> DeviceStatus:
    """Return what there is on a registered device. Nothing is changed there, and no lease is needed.

    Raises:
        InputError: there is no device of that name.
        MissingRequirement: it has no Python.
        DeviceError: it cannot be reached.
    """
    registered = _registered.get(name)
    with open_link(name) as link:
        found = look(link, registered.python)
        folder = f"{found.pythons[0].home}/{FOLDER}"
        models = tuple(
            ModelThere(
                model,
                links.get("current"),
                links.get("previous"),
                deployment.is_whole(link, f"{folder}/models/{model}/current"),
            )
            for model, links in found.models.items()
            if "current" in links
        )
        own, *others = found.pythons
        carried = tuple(each.distributions for each in others)
        return DeviceStatus(
            name,
            folder,
            own.version,
            own.distributions,
            carried,
            found.free_bytes,
            found.emulated,
            holder(link),
            models,
        )
