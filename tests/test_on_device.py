"""Measuring on a registered device: this host behind a real SSH server, with a small network as TFLite and ONNX."""

import json
import platform
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

import edgewright
from edgewright import devices, runtimes
from edgewright.cli import app
from edgewright.deploying import deploy
from edgewright.device_names import profile_of
from edgewright.devices import _registered
from edgewright.devices._lease import DeviceBusy
from edgewright.errors import DeviceError, InputError
from edgewright.export import load_bundle
from edgewright.figures import How
from edgewright.files import MANIFEST, sha256
from edgewright.kept import keep, kept_of
from edgewright.measured_latency import deciding
from edgewright.measuring import Measurements, Row
from edgewright.measuring_there import measure_there
from edgewright.predicting import predict
from edgewright.reaching import reached
from edgewright.recalibrating import recalibrate
from edgewright.registering import add, open_link, registered_text, remove
from edgewright.runtimes import Settings
from edgewright.sweep_text import sweep_text
from edgewright.sweeping import sweep
from edgewright.telemetry_text import telemetry_text
from edgewright.ways_to_run import not_on_edgetpu, ways

from ._ssh_servers import CUT, Line, Server, free_port, make_key, needs_ssh
from ._waiting import met

needs_ssh()

GPU = """
[[accelerators]]
unit = "gpu"
name = { value = "a GPU that is not there", how = "recalled", source = "none" }
clock_ghz = { value = 1.0, how = "recalled", source = "none" }
"""


@pytest.fixture(scope="module")
def bundle(kinds_bundle):
    """A small classifier, float32 and int8, with labels that it gets right."""
    return kinds_bundle


@pytest.fixture(scope="module")
def profile(host_profile):
    """A profile of this host."""
    return Path(host_profile)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An SSH server on this host, whose user's home is the test's; and the user's key."""
    folder = tmp_path_factory.mktemp("device")
    (folder / "home").mkdir()
    key = folder / "id_ed25519"
    one = Server(folder / "sshd", free_port(), make_key(key), f"SetEnv HOME={folder}/home")
    one.start()
    yield one, key
    one.stop()


@pytest.fixture
def device(server, profile, tmp_path, monkeypatch):
    """The server as the registered device "desk", with this Python; nothing was measured on it so far."""
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    one, key = server
    add("desk", one.url, str(profile), key=key, accept_key=True, python=sys.executable)
    return "desk"


@pytest.fixture
def rows(device, bundle, _swept={}):  # noqa: B006 - measured once, for all tests
    """What a sweep of the TFLite artifacts on the device found; it is not kept in this test's settings."""
    if not _swept:
        for precision in ("float32", "int8"):
            made = sweep(bundle, device, artifact=f"tflite {precision}", runtime="litert", threads=(1,), processes=1)
            _swept[precision] = made.rows
        shutil.rmtree(_registered.measured_folder(device))
    return (*_swept["float32"], *_swept["int8"])


def taking(row, *medians, telemetry=None, how=How.MEASURED_ON_DEVICE):
    """Return a row as if its processes had taken these medians, in ms."""
    (process,) = row.measurement.processes
    processes = (replace(process, samples_ms=(median,) * 100, telemetry=telemetry or {}) for median in medians)
    return replace(row, measurement=replace(row.measurement, processes=tuple(processes), how=how))


def _validated(bundle, *arguments):
    command = ["validate", str(bundle), "--device", "desk", "--max-drop", "100", "--no-measure", "--quiet", "--json"]
    done = CliRunner().invoke(app, [*command, *map(str, arguments)])
    found = json.loads(done.stdout)["result"]["rows"]
    return done.exit_code, {f"{row['format']} {row['precision']}": row["verdict"] for row in found}


def _text(shown):
    console = Console(width=250)
    with console.capture() as captured:
        console.print(shown)
    return captured.get()


def _runners(home):
    """Return the runners that run in the device's home."""
    found = []
    for process in psutil.process_iter():
        try:
            # Around each stand what ends it in time and the shell that waits for it.
            program, *arguments = process.cmdline() or [""]
            there = any("_runner.py" in each and str(home) in each for each in arguments)
            if there and program not in ("timeout", "sh"):
                found.append(process)
        except psutil.Error:
            continue
    return found


class Aside(threading.Thread):
    """A measurement in a thread of its own, with what came of it."""

    def __init__(self, *arguments, **more):
        super().__init__(daemon=True)
        self.made, self.error = None, None
        self._arguments, self._more = arguments, more
        self.start()

    def run(self):
        """Measure."""
        try:
            self.made = measure_there(*self._arguments, **self._more)
        except Exception as error:
            self.error = error


def test_what_is_measured_there_says_so(device, bundle):
    """Each artifact runs on the device in a runtime that it has; figures, text and JSON say where."""
    command = ["measure", str(bundle.path), "--on", device, "--runtime", "litert", "--processes", "1", "--quiet"]
    done = CliRunner().invoke(app, [*command, "--json"])
    found = json.loads(done.stdout)["result"]["rows"]
    assert [row["artifact"] for row in found] == ["tflite float32", "tflite int8"] and done.exit_code in (0, 5)
    for row in found:
        assert row["latency_ms"]["how"] == row["measurement"]["how"] == "measured on the device"
        assert row["measurement"]["conditions"]["device"] == device and row["file"].endswith(".tflite")
    assert "Measured on the device desk" in CliRunner().invoke(app, [*command, "--artifact", "tflite int8"]).stdout
    assert CliRunner().invoke(app, [*command, "--artifact", "onnx int8"]).exit_code == 3


def test_two_measurements_never_overlap(device, bundle, server):
    """A second one is refused while the first runs, and told who measures what there; the first goes on."""
    # Far longer than the second that the other one waits for the device.
    first = Aside(bundle.path, device, "tflite int8", "litert", processes=24, wait_s=15)
    assert met(lambda: first.error or first.made or _runners(server[0].folder.parent), 60)
    assert first.error is None and first.made is None, (first.error, first.made)
    with pytest.raises(DeviceBusy, match=rf"@{platform.node()} has held for .* to measure bundle"):
        measure_there(bundle.path, device, "tflite int8", "litert", processes=1)
    assert len(_runners(server[0].folder.parent)) <= 1
    first.join(120)
    assert first.made is not None and first.made.rows[0].measurement, first.error


def test_a_line_that_is_cut_leaves_no_runner_and_no_lease(device, bundle, server):
    """Cut while it measures, it is a device error; the runner there ends, and the device is free again."""
    one, key = server
    line = Line(one.port, 1 << 40, CUT)
    keys = {f"[127.0.0.1]:{line.port}": _registered.get(device).host_keys[one.known_as]}
    url = one.url.replace(str(one.port), str(line.port))
    _registered.save(replace(_registered.get(device), name="cut", url=url, host_keys=keys, key=str(key)))
    cut = Aside(bundle.path, "cut", "tflite int8", "litert", processes=100)
    assert met(lambda: _runners(one.folder.parent))
    line.close()
    cut.join(30)
    assert isinstance(cut.error, DeviceError), cut.error
    assert met(lambda: not _runners(one.folder.parent), 10)
    with reached(device, "look", 10) as on:
        assert on.found.pythons


def test_a_sweep_measures_all_ways_to_run(device, bundle, rows):
    """XNNPACK is swept for each TFLite artifact, answers agree with the golden ones, and rows are kept as they are."""
    assert {(row.artifact, row.settings.xnnpack) for row in rows} == {
        (f"tflite {precision}", xnnpack) for precision in ("float32", "int8") for xnnpack in (True, False)
    }
    for row in rows:
        assert row.measurement.how == "measured on the device" and row.agreement_percent > 80 and not row.wrong
        keep(row)
    assert sorted(kept_of(device), key=lambda row: row.name) == sorted(rows, key=lambda row: row.name)
    made = sweep(bundle, device, artifact="tflite int8", runtime="litert", threads=(1,), processes=1)
    assert made.rows == tuple(row for row in rows if row.artifact == "tflite int8") and len(made.taken_before) == 2
    text = _text(sweep_text(made))
    assert "measured on the device" in text and "2 of 2 rows were kept" in text and "throttled" in text
    assert [each.artifact for each in made.off_by] == ["tflite int8"] and "predicted" in text
    with pytest.raises(InputError, match="threads on desk. Got: 4096"):
        sweep(bundle, device, threads=(4096,))


def test_a_killed_sweep_goes_on_where_it_stopped(device, bundle):
    """Killed after two of four rows, the next one takes the other two alone, and the device is not held meanwhile."""
    script = (
        "import sys; from edgewright import sweeping as s; s._TOGETHER = 2\n"
        "s.sweep(sys.argv[1], 'desk', runtime='litert', threads=(1,), processes=1,"
        " on_progress=lambda event: print(event.stage, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", script, bundle.path], stdout=subprocess.PIPE, text=True) as killed:
        begun = 0
        for line in killed.stdout:
            begun += line.strip() == "measure"
            if begun == 2:
                killed.kill()
    assert len(kept_of(device)) == 2
    made = sweep(bundle, device, runtime="litert", threads=(1,), processes=1, wait_s=15)
    assert len(made.taken_before) == 2 and len(made.rows) == len(kept_of(device)) == 4
    assert all(row.measurement for row in made.rows)


def test_what_a_device_lacks_is_a_row_with_its_reason(device, bundle, profile, tmp_path):
    """On a profile with a GPU, ONNX Runtime without CUDA measures on the cores and says what it lacks for the rest."""
    (tmp_path / "gpu.toml").write_text(profile.read_text() + GPU.replace('"none"', '"source-1"'))
    _registered.save(replace(_registered.get(device), profile=str(tmp_path / "gpu.toml")))
    command = ["profile", str(bundle.path), device, "--artifact", "onnx float32", "--processes", "1", "--quiet"]
    done = CliRunner().invoke(app, [*command, "--threads", "1", "--out", str(tmp_path / "rows.json"), "--json"])
    found = json.loads((tmp_path / "rows.json").read_text())
    assert json.loads(done.stdout)["result"] == found
    assert [(row["settings"]["providers"], bool(row["measurement"])) for row in found["rows"]] == [
        ([], True), (["tensorrt", "cuda"], False), (["cuda"], False)
    ]  # fmt: skip
    assert all("expected execution providers" in row["reason"] for row in found["rows"][1:])
    assert [row.artifact for row in kept_of(device)] == ["onnx float32"]
    for wrong in (["--data", "x.npz"], ["--threads", "0"], ["--threads", "1,a"]):
        assert CliRunner().invoke(app, [*command, *wrong]).exit_code == 2
    assert CliRunner().invoke(app, ["profile", str(bundle.path), "--again"]).exit_code == 2


def test_the_edge_tpu_is_tried_where_the_file_is_compiled_for_it(bundle):
    """A compiled file goes to the Edge TPU's delegate on a device that has one; any other is run on the cores."""
    plain = next(each for each in bundle.deployables if each.name == "tflite int8")
    kinds = tuple(replace(each, name="edgetpu-custom-op") for each in plain.artifacts[0].operations[:1])
    compiled = replace(plain, artifacts=(replace(plain.artifacts[0], operations=kinds),))
    runtime, coral = runtimes.get("litert"), devices.get("coral-dev-board")
    assert [way.delegates for way in ways(compiled, runtime, coral, (1, 4))] == [("libedgetpu.so.1",)]
    assert [(way.threads, way.xnnpack) for way in ways(plain, runtime, coral, (1, 4))] == [
        (1, True), (4, True), (1, False), (4, False)
    ]  # fmt: skip
    assert "not compiled" in not_on_edgetpu(plain, coral) and not not_on_edgetpu(compiled, coral)
    assert not not_on_edgetpu(plain, devices.get("raspberry-pi-4b"))


def test_an_artifact_that_computes_something_else_there_fails(device, bundle, tmp_path):
    """Where the answers on the device are not the golden ones, the row says so, and so does the verdict."""
    shutil.copytree(bundle.path, tmp_path / "wrong")
    golden = dict(np.load(tmp_path / "wrong" / "golden.npz"))
    rolled = {name: np.roll(array, 3, -1) for name, array in golden.items() if name.startswith("output/")}
    np.savez(tmp_path / "wrong" / "golden.npz", **{**golden, **rolled})
    manifest = json.loads((tmp_path / "wrong" / MANIFEST).read_text())
    manifest["files"]["golden.npz"] = sha256(tmp_path / "wrong" / "golden.npz")
    (tmp_path / "wrong" / MANIFEST).write_text(json.dumps(manifest))
    asked = {"artifact": "tflite float32", "runtime": "litert", "threads": (1,), "processes": 1}
    made = sweep(tmp_path / "wrong", device, **asked)
    assert made.exit_code == 1 and not made.fastest and all("computes something else" in row.wrong for row in made.rows)
    _, verdicts = _validated(bundle.path)
    assert verdicts["tflite float32"]["status"] == "fail"
    assert "On desk tflite float32 in litert" in verdicts["tflite float32"]["reasons"][0]


def test_a_verdict_takes_what_was_measured_on_the_device(device, bundle, rows, tmp_path):
    """Measured latencies replace predicted ones, the fastest way to run decides; emulated and forgotten ones do not."""
    assert {each["latency"]["how"] for each in _validated(bundle.path)[1].values()} == {"predicted"}
    for row in rows:
        keep(taking(row, *(3.0 if row.settings.xnnpack else 2.0,) * 5))
    code, verdicts = _validated(bundle.path, "--max-latency-ms", 2.5)
    latency = verdicts["tflite int8"]["latency"]
    assert code == 0 and verdicts["tflite int8"]["status"] == "pass"
    assert (latency["value"], latency["how"]) == (2.0, "measured on the device")
    assert "without XNNPACK, taken 20" in latency["basis"]
    assert verdicts["onnx int8"]["latency"]["how"] == "predicted"
    assert _validated(bundle.path, "--max-latency-ms", 1.9)[1]["tflite int8"]["status"] == "fail"
    for row in rows:
        keep(taking(row, 2.0, 2.0, how=How.EMULATED))
    assert _validated(bundle.path)[1]["tflite int8"]["latency"]["how"] == "predicted"
    keep(rows[0])
    remove(device)
    assert not kept_of(device) and not list((tmp_path / "config" / "devices").iterdir())


@pytest.mark.parametrize("fastest", ["tflite float32", "tflite int8"])
def test_a_deploy_takes_what_was_measured_to_be_fastest(fastest, device, bundle, rows):
    """Whatever is predicted, of two measured artifacts the faster one goes there, on the threads that it took."""
    for row in rows:
        threads = replace(row.settings, threads=2)
        keep(replace(taking(row, 1e-4 if row.artifact == fastest else 1e3), settings=threads))
    made = deploy(bundle, device, runtime="litert")
    assert made.artifact == fastest and made.why == "measured to be the fastest of 2"
    with open_link(device) as link:
        assert json.loads(link.read(f"{made.folder}/deployed.json"))["threads"] == 2


def test_a_changed_artifact_was_not_measured(device, bundle, rows, tmp_path):
    """The measurement is of the files with their SHA-256: of a file that was made anew there is none."""
    for row in rows:
        keep(row)
    shutil.copytree(bundle.path, tmp_path / "changed")
    manifest = json.loads((tmp_path / "changed" / MANIFEST).read_text())
    entry = next(each for each in manifest["artifacts"] if (each["format"], each["precision"]) == ("tflite", "int8"))
    file = tmp_path / "changed" / entry["path"]
    file.write_bytes(file.read_bytes() + b"\0" * 16)
    entry["sha256"] = manifest["files"][entry["path"]] = sha256(file)
    (tmp_path / "changed" / MANIFEST).write_text(json.dumps(manifest))
    _, verdicts = _validated(tmp_path / "changed")
    assert verdicts["tflite int8"]["latency"]["how"] == "predicted"
    assert verdicts["tflite float32"]["latency"]["how"] == "measured on the device"


@pytest.mark.parametrize(
    ("medians", "telemetry", "said"),
    [
        ((1.0, 2.0, 3.0), {}, "too noisy"),
        (
            (1.0,) * 5,
            {"before": {}, "after": {"throttled": {"get_throttled": 0x4}}},
            "the Raspberry Pi says: throttled",
        ),
    ],
)
def test_a_noisy_or_throttled_measurement_decides_nothing(medians, telemetry, said, device, bundle, rows):
    """Where the latency budget rests on it, the verdict is inconclusive and the exit code 5, however low it is."""
    for row in rows:
        keep(taking(row, *medians, telemetry=telemetry))
    only = [each.name for each in bundle.deployables if each.format == "tflite"]
    _, verdicts = _validated(bundle.path, "--max-latency-ms", 100)
    assert {verdicts[name]["status"] for name in only} == {"inconclusive"}
    assert all(said in verdicts[name]["reasons"][0] for name in only)
    code, _ = _validated(_only(bundle, "tflite", device), "--max-latency-ms", 100)
    assert code == 5
    made = sweep(bundle, device, artifact="tflite int8", runtime="litert", threads=(1,), processes=1)
    assert made.exit_code == 5 and said in _text(sweep_text(made))


def _only(bundle, format, device):
    """Return a copy of the bundle with the artifacts of one format, beside the device's settings."""
    folder = _registered.measured_folder(device).parent.parent / f"only-{format}"
    shutil.copytree(bundle.path, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["artifacts"] = [each for each in manifest["artifacts"] if each["format"] == format]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def test_a_noisy_way_to_run_decides_only_where_a_steady_one_does_not(rows):
    """A steady figure within the limit decides; above it, a lower noisy one leaves the verdict open."""
    steady, noisy = taking(rows[0], *(3.0,) * 5), taking(rows[1], 1.0, 2.0, 3.0)
    assert deciding([steady, noisy], 4.0).latency_ms.value == 3.0 and not deciding([steady, noisy], 4.0).doubt
    above = deciding([steady, noisy], 2.5)
    assert above.latency_ms.value == 2.0 and "too noisy" in above.doubt
    assert deciding([steady, taking(rows[1], 4.0, 9.0)], 2.5).latency_ms.value == 3.0
    assert deciding([], 1.0) is None
    assert deciding([steady], 4.0, "edgetpu") is None
    on_tpu = replace(steady, settings=Settings(delegates=("libedgetpu.so.1",)))
    assert deciding([on_tpu, noisy], 4.0, "edgetpu").latency_ms.value == 3.0


def test_a_calibrated_device_is_predicted_as_it_was_measured(device, bundle, rows, profile):
    """The prediction moves to what was measured, the device has that profile from then on, the original stays."""
    tflite = str(next(each.artifacts[0].path for each in bundle.deployables if each.name == "tflite int8"))
    (before,) = predict(tflite, device, threads=1)
    measured = before.latency_ms.value / 10
    for row in rows[2:]:
        keep(taking(row, *((measured if row.settings.xnnpack else 100.0) for _ in range(5))))
    done = CliRunner().invoke(app, ["devices", "calibrate", device])
    assert done.exit_code == 0 and "is predicted by it from now on" in done.stdout, done.output
    (after,) = predict(tflite, device, threads=1)
    assert abs(after.latency_ms.value / measured - 1) < 0.3 and "own measurement" in after.latency_ms.basis
    registered = _registered.get(device)
    assert registered.original == str(profile) and registered.profile.endswith("desk.toml")
    assert f"calibrated from {profile}" in registered_text((registered,), {})
    assert str(profile) in Path(registered.profile).read_text(encoding="utf-8").splitlines()[0]
    assert recalibrate(device).original == str(profile)
    (again,) = predict(tflite, device, threads=1)
    assert again.latency_ms == after.latency_ms


def test_times_that_are_no_latencies_calibrate_nothing(device, bundle, rows, tmp_path):
    """Emulated rows are refused, kept or in a file; without any row it is told what to do; noisy rows are left out."""
    with pytest.raises(InputError, match="edgewright profile BUNDLE desk"):
        recalibrate(device)
    keep(taking(rows[0], 1.0, 2.0, 3.0))
    with pytest.raises(InputError, match="tflite float32 is left out: no figure of it is steady"):
        recalibrate(device)
    emulated = taking(rows[0], 1.0, 1.0, how=How.EMULATED)
    keep(emulated)
    with pytest.raises(InputError, match="desk, which is emulated"):
        recalibrate(device)
    (tmp_path / "rows.json").write_text(json.dumps({"rows": [emulated.plain()]}))
    with pytest.raises(InputError, match="emulated time"):
        edgewright.calibrate("raspberry-pi-4b", [tmp_path / "rows.json"])
    hosted = {**taking(rows[0], 1.0, 1.0).plain(), "file": None}
    (tmp_path / "rows.json").write_text(json.dumps({"rows": [hosted]}))
    with pytest.raises(InputError, match="is left out: it is of several graphs"):
        edgewright.calibrate("raspberry-pi-4b", [tmp_path / "rows.json"])
    assert _registered.get(device).original is None


def test_another_machine_than_registered_is_refused(device, bundle):
    """A device that is no Raspberry Pi is not measured as one."""
    other = "raspberry-pi-4b" if platform.machine() == "x86_64" else None
    if other is None:
        pytest.skip("this host may be what the profile says")
    _registered.save(replace(_registered.get(device), profile=other))
    for measured in (measure_there, sweep):
        with pytest.raises(InputError, match="Got: a machine that says x86_64"):
            measured(bundle.path, device)


def test_a_registered_name_is_a_device_wherever_one_is_named(device, bundle):
    """It is predicted as its shipped profile is, under its own name; a name that nobody has tells the nearest."""
    _registered.save(replace(_registered.get(device), profile="raspberry-pi-4b"))
    tflite = bundle.path / "artifacts" / "model.int8.tflite"
    (mine,), (shipped,) = predict(tflite, device), predict(tflite, "raspberry-pi-4b")
    assert (mine.device, mine.latency_ms) == ("desk", shipped.latency_ms)
    assert CliRunner().invoke(app, ["inspect", str(tflite), "--device", device]).exit_code == 0
    with pytest.raises(InputError, match="Did you mean 'desk'"):
        profile_of("dessk")
    report = edgewright.validate(load_bundle(bundle.path), devices=[device, "raspberry-pi-4b"], measure=False)
    assert {row.device for row in report.rows} == {"desk", "raspberry-pi-4b"}


def test_what_the_device_told_of_itself_stands_in_a_line(rows):
    """Heat, clocks, power and throttling are ranges over all that was read; an Edge TPU on USB has no thermometer."""
    reading = {
        "temperature_c": {"thermal_zone0 cpu-thermal": 48.3},
        "clock_khz": {"cpu0": 600000.0, "cpu1": 1500000.0},
        "governor": ["ondemand"],
        "throttled": {"get_throttled": 0},
        "tegrastats": {"power_mw": {"VDD_IN": 3913.0}},
    }
    hot = {**reading, "temperature_c": {"thermal_zone0 cpu-thermal": 61.8, "apex_0": 50.0}}
    taken = taking(rows[0], 1.0, telemetry={"before": reading, "after": hot}).measurement
    line = telemetry_text("pi", devices.get("raspberry-pi-4b"), [taken])
    assert line == (
        "pi: cpu-thermal 48.3 to 61.8 °C; apex_0 50.0 °C; clock 600 to 1500 MHz, governor ondemand; VDD_IN 3.91 W; "
        "not throttled"
    )
    usb = telemetry_text("pi", devices.get("coral-usb-accelerator"), [taking(rows[0], 1.0).measurement])
    assert "it tells no temperature" in usb and usb.endswith("an Edge TPU on USB tells no temperature")


def test_emulated_times_are_shown_as_what_they_are(device, bundle, rows):
    """An emulated device's rows say so, noise in them matters to nobody, and no limit is met or missed by them."""
    for row in rows:
        keep(row)
    made = sweep(bundle, device, artifact="tflite int8", runtime="litert", threads=(1,), processes=1)
    emulated = tuple(taking(row, 1.0, 9.0, how=How.EMULATED) for row in made.rows)
    made = replace(made, rows=emulated)
    text = _text(sweep_text(made))
    assert made.exit_code == 0 and "desk is emulated" in text and "none of these times is a latency" in text
    assert "emulated" in text and "measured on the device" not in text.split("predicted")[0]
    measured = Measurements((Row(None, "", taking(rows[0], 1.0, 1.0, how=How.EMULATED).measurement),), 100.0)
    assert measured.exit_code == 5
