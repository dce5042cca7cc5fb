"""Measures how well latencies on an Edge TPU are predicted of networks and stacks that nothing like was measured of.

    python benchmarks/prediction_edgetpu.py             # a table by host
    python benchmarks/prediction_edgetpu.py --rows      # and each network

A family of networks, or all stacks of about the same width, is left out in turn, the speeds are fitted to the rest, and
the rows left out are predicted. Beside it stands ``a MACs + b parameters + c`` on the same splits, a, b and c fitted by
host to least relative squares. Rows: benchmarks/measured/edgetpu.csv (see measured_edgetpu.py).
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from _edgetpu_rows import HOSTS, NINETY, STACKS_HOST, Row, left_out, rows, wider, work

from edgewright.devices._edgetpu_work import MIB

_CLOSE = 0.3


@dataclass(frozen=True)
class Judged:
    """A row that was predicted from others: by the counts, with its interval, and by MACs and parameters."""

    row: Row
    predicted_ms: float
    low_ms: float
    high_ms: float
    baseline_ms: float

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted_ms / self.row.latency_ms - 1

    @property
    def baseline_error(self) -> float:
        """The baseline's error."""
        return self.baseline_ms / self.row.latency_ms - 1

    @property
    def covered(self) -> bool:
        """Whether the measured time lies in the 90 % interval."""
        return self.low_ms <= self.row.latency_ms <= self.high_ms


def judged(everything: Sequence[Row]) -> list[Judged]:
    """Return each row predicted from those that are not left out with it, its interval's width from those too."""
    found = []
    predicted = left_out(everything)
    for each in predicted:
        rest = [other for other in predicted if other.row.left_out_with != each.row.left_out_with]
        sigma = wider(rest) * each.sigma
        low, high = each.ms * np.exp(-NINETY * sigma), each.ms * np.exp(NINETY * sigma)
        found.append(Judged(each.row, each.ms, low, high, baseline([other.row for other in rest], each.row)))
    return found


def baseline(rest: Sequence[Row], row: Row) -> float:
    """Return the time by MACs and parameters, fitted to the rows of the same host and clock; no part is negative."""
    alike = [each for each in rest if (each.host, each.clock_mhz) == (row.host, row.clock_mhz)]
    sizes = np.array([_size(each) / each.latency_ms for each in alike])
    best = (np.inf, np.zeros(3))
    for kept in ([0, 1, 2], [0, 1], [0, 2], [1, 2], [0], [1], [2]):
        some = np.linalg.lstsq(sizes[:, kept], np.ones(len(alike)), rcond=None)[0]
        off = float(np.sum((sizes[:, kept] @ some - 1) ** 2))
        if off < best[0] and min(some) >= 0:
            best = (off, np.zeros(3))
            best[1][kept] = some
    return float(_size(row) @ best[1])


def _size(row: Row) -> np.ndarray:
    counts = work(row.model)
    return np.array([counts["macs"] / 1e9, counts["parameters"] / MIB, 1.0])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", action="store_true", help="print each network too")
    arguments = parser.parse_args()
    found = judged(rows())
    print(f"{'':44} rows  <=30%   mean   in 90%   | MACs+parameters: <=30%   mean")
    parts = [(title, [each for each in found if each.row.host == host]) for host, title in HOSTS.items()]
    stacks = [each for each in found if each.row.host == STACKS_HOST]
    networks = [each for each in found if each.row.host != STACKS_HOST]
    for title, some in [*parts, ("all networks", networks), ("all stacks", stacks), ("all", found)]:
        error = np.array([abs(each.error) for each in some])
        other = np.array([abs(each.baseline_error) for each in some])
        inside = np.mean([each.covered for each in some])
        print(
            f"{title:44} {len(some):4}  {np.mean(error <= _CLOSE):5.0%}  {error.mean():5.1%}   {inside:5.0%}   | "
            f"{np.mean(other <= _CLOSE):21.0%}  {other.mean():5.0%}"
        )
    logged = [each.row for each in stacks if each.row.streamed_mib is not None]
    right = sum((work(row.model)["streamed"] > 0) == (row.streamed_mib > 0) for row in logged)
    off = [abs(work(row.model)["streamed"] / MIB - row.streamed_mib) / max(row.streamed_mib, 1) for row in logged]
    print(
        f"side of the cache's edge right: {right} of {len(logged)} stacks with a compiler's log; "
        f"bytes sent within 2 %: {sum(each <= 0.02 for each in off)}"
    )
    if arguments.rows:
        for each in networks:
            print(
                f"{each.row.host:12} {each.row.clock_mhz} MHz {each.row.model:24} measured {each.row.latency_ms:8.2f} "
                f"predicted {each.predicted_ms:8.2f} ({each.low_ms:.2f} to {each.high_ms:.2f}) {each.error:+5.0%} "
                f"baseline {each.baseline_error:+5.0%}"
            )


if __name__ == "__main__":
    main()
