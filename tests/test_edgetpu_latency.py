"""Latency on an Edge TPU: the cache's edge, the link to the host, the clock, and what the published stacks show."""

import sys
import tomllib
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import _edgetpu_rows as published

from edgewright import devices
from edgewright.devices import Placement, Unsupported, place, predict_latency
from edgewright.devices._edgetpu_graph import place_on_edgetpu
from edgewright.devices._edgetpu_latency import link_speeds
from edgewright.devices._edgetpu_work import COUNTS, MIB, edge_tpu_work
from edgewright.errors import InputError
from edgewright.export._artifact import Artifact, Operation
from edgewright.figures import Figure

BOARD, STICK = "coral-dev-board", "coral-usb-accelerator"


def _artifact(kind: str = "CONV_2D") -> Artifact:
    operations = (Operation(kind, ("int8",), 5),)
    return Artifact(Path("net.tflite"), "tflite", "int8", (), (), "", 1000, 0, macs=1, operations=operations)


def _placement(name: str, cache_mib: float | None = 7.97, **more: float) -> Placement:
    """Return a stack's placement, all of it on the Edge TPU, with some counts changed."""
    graph = published.stack(name)
    work = edge_tpu_work(graph, range(len(graph.nodes)), None if cache_mib is None else cache_mib * MIB)
    return Placement("Edge TPU", "predicted", "its table", (), facts={"work": {**work.counts, **more}, "cpu_work": {}})


def _figure(placement: Placement, device: str = BOARD) -> Figure:
    figure = predict_latency(devices.get(device), _artifact(), placement)
    assert isinstance(figure, Figure)
    return figure


def test_a_model_just_above_the_cache_takes_the_sending_of_what_is_not_held() -> None:
    """Dense layers of 1600 fit and those of 1700 do not: one of theirs, 2.8 MiB, is sent at the speed of the link."""
    below, above = _placement("dense-64-4x1600"), _placement("dense-64-4x1700")
    assert below.facts["work"]["streamed"] == 0
    sent = above.facts["work"]["streamed"]
    assert sent == pytest.approx(2.8 * MIB, rel=0.01)
    on_pcie = link_speeds("pcie").latency({"streamed": sent})[0]
    assert _figure(above).value - _figure(below).value == pytest.approx(on_pcie, rel=0.05)
    assert "2.80 MiB of parameters sent each time" in _figure(above).basis
    assert "sent" not in _figure(below).basis


@pytest.mark.parametrize("kind", ["convolution", "pointwise", "depthwise", "matrix"])
def test_more_multiply_accumulates_take_longer(kind: str) -> None:
    """Of every kind, at both ends of the interval too."""
    figures = [_figure(_placement("conv-2x64", **{kind: macs})) for macs in (1e7, 1e9, 1e11)]
    for less, more in zip(figures, figures[1:], strict=False):
        assert less.value < more.value
        assert (less.high or 0) < (more.high or 0)
    for figure in figures:
        assert 0 < (figure.low or 0) < figure.value < (figure.high or 0)


def test_wider_layers_never_take_less() -> None:
    """Across the cache's edge too, where multiply-accumulates begin to hide behind what is sent."""
    for name in ("conv-5x{}", "dense-6912-5x{}"):
        values = [_figure(_placement(name.format(64 * blocks))).value for blocks in range(1, 14)]
        assert values == sorted(values)


def test_the_side_of_the_caches_edge_is_the_compilers() -> None:
    """Of all published stacks whose compiler's log is known; the bytes sent are within 2 % for all but a few."""
    logged = [row for row in published.rows() if row.streamed_mib is not None]
    assert len(logged) > 400
    found = [(published.work(row.model)["streamed"] / MIB, row.streamed_mib or 0.0) for row in logged]
    assert all((ours > 0) == (theirs > 0) for ours, theirs in found)
    assert sum(abs(ours - theirs) > 0.02 * max(theirs, 1) for ours, theirs in found) <= 5


def test_a_slower_link_makes_sending_slower_and_a_slower_chip_the_rest() -> None:
    """USB 2 takes some ten times as long as USB 3 to send parameters; a halved clock twice as long to multiply."""
    sent, multiplied = {"streamed": 1e7}, {"convolution": 1e9}
    usb3, usb2 = (link_speeds(link).latency(sent)[0] for link in ("usb3-pi-4", "usb2-pi-3"))
    assert 5 < usb2 / usb3 < 20
    fast, slow = link_speeds("pcie"), link_speeds("pcie", 0.25)
    assert slow.latency(multiplied)[0] == pytest.approx(2 * fast.latency(multiplied)[0])
    assert slow.latency(sent) == fast.latency(sent)


def test_speeds_are_those_of_the_counts() -> None:
    """The file of speeds has one for each count, on each link that a profile may name, and the sources of the rows."""
    for link in ("pcie", "usb3-pc", "usb3-pi-4", "usb2-pi-3"):
        speeds = link_speeds(link).speeds
        assert speeds.ms.shape == (len(COUNTS),) and (speeds.ms > 0).all()
        assert speeds.covariance.shape == (len(COUNTS), len(COUNTS))


def test_a_link_that_is_not_known_is_refused() -> None:
    """A profile names one of four links."""
    text = (resources.files("edgewright.devices.profiles") / f"{STICK}.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["accelerators"][0]["link"]["value"] == "usb3-pi-4"
    with pytest.raises(InputError, match="link.*firewire"):
        devices.parse_profile(text.replace('"usb3-pi-4"', '"firewire"'))


def test_what_stays_on_the_cores_comes_on_top() -> None:
    """An operation off the table adds its own time on the cores, and that of what comes after it."""
    graph = published.stack("conv-2x64")
    odd = replace(graph, nodes=(graph.nodes[0], replace(graph.nodes[1], kind="GELU", macs=0)))
    whole, cut = place_on_edgetpu(graph, 7.97), place_on_edgetpu(odd, 7.97)
    assert whole.facts["cpu_work"] == {} and cut.facts["cpu_work"]["moved"] > 0
    figure = _figure(cut)
    assert "GELU" in figure.basis and "on the cores" in figure.basis
    assert figure.value > link_speeds("pcie").latency(cut.facts["work"])[0]


def test_a_compiled_file_is_not_predicted() -> None:
    """Nobody can count what is in it, and the reason says which file to predict instead."""
    refused = predict_latency(devices.get(BOARD), _artifact("edgetpu-custom-op"))
    assert isinstance(refused, Unsupported) and "compiled from" in refused.reason


def test_the_compilers_log_decides_what_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where edgetpu_compiler is installed, the bytes that its log tells of are sent, whatever was predicted."""
    program = tmp_path / "edgetpu_compiler"
    program.write_text(
        "#!/bin/sh\necho 'Edge TPU Compiler version 15.0'\necho 'Model compiled successfully in 1 ms.'\n"
        "echo 'Off-chip memory used for streaming uncached model parameters: 3.00MiB'\n"
        "echo 'Number of Edge TPU subgraphs: 1'\necho 'Total number of operations: 2'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    decided = place(devices.get(BOARD), published.stack("conv-2x64"), tmp_path / "net.tflite")
    assert decided is not None and decided.how.startswith("edgetpu_compiler")
    assert decided.facts["work"]["streamed"] == 3 * MIB
    assert "3.00 MiB of parameters sent" in _figure(decided).basis
