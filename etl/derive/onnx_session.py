"""Inference sessions of onnxruntime: one for each model and process, made when it is first needed.

A session does not pickle, and takes all cores unless it is told not to, whatever OMP_NUM_THREADS says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Device = Literal["cpu", "cuda"]
PROVIDERS: dict[str, tuple[str, ...]] = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
}
SLICES_AT_ONCE = 32

_lock = threading.Lock()
_sessions: dict[tuple[str, str], Any] = {}


def session_of(key: str, device: Device, read: Callable[[], bytes]) -> Any:
    """Return this process's session of a model; threads of one worker share it.

    Args:
        key: the SHA-256 of the model's bytes.
        read: returns the bytes; called only where there is no session yet.
    """
    with _lock:
        if (key, device) not in _sessions:
            # A worker scores with one model at a time; sessions of others only hold memory.
            _sessions.clear()
            _sessions[key, device] = new_session(read(), device)
        return _sessions[key, device]


def new_session(model: bytes, device: Device = "cpu") -> Any:
    """Return a session of one thread.

    Raises:
        OSError: onnxruntime has no such device on this machine.
    """
    import onnxruntime

    missing = set(PROVIDERS[device][:1]).difference(onnxruntime.get_available_providers())
    if missing:
        raise OSError(f"onnxruntime has no {', '.join(missing)} here")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=list(PROVIDERS[device]))


def run_session(session: Any, slices: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the scores (n,) of slices (n, pixels, pixels) in 0..1, a few at once."""
    name = session.get_inputs()[0].name
    return run_inputs(session, {name: slices[:, None]})


def run_inputs(session: Any, inputs: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Return the output for inputs of one length, by name, a few rows at once; nothing for no rows.

    An input that the model does not use is left out.
    """
    count = len(next(iter(inputs.values())))
    inputs = {one.name: inputs[one.name] for one in session.get_inputs()}
    parts = [
        session.run(None, {name: values[start : start + SLICES_AT_ONCE] for name, values in inputs.items()})[
            0
        ]
        for start in range(0, count, SLICES_AT_ONCE)
    ]
    found: npt.NDArray[np.float32] = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return found
