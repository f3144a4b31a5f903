"""A loop over the file: batches in the order of arrival, one session on one thread, the output synced at the end."""

import argparse
import json
import os

from items import dtype_of, open_session, to_batch

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--input", required=True)
parser.add_argument("--output", required=True)
parser.add_argument("--batch", type=int, required=True)
parser.add_argument("--json", choices=["json", "orjson"], default="json")
options = parser.parse_args()

session = open_session(options.model)
dtype = dtype_of(session)
source = session.get_inputs()[0].name
target = session.get_outputs()[0].name
if options.json == "orjson":
    import orjson

    loads = orjson.loads

    def write(out, ids, answer):
        for at, name in enumerate(ids):
            out.write(orjson.dumps({"id": name, "outputs": {target: answer[at]}}, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))
else:
    loads = json.loads

    def write(out, ids, answer):
        for name, row in zip(ids, answer.tolist()):
            out.write(json.dumps({"id": name, "outputs": {target: row}}).encode() + b"\n")


with open(options.input, "rb", buffering=1 << 20) as lines, open(options.output, "wb", buffering=1 << 20) as out:
    ids, rows = [], []

    def flush():
        write(out, ids, session.run([target], {source: to_batch(rows, dtype)})[0])
        ids.clear()
        rows.clear()

    for line in lines:
        item = loads(line)
        ids.append(item["id"])
        rows.append(item["inputs"][source])
        if len(ids) == options.batch:
            flush()
    if ids:
        flush()
    out.flush()
    os.fsync(out.fileno())
