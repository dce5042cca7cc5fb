"""What a runtime is: a name, the formats that it takes, and the distribution that supplies it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata


@dataclass(frozen=True)
class Runtime:
    """One runtime; how it loads and runs a file stands in the runner, under the same name.

    Attributes:
        name: the plug-in's name.
        title: what a report calls it.
        formats: the formats that it takes, as exporters name them.
        distribution: what to install for it.
        referee: whether it is a reference implementation: it judges numbers, and is never timed.
        needs: the NumPy that it needs where its own metadata does not say so, as pip takes it.
        lacks: by precision whose files it does not run, why not, as a sentence.
    """

    name: str
    title: str
    formats: tuple[str, ...]
    distribution: str
    referee: bool = False
    needs: tuple[str, ...] = ()
    lacks: Mapping[str, str] = field(default_factory=dict)

    def version(self) -> str | None:
        """Return the installed version, or None when it is not installed here."""
        try:
            return metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return None
