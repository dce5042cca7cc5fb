"""How long ``edgewright --help`` takes on a warm cache: the median of ten; the aim is 0.3 s."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 10
AIM_S = 0.3


def main() -> None:
    """Print the median and the spread of ten runs."""
    command = [Path(sys.executable).with_name("edgewright"), "--help"]
    subprocess.run(command, check=True, capture_output=True)
    seconds = []
    for _ in range(RUNS):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    print(
        f"edgewright --help: median {statistics.median(seconds):.3f} s of {RUNS} warm runs "
        f"({min(seconds):.3f} to {max(seconds):.3f} s); aim {AIM_S} s"
    )


if __name__ == "__main__":
    main()
