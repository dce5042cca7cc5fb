"""Device profiles, predicted latency, and verdicts."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright import devices
from edgewright.devices import Budget, Evidence, Placement, Profile, Status, Unsupported, judge, predict_latency
from edgewright.devices._edgetpu import operator_table
from edgewright.devices._placement import Group
from edgewright.errors import InputError
from edgewright.export import Artifact, Deployable, Operation, Tensor
from edgewright.figures import Figure, How

FORMATS = ("tflite", "onnx", "openvino")
PRECISIONS = ("float32", "float16", "dynamic_int8", "int8", "int16x8", "int8_weights", "int4_weights")
NAMES = (
    "coral-dev-board",
    "coral-usb-accelerator",
    "jetson-agx-orin",
    "jetson-nano",
    "jetson-orin-nano",
    "jetson-orin-nano-super",
    "jetson-xavier-nx",
    "raspberry-pi-3b-plus",
    "raspberry-pi-4b",
    "raspberry-pi-5",
    "raspberry-pi-zero-2w",
)
GOOD = Evidence(0.98, 0.979, 0.1, 0.995, "LiteRT 2.3")
MIB = 2**20
SHIPPED = Path(devices.__file__).parent / "profiles"

# Medians of github:mlcommons/inference_results_v2.1@91f7859b8b58:open/Krai/results/rpi4-tflite-v2.7.1-ruy, model,
# precision, operations, MACs, parameters, ms.
MEASURED_ON_PI_4 = [
    ("MobileNetV1 1.0 224", "float32", 31, 569e6, 4.24e6, 66.182),
    ("MobileNetV1 1.0 224", "int8", 31, 569e6, 4.24e6, 26.5985),
    ("MobileNetV2 1.0 224", "float32", 66, 300e6, 3.47e6, 61.6382),
    ("MobileNetV2 1.0 224", "int8", 66, 300e6, 3.47e6, 23.0086),
    ("MobileNetV1 0.25 128", "int8", 31, 14e6, 0.47e6, 1.9369),
]

# Means of github:NobuoTsukamoto/benchmarks@422e0a08dba7, TFLite 2.5.0 with XNNPACK on a 64-bit Raspberry Pi 3B+, four
# threads: model, operations (about), MACs and parameters (arXiv:1801.04381, arXiv:1905.02244), ms.
MEASURED_ON_PI_3 = [
    ("SSDLite MobileNetV2", 110, 800e6, 4.3e6, 198.68),
    ("SSDLite MobileNetV3-Large", 150, 510e6, 3.2e6, 214.87),
    ("SSDLite MobileNetV3-Small", 130, 160e6, 1.8e6, 92.66),
]

# Medians of github:mlcommons/inference_results_v2.0@425a0d30c6e0:closed/NVIDIA, Orin_TRT, TensorRT alone at int8, MACs
# by arXiv:1911.02549; and YOLOv8n of hokwangchoi.com/blog/vision-benchmarks: device, model, operations (about), MACs,
# parameters, ms.
MEASURED_ON_ORIN = [
    ("jetson-agx-orin", "ResNet-50", 75, 4.1e9, 25.6e6, 0.6916),
    ("jetson-agx-orin", "SSD MobileNetV1", 60, 1.235e9, 6.91e6, 0.4695),
    ("jetson-agx-orin", "SSD ResNet-34", 60, 216.5e9, 36.3e6, 8.0052),
    ("jetson-orin-nano-super", "YOLOv8n", 230, 4.35e9, 3.2e6, 3.49),
    ("jetson-orin-nano", "YOLOv8n", 230, 4.35e9, 3.2e6, 4.9),
]

# Means of github:RCL-lab/QutibenchWeb@66c3aaa3ab85:_notebooks/data/cleaned_csv/experimental_data.csv, Coral USB at
# 500 MHz: model, MACs, parameters, ms.
MEASURED_ON_EDGE_TPU = [
    ("MobileNetV1", 550e6, 4.2e6, 2.57),
    ("GoogLeNet", 1550e6, 6.0e6, 3.65),
    ("EfficientNet-EdgeTPU-L", 9700e6, 10.6e6, 26.0),
]


def artifact(
    format: str = "tflite",
    precision: str = "int8",
    macs: float = 50e6,
    parameters: float = 1e6,
    operations: tuple[Operation, ...] = (Operation("CONV_2D", ("int8",), 20),),
    size_bytes: int | None = None,
    dtype: str = "int8",
) -> Artifact:
    """An artifact as an exporter describes it; no file is behind it."""
    size = int(parameters * (1 if precision == "int8" else 4)) if size_bytes is None else size_bytes
    return Artifact(
        path=Path("model"),
        format=format,
        precision=precision,
        inputs=(Tensor("image", (1, 32, 32, 3), dtype),),
        outputs=(Tensor("probabilities", (1, 10), dtype),),
        sha256="0" * 64,
        size_bytes=size,
        gzip_bytes=size,
        macs=int(macs),
        parameters=int(parameters),
        operations=operations,
    )


def predicted(profile: Profile, described: Artifact) -> Figure:
    """The prediction, which must be one."""
    figure = predict_latency(profile, described)
    assert isinstance(figure, Figure)
    return figure


def bounds(figure: Figure) -> tuple[float, float]:
    """The interval, which must be stated."""
    assert figure.low is not None and figure.high is not None
    return figure.low, figure.high


@pytest.fixture(params=devices.names())
def profile(request: pytest.FixtureRequest) -> Profile:
    """Each shipped profile."""
    return devices.get(request.param)


def test_devices_ship() -> None:
    """The devices of the README are there by name, each profile under its own."""
    assert devices.names() == NAMES
    assert all(devices.get(name).name == name for name in NAMES)


def test_profile_answers_for_every_format_and_precision(profile: Profile) -> None:
    """A shipped profile states for each format and precision how it runs, or why not in a sentence."""
    for format in FORMATS:
        for precision in PRECISIONS:
            target = profile.target(format, precision)
            if isinstance(target, Unsupported):
                assert target.reason.endswith(".") and len(target.reason) > 30
                assert "says nothing" not in target.reason
            else:
                assert target.interval.value.low < 1 < target.interval.value.high


def test_profile_gives_sources_in_full(profile: Profile) -> None:
    """The key that a value names as its source is replaced by the source's text."""
    assert profile.cpu.clock_ghz.source in profile.sources.values()
    assert all(target.interval.source in profile.sources.values() for target in profile.targets)


def test_profile_names_its_power_mode(profile: Profile) -> None:
    """Where a device has several power modes, the one that its rates are of is among them."""
    if profile.power is not None and profile.power.mode is not None:
        assert profile.power.mode.value in profile.power.modes.value and len(profile.power.modes.value) > 1


def test_profile_has_a_whole_budget(profile: Profile) -> None:
    """A shipped profile limits latency, size and accuracy."""
    assert None not in (profile.budget.latency_ms, profile.budget.size_bytes, profile.budget.max_drop)


NEAREST = """
[[nearest]]
format = "tflite"
precisions = ["new", "newer"]
like = "int8"
interval = { value = { low = 0.1, high = 9.0 }, how = "recalled", source = "nearest" }
"""


def test_precision_without_published_rates_is_like_the_nearest(tmp_path: Path) -> None:
    """It takes the other precision's target with an interval of its own, and is never said to be fitted."""
    path = tmp_path / "mine.toml"
    path.write_text((SHIPPED / "raspberry-pi-4b.toml").read_text() + NEAREST)
    profile = devices.load_profile(path)
    model, like = profile.target("tflite", "int8"), profile.target("tflite", "newer")
    assert not isinstance(model, Unsupported) and not isinstance(like, Unsupported)
    assert like.effective_gmacs_per_s.value == model.effective_gmacs_per_s.value
    assert (model.effective_gmacs_per_s.how, like.effective_gmacs_per_s.how) == ("fitted", "derived")
    assert (like.interval.value.low, like.interval.value.high, like.fitted_rows) == (0.1, 9.0, 0)
    assert "not fitted" in predicted(profile, artifact(precision="new")).basis


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('like = "int8"', 'like = "int9"', "a target tflite int9, which new, newer is like"),
        ('like = "int8"\n', "", "expected the key like in every"),
        ('precisions = ["new", "newer"]', 'precisions = "new"', "expected precisions as a list"),
        ('precisions = ["new", "newer"]', 'precisions = ["int8"]', "tflite int8 once"),
        ("interval =", "intervall =", "expected the key interval"),
        ('like = "int8"', 'like = "int8"\nthread = 4', "Did you mean 'threads'"),
    ],
)
def test_bad_nearest_entry_names_what_is_wrong(tmp_path: Path, old: str, new: str, expected: str) -> None:
    """An entry that is like nothing, lacks a key or states a precision again is refused."""
    assert old in NEAREST
    path = tmp_path / "bad.toml"
    path.write_text((SHIPPED / "raspberry-pi-4b.toml").read_text() + NEAREST.replace(old, new))
    with pytest.raises(InputError, match="bad.toml") as caught:
        devices.load_profile(path)
    assert expected in str(caught.value)


def test_widened_weights_are_read_as_floats() -> None:
    """A dense network whose narrow weights the runtime widens is bound by four bytes a weight, not by its file."""
    profile = devices.get("raspberry-pi-4b")
    small, large = (
        predicted(profile, artifact(precision=precision, macs=8e6, parameters=8e6, size_bytes=size)).value
        for precision, size in (("int8_weights", 8_000_000), ("float32", 32_000_000))
    )
    assert small == pytest.approx(large)


def test_reason_without_a_precision_holds_for_all() -> None:
    """A format that a device lacks altogether needs one reason, and never crashes a verdict."""
    profile = devices.get("coral-dev-board")
    target = profile.target("onnx", "int2")
    assert isinstance(target, Unsupported) and "no provider for the Edge TPU" in target.reason
    verdict = judge(profile, Deployable((artifact("onnx", "int4_weights"),)), GOOD)
    assert verdict.status is Status.UNSUPPORTED and verdict.reasons == (target.reason,)


def test_precision_that_no_profile_states_is_unsupported(profile: Profile) -> None:
    """A precision without an entry is unsupported, and the reason lists what the device runs."""
    target = profile.target("tflite", "int4")
    assert isinstance(target, Unsupported) and "tflite int8" in target.reason


def test_unknown_device_names_the_nearest() -> None:
    """A mistyped device is answered with the one that was meant."""
    with pytest.raises(InputError, match="Did you mean 'raspberry-pi-4b'"):
        devices.get("raspbery-pi-4")


def test_profile_of_a_user_loads_from_its_path(tmp_path: Path) -> None:
    """A device can be named by the path of a user's own file."""
    path = tmp_path / "mine.toml"
    path.write_text((SHIPPED / "raspberry-pi-4b.toml").read_text().replace('name = "raspberry-pi-4b"', 'name = "mine"'))
    assert devices.get(str(path)).name == "mine"
    with pytest.raises(InputError, match="absent.toml"):
        devices.get(str(tmp_path / "absent.toml"))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("clock_ghz = { value = 1.8", "clock_ghz = { value = 1800", ("cpu.clock_ghz.value", "0.01 to 10", "1800")),
        ("clock_ghz = { value = 1.8", "clock_ghz = { value = nan", ("cpu.clock_ghz.value", "0.01 to 10", "nan")),
        ("clock_ghz = { value = 1.8", "clock_ghz = { value = true", ("cpu.clock_ghz.value", "0.01 to 10", "True")),
        ("threads = 4", "threads = 0", ("targets.0.threads", "1 to 1024", "0")),
        ("threads = 4", "thread = 4", ("targets.0.threads", "no such key in targets.0, but thread, not")),
        ('name = "raspberry-pi-4b"', 'name = ""', ("name: expected a text of at least 1 character. Got: ''",)),
        ("threads = 4", "threads = 1024", ("tflite float32", "threads from 1 to 4, as cpu.count", "1024")),
        ('format = "tflite"', 'format = "tflit"', ("runtimes.0.format", "onnx, openvino, tflite", "'tflit'")),
        ('ted]]\nformat = "openvino"', 'ted]]\nformat = "ov"', ("unsupported.0.format", "onnx, openvino", "'ov'")),
        ("[budget]", "[budget]\nlatency = 3", ("budget.latency", "Did you mean 'latency_ms'")),
        ("max_drop = 1.0", "max_drop = -1.0", ("budget.max_drop", "0 to 1e+06", "-1")),
        ('unit = "cpu"', 'unit = "npu"', ("targets.0.unit", "'cpu'", "npu")),
        ('unit = "cpu"', 'unit = "gpu"', ("tflite float32", "[[accelerators]]")),
        ('runtime = "LiteRT"', 'runtime = "LiteRt"', ("runtime", "Did you mean 'LiteRT'")),
        ('source = "krai"', 'source = "kray"', ("source", "Did you mean 'krai'")),
        ('precision = "int16x8"', 'precision = "float16"', ("openvino float16 once", "two entries")),
        ("low = 0.4", "low = 1.4", ("interval.value.low", "0.01 to 1", "1.4")),
        ("[cpu]", "[cpu", ("Expected TOML",)),
    ],
)
def test_bad_profile_names_file_key_limits_and_value(
    tmp_path: Path, old: str, new: str, expected: tuple[str, ...]
) -> None:
    """A value that is missing, absurd or mistyped is refused by its key, its limits and what came."""
    text = (SHIPPED / "raspberry-pi-4b.toml").read_text()
    assert old in text
    path = tmp_path / "bad.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        devices.load_profile(path)
    for part in ("bad.toml", *expected):
        assert part in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(devices.names()),
    precision=st.sampled_from(("float32", "float16", "int8")),  # those in which every device runs TFLite
    macs=st.integers(1, 10**11),
    more=st.integers(0, 10**10),
    parameters=st.integers(0, 10**8),
)
def test_prediction_is_positive_inside_its_interval_and_grows_with_macs(
    name: str, precision: str, macs: int, more: int, parameters: int
) -> None:
    """Any artifact gets a positive latency inside its interval, and more MACs never make it faster."""
    profile = devices.get(name)
    less_work = artifact(precision=precision, macs=macs, parameters=parameters)
    figure = predicted(profile, less_work)
    low, high = bounds(figure)
    assert 0 < low <= figure.value <= high
    assert figure.how is How.PREDICTED and figure.basis
    assert predicted(profile, replace(less_work, macs=macs + more)).value >= figure.value


def test_artifact_without_macs_and_operations_is_not_predicted() -> None:
    """Nothing is invented for an artifact about which nothing is known."""
    figure = predict_latency(devices.get("raspberry-pi-4b"), artifact(macs=0, operations=()))
    assert isinstance(figure, Unsupported)


@pytest.mark.parametrize(("model", "precision", "operations", "macs", "parameters", "ms"), MEASURED_ON_PI_4)
def test_published_latency_lies_in_the_interval_on_pi_4(
    model: str, precision: str, operations: int, macs: float, parameters: float, ms: float
) -> None:
    """What MLPerf submitters measured on a Raspberry Pi 4 lies within the predicted interval."""
    kinds = (Operation("CONV_2D", (precision,), operations),)
    low, high = bounds(
        predicted(devices.get("raspberry-pi-4b"), artifact("tflite", precision, macs, parameters, kinds))
    )
    assert low <= ms <= high, model


@pytest.mark.parametrize(("model", "operations", "macs", "parameters", "ms"), MEASURED_ON_PI_3)
def test_published_latency_of_another_runtime_lies_in_the_interval_on_pi_3(
    model: str, operations: int, macs: float, parameters: float, ms: float
) -> None:
    """TFLite's times on a Raspberry Pi 3B+ lie within the interval, although ncnn's rates are behind it."""
    kinds = (Operation("CONV_2D", ("float32",), operations),)
    figure = predicted(devices.get("raspberry-pi-3b-plus"), artifact("tflite", "float32", macs, parameters, kinds))
    low, high = bounds(figure)
    assert low <= ms <= high, model
    assert "of another runtime" in figure.basis


@pytest.mark.parametrize("device", ["coral-dev-board", "coral-usb-accelerator"])
@pytest.mark.parametrize(("model", "macs", "parameters", "ms"), MEASURED_ON_EDGE_TPU)
def test_published_latency_lies_in_the_interval_on_edge_tpu(
    model: str, macs: float, parameters: float, ms: float, device: str
) -> None:
    """What was measured on an Edge TPU lies within the predicted interval, beyond the cache too."""
    low, high = bounds(predicted(devices.get(device), artifact(macs=macs, parameters=parameters)))
    assert low <= ms <= high, model


@pytest.mark.parametrize(("device", "model", "operations", "macs", "parameters", "ms"), MEASURED_ON_ORIN)
def test_published_latency_lies_in_the_interval_on_orin(
    device: str, model: str, operations: int, macs: float, parameters: float, ms: float
) -> None:
    """Networks of other families than those that were fitted lie within the interval on an Orin's GPU."""
    kinds = (Operation("Conv", ("int8",), operations),)
    low, high = bounds(predicted(devices.get(device), artifact("onnx", "int8", macs, parameters, kinds)))
    assert low <= ms <= high, model


def test_onnx_runs_on_the_cores_of_the_jetson_nano() -> None:
    """No ONNX Runtime with TensorRT for the board loads what edgewright writes, so its GPU has no target."""
    profile = devices.get("jetson-nano")
    assert profile.accelerator("gpu") is not None
    assert {target.unit for target in profile.targets} == {"cpu"}


def test_basis_tells_fitted_from_scaled_from_guessed() -> None:
    """A prediction says whether its roofline was fitted on this device, scaled from a relative, or neither."""
    on_pi = devices.get("raspberry-pi-4b")
    assert predicted(on_pi, artifact()).basis == "roofline, cpu, 4 threads, fitted on 74 published measurements"
    assert "scaled" in predicted(devices.get("jetson-orin-nano"), artifact("onnx")).basis
    assert "not fitted" in predicted(on_pi, artifact("openvino")).basis


def test_parameters_beyond_the_edge_tpu_cache_cost_a_cliff() -> None:
    """Of a file whose operations were not looked at, up to 7.97 MiB are free, and each MiB beyond costs its sending."""
    profile = devices.get("coral-dev-board")
    cached, full, beyond = (predicted(profile, artifact(parameters=mib * MIB)).value for mib in (1, 7.96, 8.97))
    assert cached == full
    assert 2 < beyond - full < 3


def test_float32_runs_on_the_cores_of_the_dev_board() -> None:
    """The Edge TPU takes integers only; TFLite float32 runs on the board's Cortex-A53."""
    target = devices.get("coral-dev-board").target("tflite", "float32")
    assert not isinstance(target, Unsupported) and target.unit == "cpu"


def placement(*groups: Group, unit: str = "Edge TPU", **facts: object) -> Placement:
    """What a device runs where, as the rules of its accelerator would tell."""
    return Placement(unit, "predicted", "its table", groups, ("Predicted: 10 of 13 operations.",), facts)


def test_operations_off_the_edge_tpu_are_named() -> None:
    """What runs on the CPU is named with its reason, costs its share, and widens the interval to the CPU's."""
    profile = devices.get("coral-dev-board")
    odd = Group("GELU", 2, "CPU", "is not in the table")
    there = predict_latency(profile, artifact(), placement(Group("CONV_2D", 10, "Edge TPU"), macs_share=1.0))
    half, none = (predict_latency(profile, artifact(), placement(odd, macs_share=share)) for share in (0.5, 0.0))
    assert isinstance(there, Figure) and isinstance(half, Figure) and isinstance(none, Figure)
    assert "GELU" in half.basis and "50.0% of the multiply-accumulates" in half.basis
    assert there.value < half.value < none.value
    assert bounds(half)[1] > bounds(there)[1] and bounds(half)[0] <= bounds(there)[0]
    found = judge(profile, Deployable((artifact(),)), GOOD, placements={"model": placement(odd, macs_share=0.5)})
    assert any("10 of 13" in reason and "GELU is not in the table" in reason for reason in found.reasons)


def test_conversion_of_float_inputs_is_no_fault() -> None:
    """What converts float inputs and outputs on the CPU does not count as running elsewhere."""
    ends = (
        Group("QUANTIZE", 1, "CPU", "converts a float input"),
        Group("DEQUANTIZE", 1, "CPU", "converts a float output"),
    )
    assert placement(*ends).elsewhere == ()
    assert "Elsewhere" not in placement(*ends).sentence


def test_int8_that_tensorrt_does_not_compute_has_no_predicted_latency() -> None:
    """The rates of int8 say nothing of a file whose integers TensorRT refuses: the verdict says so."""
    profile = devices.get("jetson-orin-nano")
    made = Deployable((artifact("onnx"),))
    refused = judge(profile, made, GOOD, placements={"model": placement(unit="TensorRT", macs_share_in_int8=0.0)})
    assert refused.status is Status.INCONCLUSIVE and refused.latency is None
    assert 'unit = "tensorrt"' in refused.reasons[0]
    taken = judge(profile, made, GOOD, placements={"model": placement(unit="TensorRT", macs_share_in_int8=0.9)})
    assert taken.latency is not None


def verdict(**changes: object) -> devices.Verdict:
    """A verdict on a Raspberry Pi 4 where all is well but for ``changes``."""
    settings: dict[str, object] = {
        "artifact": artifact(size_bytes=1000),
        "evidence": GOOD,
        "budget": Budget(latency_ms=10, size_bytes=1000, max_drop=1.0),
        "measured": Figure(9.0, How.MEASURED_ON_DEVICE, 8.5, 10.0, "p50 of 400 runs"),
    }
    settings |= changes
    described = Deployable((settings.pop("artifact"),))  # type: ignore[arg-type]
    return judge(devices.get("raspberry-pi-4b"), described, **settings)  # type: ignore[arg-type]


def test_all_limits_met_passes_with_numbers() -> None:
    """A pass states each limit with what came, and where the artifact runs."""
    found = verdict()
    assert found.status is Status.PASS
    assert (found.unit, found.runtime, found.artifact) == ("cpu", "LiteRT", "tflite int8")
    assert ["ms" in reason or "bytes" in reason or "metric" in reason for reason in found.reasons] == [True] * 3


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"artifact": artifact(size_bytes=1010)}, "1,010 bytes"),
        ({"evidence": replace(GOOD, metric_lost=1.01)}, "1.01"),
        ({"evidence": replace(GOOD, metric_lost=float("nan"))}, "nan"),
        ({"measured": Figure(10.5, How.MEASURED_ON_DEVICE, 10.1, 11)}, "10.1 to 11 ms"),
        ({"measured": Figure(10.1, How.MEASURED_ON_DEVICE)}, "10.1 ms"),
        ({"evidence": replace(GOOD, ok=False, reason="LiteRT: killed by signal 9.")}, "signal 9"),
        ({"evidence": replace(GOOD, ok=False)}, "did not run in LiteRT 2.3"),
        ({"evidence": replace(GOOD, agreement=0.1)}, "10.0%"),
    ],
)
def test_limit_missed_by_one_percent_fails_and_is_stated_first(changes: dict[str, object], word: str) -> None:
    """One missed limit fails, even by 1 %, and its sentence with the number comes first."""
    found = verdict(**changes)
    assert found.status is Status.FAIL
    assert word in found.reasons[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"measured": Figure(9.9, How.MEASURED_ON_DEVICE, 9.5, 10.1)},
        {"measured": None, "artifact": artifact(macs=0, operations=(), size_bytes=1000)},
        {"evidence": replace(GOOD, metric_lost=None, agreement=0.98)},
        {"evidence": replace(GOOD, metric_lost=None, agreement=None)},
    ],
)
def test_what_does_not_decide_is_inconclusive(changes: dict[str, object]) -> None:
    """An interval across the limit, or a figure that is not known, is neither a pass nor a fail."""
    assert verdict(**changes).status is Status.INCONCLUSIVE


def test_agreement_bounds_the_loss_where_labels_are_missing() -> None:
    """Without labels, agreement on all but the allowed share of samples is enough."""
    assert verdict(evidence=replace(GOOD, metric_lost=None, agreement=0.995)).status is Status.PASS


def test_failure_outweighs_doubt() -> None:
    """A verdict that both fails and does not know is a failure."""
    straddling = Figure(9.9, How.MEASURED_ON_DEVICE, 9.5, 10.1)
    assert verdict(measured=straddling, artifact=artifact(size_bytes=1010)).status is Status.FAIL


@pytest.mark.parametrize("how", [How.MEASURED_HERE, How.EMULATED])
def test_latency_of_another_machine_is_not_the_devices(how: How) -> None:
    """A latency measured here or emulated is set aside, which is said, and the prediction decides."""
    found = verdict(measured=Figure(0.001, how, 0.001, 0.001))
    assert found.latency is not None and found.latency.how is How.PREDICTED
    assert any("not used" in reason for reason in found.reasons)


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_format_that_the_device_does_not_run_is_unsupported(format: str) -> None:
    """OpenVINO and ONNX on the Coral Dev Board are unsupported whatever the evidence, with the reason."""
    failed = replace(GOOD, ok=False)
    found = judge(devices.get("coral-dev-board"), Deployable((artifact(format=format),)), failed)
    assert found.status is Status.UNSUPPORTED
    assert found.latency is None and "Edge TPU" in found.reasons[0]


def test_budget_that_limits_nothing_passes() -> None:
    """A limit left out is not checked."""
    assert verdict(budget=Budget(), measured=None).status is Status.PASS


def test_operator_table_names_tflite_operations() -> None:
    """The shipped operator table holds what every network needs."""
    needed = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MEAN", "SOFTMAX", "RESHAPE"}
    assert needed <= set(operator_table())


@pytest.mark.parametrize(
    ("low", "high", "allowed", "status"),
    [
        (40, 60, 64, Status.PASS),
        (65, 80, 64, Status.FAIL),
        (60, 70, 64, Status.INCONCLUSIVE),
        (40, 60, None, Status.PASS),
        (5000, 6000, None, Status.FAIL),
    ],
)
def test_peak_memory_is_judged_by_the_budget_or_by_what_the_device_has(
    low: int, high: int, allowed: int | None, status: Status
) -> None:
    """An interval of memory below the limit passes, above it fails, across it decides nothing."""
    mib = 2**20
    budget = Budget(memory_bytes=allowed and allowed * mib)
    memory = Figure((low + high) / 2 * mib, How.PREDICTED, low * mib, high * mib, "fitted")
    found = judge(devices.get("raspberry-pi-4b"), Deployable((artifact(),)), GOOD, budget, memory=memory)
    assert found.status == status
    assert "MiB" in found.deciding_reasons[-1]
