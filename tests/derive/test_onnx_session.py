"""Sessions of onnxruntime: one for each model and process, of one thread."""

from __future__ import annotations

import threading

import numpy as np
import onnxruntime
import psutil
import pytest

from etl.derive.onnx_session import new_session, run_session, session_of
from tests.support.processes import wait_until
from tests.support.tiny_model import MEAN_BRIGHTNESS_ONNX, PIXELS


def test_threads_of_a_worker_share_one_session_which_is_made_once() -> None:
    reads: list[str] = []

    def read() -> bytes:
        reads.append(threading.current_thread().name)
        return MEAN_BRIGHTNESS_ONNX

    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(session_of("model-1", "cpu", read))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reads) == 1
    assert len({id(session) for session in found}) == 1
    assert session_of("model-2", "cpu", read) is not found[0]
    assert len(reads) == 2
    # A worker holds the session of the model that it uses, and no other.
    assert session_of("model-1", "cpu", read) is not found[0]


def test_a_session_uses_one_thread() -> None:
    """onnxruntime takes all cores by default, whatever OMP_NUM_THREADS says."""

    def other_threads() -> set[int]:
        """Those that Python did not start: what other tests left running starts and ends some meanwhile."""
        all_threads = {thread.id for thread in psutil.Process().threads()}
        return all_threads - {thread.native_id for thread in threading.enumerate() if thread.native_id}

    before = other_threads()
    session = new_session(MEAN_BRIGHTNESS_ONNX)
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    slices = np.zeros((70, PIXELS, PIXELS), np.float32)
    assert run_session(session, slices).tolist() == [-1.0] * 70
    # Those of a session stay as long as it does.
    wait_until(lambda: not other_threads() - before, "it had no thread more", 10)
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_a_device_that_is_not_there_is_a_fault_of_the_machine() -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime has CUDA here")
    with pytest.raises(OSError, match="no CUDAExecutionProvider here"):
        new_session(MEAN_BRIGHTNESS_ONNX, "cuda")
