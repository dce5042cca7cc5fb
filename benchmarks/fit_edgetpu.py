"""Fits how fast an Edge TPU and the links to its hosts are, and writes devices/profiles/edgetpu_speeds.json.

    python benchmarks/fit_edgetpu.py            # writes the file
    python benchmarks/fit_edgetpu.py --print    # writes nothing

Read are benchmarks/measured/edgetpu.csv and edgetpu_work.json (see measured_edgetpu.py). prediction_edgetpu.py measures
how good the predictions are that come of it.
"""

import argparse
import csv
from datetime import UTC, datetime
from pathlib import Path

from _edgetpu_rows import HERE, HOSTS, STACKS_HOST, fitted, left_out, of_host, rows, wider

from edgewright.devices._edgetpu_work import COUNTS
from edgewright.files import write_json

FILE = Path(__file__).parents[1] / "devices/profiles/edgetpu_speeds.json"


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    speeds = fitted(rows())
    # The fit's own uncertainty holds fewer than nine of ten rows that nothing like was measured of: it is widened.
    factor = wider(left_out(rows()))
    links = {}
    for host in (host for host in HOSTS if host != STACKS_HOST):
        here = of_host(speeds, host)
        links[host] = {
            "host": HOSTS[host],
            "rows": sum(row.host == host for row in rows()),
            "spread": round(factor * here.spread, 4),
            "ms": {name: float(f"{ms:.5g}") for name, ms in zip(COUNTS, here.ms, strict=True)},
            "covariance": [[float(f"{factor**2 * value:.4g}") for value in line] for line in here.covariance],
        }
        shown = ", ".join(f"{name} {ms:.3g}" for name, ms in links[host]["ms"].items())
        print(f"{host}: {links[host]['rows']} rows; {shown}")
    print(f"{speeds.rows} rows, spread {speeds.spread:.1%}, intervals {factor:.2f} times as wide")
    with open(HERE / "edgetpu.csv", newline="", encoding="utf-8") as file:
        sources = sorted({row["source"] for row in csv.DictReader(file)})
    document = {
        "about": "Fitted by benchmarks/fit_edgetpu.py to published latencies: ms for a unit of each kind of work, the "
        "chip at 500 MHz",
        "fitted_on": datetime.now(UTC).date().isoformat(),
        "rows": speeds.rows,
        "links": links,
        "sources": sources,
    }
    if not arguments.print:
        write_json(FILE, document)


if __name__ == "__main__":
    main()
