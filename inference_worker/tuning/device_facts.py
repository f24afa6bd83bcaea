"""What a device can do, as OpenVINO says."""

from __future__ import annotations


def capabilities(device: str) -> tuple[str, ...]:
    """Return what a device computes in, as in ``BF16``; nothing where it does not say."""
    import openvino

    try:
        found = openvino.Core().get_property(device, "OPTIMIZATION_CAPABILITIES")
    except RuntimeError:
        return ()
    return tuple(str(name) for name in found)
