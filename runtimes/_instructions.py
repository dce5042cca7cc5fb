"""How many instructions an inference is, as an emulator counted them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low

from ..figures import Figure, How


@dataclass(frozen=True)
class Instructions:
    """Instructions per inference on one thread, each inference being one call as it is timed on a device.

    They are a measure of work, for comparing an artifact with itself in another version. They are no latency: a core
    executes some of them at once and waits for memory at others.

    Attributes:
        samples: of each inference counted.
        classes: by class ("load", "dot_product"), of the inference in the middle of them.
        place: where they were counted.
        runtime, runtime_version: what ran it.
    """

    samples: tuple[int, ...]
    classes: Mapping[str, int]
    place: str
    runtime: str
    runtime_version: str

    @property
    def median(self) -> int:
        """Of the inferences counted, the one in the middle."""
        return median_low(self.samples)

    def figure(self) -> Figure:
        """Return the median, in instructions, with the fewest and the most."""
        basis = (
            f"instructions of the median of {len(self.samples)} inferences, 1 thread, {self.place}, "
            f"{self.runtime} {self.runtime_version}"
        )
        return Figure(self.median, How.EMULATED, min(self.samples), max(self.samples), basis)


def read_instructions(path: Path, units: Sequence[int], place: str, runtime: str, runtime_version: str) -> Instructions:
    """Return the instructions per unit of work from what the emulator wrote at the runner's marks.

    Args:
        path: a line of JSON for each mark: "mark", 0 before and 1 after, and by class how many so far.
        units: how many units of work lie between each pair of marks but the first, which has none.
        place, runtime, runtime_version: as in ``Instructions``.

    Raises:
        ValueError: these are not the marks of so many inferences.
    """
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if [line.pop("mark") for line in lines] != [0, 1] * (len(units) + 1):
        raise ValueError(f"expected marks before and after {len(units)} inferences, got {len(lines)} marks")
    before, after = lines[::2], lines[1::2]
    between = [{name: last[name] - first[name] for name in first} for first, last in zip(before, after, strict=True)]
    marking, inferences = between[0], between[1:]
    each = [
        {name: round((inference[name] - marking[name]) / done) for name in inference}
        for inference, done in zip(inferences, units, strict=True)
    ]
    samples = tuple(sum(classes.values()) for classes in each)
    return Instructions(samples, each[samples.index(median_low(samples))], place, runtime, runtime_version)
