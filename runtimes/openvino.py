"""OpenVINO on the CPU."""

from ._runtime import Runtime

RUNTIME = Runtime(
    name="openvino",
    title="OpenVINO",
    formats=("openvino",),
    distribution="openvino",
)
