"""What the peers share: reading items, padding, and a session on one thread, as ours has."""

import numpy as np
import onnxruntime as ort


def open_session(path: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def dtype_of(session: ort.InferenceSession) -> type:
    return np.int64 if session.get_inputs()[0].type == "tensor(int64)" else np.float32


def to_batch(rows: list, dtype: type) -> np.ndarray:
    """Rows of one shape as they are; of several lengths padded with zeros to the longest."""
    if dtype is np.float32:
        return np.asarray(rows, dtype)
    longest = max(map(len, rows))
    batch = np.zeros((len(rows), longest), dtype)
    for at, row in enumerate(rows):
        batch[at, : len(row)] = row
    return batch
