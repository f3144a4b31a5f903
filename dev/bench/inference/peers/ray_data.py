"""Ray Data: read_json, map_batches with one actor that holds the session, write_json; order kept, parts joined."""

import argparse
import os
import shutil
import sys

# Its workers must find items.py.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
os.environ["PYTHONPATH"] = os.path.dirname(os.path.abspath(__file__))
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import numpy as np
import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext

from items import dtype_of, open_session, to_batch

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--input", required=True)
parser.add_argument("--output", required=True)
parser.add_argument("--batch", type=int, required=True)
options = parser.parse_args()


def rows_of(column: pa.Array, shape: list, dtype: type) -> np.ndarray:
    """Nested lists of one shape as a tensor without going through Python objects; others padded."""
    if not all(isinstance(size, int) for size in shape):
        return to_batch(column.to_pylist(), dtype)
    values = column
    for _ in shape:
        values = values.flatten()
    return values.to_numpy(zero_copy_only=False).astype(dtype).reshape(-1, *shape)


class Predict:
    def __init__(self):
        self.session = open_session(options.model)
        self.source = self.session.get_inputs()[0]
        self.target = self.session.get_outputs()[0].name

    def __call__(self, table: pa.Table) -> pa.Table:
        inputs = table.column("inputs").combine_chunks()
        batch = rows_of(inputs.field(self.source.name), self.source.shape[1:], dtype_of(self.session))
        answer = self.session.run([self.target], {self.source.name: batch})[0]
        rows = pa.FixedSizeListArray.from_arrays(pa.array(answer.ravel()), answer.shape[1]).cast(pa.list_(pa.float32()))
        return pa.table({"id": table.column("id"), "outputs": pa.StructArray.from_arrays([rows], [self.target])})


ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
DataContext.get_current().execution_options.preserve_order = True
DataContext.get_current().enable_progress_bars = False
parts = options.output + ".parts"
shutil.rmtree(parts, ignore_errors=True)
(
    ray.data.read_json(options.input, lines=True)
    .map_batches(Predict, batch_size=options.batch, batch_format="pyarrow", compute=ActorPoolStrategy(size=1), num_cpus=1)
    .write_json(parts)
)
with open(options.output, "wb") as out:
    for name in sorted(os.listdir(parts)):
        with open(os.path.join(parts, name), "rb") as part:
            shutil.copyfileobj(part, out, 1 << 20)
    out.flush()
    os.fsync(out.fileno())
shutil.rmtree(parts)
ray.shutdown()
