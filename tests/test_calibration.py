"""What a user measured on a device: read, fitted, told where rows contradict, and refused where they are none."""

import json

import pytest
from flatbuffers import flexbuffers
from typer.testing import CliRunner

from edgewright import calibrate, predict
from edgewright.cli import app
from edgewright.errors import InputError
from edgewright.export._work import DETECTIONS

from ._detectors import detector


def measurements(folder, artifacts, factor):
    """Write a table of made-up latencies: the prediction's, times ``factor``."""
    lines = ["file,latency_ms,threads,runtime"]
    for precision in ("float32", "int8"):
        path = artifacts["tflite", precision]
        (found,) = predict(path, "raspberry-pi-4b")
        lines.append(f"{path},{factor * found.latency_ms.value},4,LiteRT 2.3.0")
    (folder / "mine.csv").write_text("\n".join(lines) + "\n")
    return folder / "mine.csv"


def test_a_calibrated_profile_predicts_what_was_measured(artifacts, tmp_path):
    """A device that is half as fast as predicted is predicted so afterwards, in a narrower interval."""
    out = tmp_path / "my-pi.toml"
    calibrate("raspberry-pi-4b", [measurements(tmp_path, artifacts, 2)], out)
    for precision in ("float32", "int8"):
        path = artifacts["tflite", precision]
        (before,), (after,) = predict(path, "raspberry-pi-4b"), predict(path, str(out))
        assert after.latency_ms.value == pytest.approx(2 * before.latency_ms.value, rel=0.15)
        assert after.latency_ms.high / after.latency_ms.low < before.latency_ms.high / before.latency_ms.low
        assert "1 own measurement with" in after.latency_ms.basis
    with pytest.raises(InputError, match="force"):
        calibrate("raspberry-pi-4b", [tmp_path / "mine.csv"], out)


def test_a_calibration_of_another_version_is_refused_with_what_makes_a_new_one(artifacts, tmp_path):
    """A profile whose speeds lack a kind of work names its key and the command, in a few lines."""
    (tmp_path / "mine.csv").write_text(f"file,latency_ms\n{artifacts['tflite', 'float32']},0.5\n")
    calibrate("raspberry-pi-4b", [tmp_path / "mine.csv"], tmp_path / "mine.toml")
    text = (tmp_path / "mine.toml").read_text()
    (tmp_path / "mine.toml").write_text("\n".join(line for line in text.split("\n") if "streamed" not in line))
    with pytest.raises(InputError, match="calibrations.*edgewright devices calibrate") as caught:
        predict(artifacts["tflite", "float32"], str(tmp_path / "mine.toml"))
    assert "mine.toml" in str(caught.value) and len(str(caught.value)) < 600


def test_calibration_reads_what_measure_prints(artifacts, tmp_path):
    """The JSON of ``edgewright measure`` on the device is a table of measurements."""
    path = artifacts["tflite", "float32"]
    row = {
        "name": "float32.tflite in litert", "file": str(path), "latency_ms": {"value": 0.5},
        "measurement": {"threads": 1, "runtime": "LiteRT", "runtime_version": "2.3.0"},
    }  # fmt: skip
    (tmp_path / "measured.json").write_text(json.dumps({"rows": [row, {**row, "measurement": None}]}))
    made = calibrate("raspberry-pi-4b", [tmp_path / "measured.json"])
    (calibration,) = made.profile.calibrations
    assert (calibration.threads, calibration.measured_with, calibration.rows) == (1, "LiteRT 2.3.0", 1)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("file,latency_ms\nnone.tflite,-3\n", "line 2"),
        ("file,latency\nnone.tflite,3\n", "latency_ms"),
        ("file,latency_ms\nnone.tflite,3\n", "line 2: .*none.tflite"),
        ("file,latency_ms\nnone.tflite,1e30\n", "line 2: .*at most 1,000,000"),
        ("file,latency_ms\n", "at least one"),
        ("file, latency_ms\nnone.tflite, 3\n", "line 2: .*none.tflite"),
    ],
)
def test_a_bad_table_of_measurements_says_where(tmp_path, table, said):
    """A latency that none is, a column, file or row that is missing: the error names it, and nothing is written."""
    (tmp_path / "bad.csv").write_text(table)
    with pytest.raises(InputError, match=said):
        calibrate("raspberry-pi-4b", [tmp_path / "bad.csv"], tmp_path / "out.toml")
    assert not (tmp_path / "out.toml").exists()


def _of_custom(folder, name, kind):
    """Write a TFLite file of one operation of the user's own, which nobody can count unless it sorts boxes."""
    path = folder / name
    path.write_bytes(detector(boxes=50, classes=3, options=flexbuffers.Dumps({"max_detections": 7}), kind=kind))
    return path


def _table(folder, *lines):
    path = folder / "mine.csv"
    path.write_text("\n".join(["file,latency_ms,threads,runtime", *lines]) + "\n")
    return path


def _calibrating(*arguments):
    return CliRunner().invoke(app, ["devices", "calibrate", "raspberry-pi-4b", *map(str, arguments)])


def test_contradicting_measurements_are_told_and_make_the_prediction_less_sure(artifacts, tmp_path):
    """1 and 100 ms of one file: a wider interval than before, and each row that the other does not predict is named."""
    file, out = artifacts["tflite", "float32"], tmp_path / "mine.toml"
    done = _calibrating(_table(tmp_path, f"{file},0.01,4,LiteRT", f"{file},1,4,LiteRT"), "--out", out)
    assert done.exit_code == 0
    assert "line 2: 0.01 ms is outside" in done.output and "line 3: 1 ms is outside" in done.output
    (before,), (after,) = predict(file, "raspberry-pi-4b"), predict(file, str(out))
    assert after.latency_ms.high / after.latency_ms.low > before.latency_ms.high / before.latency_ms.low
    agreeing = _calibrating(_table(tmp_path, f"{file},0.02,4,LiteRT", f"{file},0.0201,4,LiteRT"))
    assert agreeing.exit_code == 0 and "Warning" not in agreeing.output


def test_a_measurement_far_from_what_was_predicted_is_told(artifacts, tmp_path):
    """A latency in another unit is a thousand times off: the output says so."""
    file = artifacts["tflite", "float32"]
    (before,) = predict(file, "raspberry-pi-4b")
    done = _calibrating(_table(tmp_path, f"{file},{35000 * before.latency_ms.value},4,LiteRT"))
    assert done.exit_code == 0
    assert "35,000 times apart: look whether it is in ms" in done.output


def test_a_file_that_does_no_work_is_refused_by_its_row(tmp_path):
    """A latency of a file without a counted operation tells nothing, which is said with exit code 2."""
    (tmp_path / "view.tflite").write_bytes(detector(boxes=1, classes=1, options=b"", kind=None))
    done = _calibrating(_table(tmp_path, "view.tflite,3,4,LiteRT"))
    assert done.exit_code == 2
    assert "mine.csv, line 2: expected a file that does some work" in done.output and "view.tflite" in done.output


def test_a_file_that_is_not_counted_in_full_is_left_out_of_a_calibration(artifacts, tmp_path):
    """An operation that nobody can count moves no prediction: its row is named, and alone it is an error."""
    path, file = _of_custom(tmp_path, "custom.tflite", "Mine"), artifacts["tflite", "float32"]
    alone = _calibrating(_table(tmp_path, f"{path},3,4,LiteRT"))
    assert alone.exit_code == 2 and "that are not counted: Mine (no formula" in alone.output
    made = calibrate("raspberry-pi-4b", [_table(tmp_path, f"{path},3,4,LiteRT", f"{file},0.02,4,LiteRT")])
    assert [each.rows for each in made.refitted] == [1]
    assert "line 2" in made.left_out[0] and "custom.tflite" in made.left_out[0]
    detector = _of_custom(tmp_path, "detector.tflite", DETECTIONS)
    assert not calibrate("raspberry-pi-4b", [_table(tmp_path, f"{detector},0.02,4,LiteRT")]).left_out


def test_the_profiles_runtime_goes_before_another_of_the_same_table(artifacts, tmp_path):
    """Of rows in TFLite and in LiteRT, in either order, those in LiteRT are predicted by, and the others are named."""
    file = artifacts["tflite", "float32"]
    for lines in ((f"{file},1,4,TFLite", f"{file},0.02,4,litert 2.2"), (f"{file},0.02,4,LiteRT", f"{file},1,4,TFLite")):
        made = calibrate("raspberry-pi-4b", [_table(tmp_path, *lines)], tmp_path / "mine.toml", force=True)
        (found,) = predict(file, str(tmp_path / "mine.toml"))
        assert found.latency_ms.value == pytest.approx(0.02, rel=0.1)
        assert len(made.left_out) == 1 and "it was run in TFLite" in made.left_out[0]
    made = calibrate("raspberry-pi-4b", [_table(tmp_path, f"{file},0.02,4,tflite-runtime 2.14")])
    assert made.refitted[0].name.endswith("TFLite 2.14") and "Measured in TFLite" in made.refitted[0].warnings[0]


def test_versions_of_one_runtime_are_fitted_together(artifacts, tmp_path):
    """Rows of two versions make one calibration that names both."""
    file = artifacts["tflite", "float32"]
    table = _table(tmp_path, f"{file},0.02,4,LiteRT 2.3", f"{file},0.021,4,LiteRT 2.2", f"{file},0.02,,")
    (calibration,) = [
        each for each in calibrate("raspberry-pi-4b", [table]).profile.calibrations if each.whose == "own"
    ]
    assert (calibration.measured_with, calibration.rows) == ("LiteRT 2.2 and 2.3", 3)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("4,Banana", ("LiteRT, TFLite", "Banana")),
        ("4,OpenVINO", ("LiteRT, TFLite", "OpenVINO")),
        ("4,LiteRTT", ("Did you mean 'LiteRT'",)),
        ("8,LiteRT", ("1 to 4 threads on Raspberry Pi 4 Model B", "8")),
    ],
)
def test_a_row_of_what_the_device_cannot_be_is_refused(artifacts, tmp_path, end, said):
    """A runtime that does not run the file, and more threads than cores, are named with what was expected."""
    done = _calibrating(_table(tmp_path, f"{artifacts['tflite', 'float32']},3,{end}"))
    assert done.exit_code == 2
    for part in ("mine.csv, line 2", *said):
        assert part in done.output
