"""Published latencies on an Edge TPU, and the stacks of layers among what was measured, rebuilt as graphs."""

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from edgewright.devices._edgetpu_work import COUNTS, MIB, ON_CHIP, ON_LINK, edge_tpu_work
from edgewright.devices._fitting import Speeds, fit
from edgewright.export._graph import Graph, Node, Value

HERE = Path(__file__).parent / "measured"
FIELDS = ("host", "clock_mhz", "model", "latency_ms", "runs", "streamed_mib", "source")
NINETY = 1.645  # standard deviations to either side that hold 90 % of a normal distribution
# What the chip holds of parameters: between what the compiler's logs show to be held and to be sent, of 773 stacks.
CACHE_MIB = 7.97
# Hosts and their links. The stacks' author had another PC, of which nothing is told.
STACKS_HOST = "usb3-stacks"
HOSTS = {
    "usb3-pc": "USB 3 of a PC",
    STACKS_HOST: "USB 3 of the PC of the stacks of layers",
    "usb3-pi-4": "USB 3 of a Raspberry Pi 4",
    "usb2-pi-3": "USB 2 of a Raspberry Pi 3",
    "pcie": "PCIe of the Dev Board",
}
# Before any row is seen, ms for one. The chip: 2 TMAC/s in the datasheet, of which published networks reach 0.4; a
# depthwise convolution and a dense layer use one row of the array at a time. The link: 0.39 GB/s, what USB 3's 5 Gb/s
# leave; USB 2 a tenth of that.
_CHIP_MS = {
    "convolution": 1.25e-9,
    "pointwise": 1.25e-9,
    "depthwise": 2e-8,
    "matrix": 1e-8,
    "moved": 1e-8,
}
# Some kB of instructions for each operation.
_LINK_MS = {"invokes": 0.15, "launches": 8e-3, "sent": 3e-6, "received": 5e-6, "streamed": 2.6e-6, "restreamed": 4e-6}
_USB_2 = 10.0
# Standard deviations of logarithms: of one measurement around what the counts can tell; of all speeds of the chip, of
# each; of a link's speed on all hosts, of one host as a whole, of each of its speeds.
_NOISE = 0.15
_CHIP_SHARED, _CHIP_OWN, _ALL_HOSTS, _HOST, _HOST_OWN = 0.3, 0.5, 0.5, 0.4, 0.4


@dataclass(frozen=True)
class Row:
    """One measurement, or the median of several of one stack.

    Attributes:
        streamed_mib: what the compiler's log says; None where there is none.
    """

    host: str
    clock_mhz: int
    model: str
    latency_ms: float
    streamed_mib: float | None

    @property
    def left_out_with(self) -> str:
        """What is left out together: a family of networks, or stacks of about the same width."""
        if found := re.match(r"(conv|dense)-.*?(\d+)x(\d+)", self.model):
            return f"{found[1]} {int(found[3]) // 100}00"
        return re.match(r"[a-z]+(?:-edgetpu)?", self.model)[0]  # type: ignore[index]


@cache
def rows() -> tuple[Row, ...]:
    """Return all rows."""
    with open(HERE / "edgetpu.csv", newline="", encoding="utf-8") as file:
        return tuple(
            Row(
                row["host"], int(row["clock_mhz"]), row["model"], float(row["latency_ms"]),
                float(row["streamed_mib"]) if row["streamed_mib"] else None,
            )
            for row in csv.DictReader(file)
        )  # fmt: skip


@cache
def work(model: str) -> Mapping[str, float]:
    """Return the counts of a network or stack, with "macs", "parameters" and "cached_bytes"."""
    if not layers_of(model):
        return dict(_networks()[model])
    graph = stack(model)
    counted = edge_tpu_work(graph, range(len(graph.nodes)), CACHE_MIB * MIB)
    parameters = sum(value.bytes or 0 for value in graph.values if value.constant)
    return {**counted.counts, "macs": graph.macs, "parameters": parameters, "cached_bytes": counted.cached_bytes}


@cache
def _networks() -> Mapping[str, Mapping[str, float]]:
    return dict(json.loads((HERE / "edgetpu_work.json").read_text(encoding="utf-8")))


def layers_of(name: str) -> tuple[int, ...]:
    """Return the widths of a stack's layers; none where the name is no stack's.

    >>> layers_of("conv-2x64"), layers_of("dense-64-1x100-2x10"), layers_of("vgg16")
    ((64, 64), (100, 10, 10, 10), ())
    """
    if not name.startswith(("conv-", "dense-")):
        return ()
    widths = [int(width) for count, width in re.findall(r"(\d+)x(\d+)", name) for _ in range(int(count))]
    return tuple(widths if name.startswith("conv-") else [*widths, 10])


def stack(name: str) -> Graph:
    """Return a stack as a graph: 3x3 convolutions of 64 x 64 pixels in three channels, or dense layers; in int8."""
    values: list[Value] = []
    nodes: list[Node] = []

    def add(shape: tuple[int, ...], constant: bool = False) -> int:
        values.append(Value(f"t{len(values)}", shape, "int8", int(np.prod(shape)), constant, scales=1))
        return len(values) - 1

    convolution = name.startswith("conv-")
    depth = 3 if convolution else int(name.split("-")[1])
    last = add((1, 64, 64, 3) if convolution else (1, depth))
    for width in layers_of(name):
        kernel = add((width, 3, 3, depth) if convolution else (width, depth), constant=True)
        bias = add((width,), constant=True)
        out = add((1, 64, 64, width) if convolution else (1, width))
        macs = (64 * 64 * 9 if convolution else 1) * depth * width
        nodes.append(Node("CONV_2D" if convolution else "FULLY_CONNECTED", 1, "", (last, kernel, bias), (out,), macs))
        last, depth = out, width
    return Graph("tflite", (0,), (last,), tuple(values), tuple(nodes))


def counts_of(row: Row) -> np.ndarray:
    """Return what a row's model takes, with the chip as fast as at 500 MHz; shape [len(COUNTS)]."""
    counts = work(row.model)
    return np.array([counts[name] * (500 / row.clock_mhz if name in ON_CHIP else 1.0) for name in COUNTS])


def _columns(row: Row) -> np.ndarray:
    """Return a row's counts: the chip's, then those of each host's link; the other hosts' are 0."""
    counts, chip = counts_of(row), len(ON_CHIP)
    return np.concatenate([counts[:chip], *(counts[chip:] * (host == row.host) for host in HOSTS)])


def fitted(chosen: Iterable[Row]) -> Speeds:
    """Return the speeds of the chip and of all hosts' links together, fitted to rows."""
    chosen = list(chosen)
    columns = np.array([_columns(row) for row in chosen])
    return fit(_expected(), columns, np.array([row.latency_ms for row in chosen]), _NOISE)


def of_host(speeds: Speeds, host: str) -> Speeds:
    """Return the speeds by ``COUNTS`` on one host."""
    start = len(ON_CHIP) + list(HOSTS).index(host) * len(ON_LINK)
    places = [*range(len(ON_CHIP)), *range(start, start + len(ON_LINK))]
    return Speeds(speeds.ms[places], speeds.covariance[np.ix_(places, places)], speeds.spread, speeds.rows)


@dataclass(frozen=True)
class LeftOut:
    """A row, predicted by speeds fitted without those that are left out with it.

    Attributes:
        sigma: standard deviation of the logarithm, as the fit has it.
    """

    row: Row
    ms: float
    sigma: float

    @property
    def off(self) -> float:
        """The logarithm of measured / predicted, in standard deviations."""
        return abs(float(np.log(self.row.latency_ms / self.ms))) / self.sigma


def left_out(everything: Sequence[Row]) -> list[LeftOut]:
    """Return each row predicted from those that are not left out with it."""
    found = []
    for group in sorted({row.left_out_with for row in everything}):
        speeds = fitted(row for row in everything if row.left_out_with != group)
        for row in (row for row in everything if row.left_out_with == group):
            found.append(LeftOut(row, *of_host(speeds, row.host).latency(counts_of(row))))
    return found


def wider(predicted: Iterable[LeftOut]) -> float:
    """Return the factor on the standard deviations with which nine of ten rows lie in their 90 % intervals."""
    return float(np.quantile([each.off for each in predicted], 0.9)) / NINETY


def _expected() -> Speeds:
    chip, link = len(ON_CHIP), len(ON_LINK)
    ms = [_CHIP_MS[name] for name in ON_CHIP]
    for host in HOSTS:
        ms += [_LINK_MS[name] * (_USB_2 if host == "usb2-pi-3" and name != "invokes" else 1) for name in ON_LINK]
    covariance = np.zeros((len(ms), len(ms)))
    covariance[:chip, :chip] = _CHIP_SHARED**2 + _CHIP_OWN**2 * np.eye(chip)
    each = _HOST**2 + _HOST_OWN**2 * np.eye(link)
    covariance[chip:, chip:] = np.kron(np.ones((len(HOSTS),) * 2), _ALL_HOSTS**2 * np.eye(link))
    covariance[chip:, chip:] += np.kron(np.eye(len(HOSTS)), each)
    return Speeds(np.array(ms), covariance, _NOISE, 0)
