"""PyTriton: the server and one client that reads the file, keeps two requests of a ready batch under way, and writes."""

import argparse
import json
import os
import socket
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from threading import local

import numpy as np
from pytriton.client import ModelClient
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from items import dtype_of, open_session, to_batch

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--input", required=True)
parser.add_argument("--output", required=True)
parser.add_argument("--batch", type=int, required=True)
options = parser.parse_args()

session = open_session(options.model)
dtype = dtype_of(session)
source, target = session.get_inputs()[0], session.get_outputs()[0]


@batch
def infer(**inputs):
    return {target.name: session.run([target.name], inputs)[0]}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def shape_of(value) -> tuple:
    return tuple(size if isinstance(size, int) else -1 for size in value.shape[1:])


config = TritonConfig(http_port=free_port(), grpc_port=free_port(), metrics_port=free_port(), log_verbose=0)
with Triton(config=config) as server:
    server.bind(
        model_name="bench",
        infer_func=infer,
        inputs=[Tensor(name=source.name, dtype=dtype, shape=shape_of(source))],
        outputs=[Tensor(name=target.name, dtype=np.float32, shape=shape_of(target))],
        config=ModelConfig(max_batch_size=options.batch),
    )
    server.run()
    clients = local()
    opened = []

    def ask(ids, rows):
        if not hasattr(clients, "one"):
            clients.one = ModelClient(f"grpc://127.0.0.1:{config.grpc_port}", "bench")
            opened.append(clients.one)
        return ids, clients.one.infer_batch(to_batch(rows, dtype))[target.name]

    with ThreadPoolExecutor(2) as pool, open(options.input, "rb", buffering=1 << 20) as lines, open(options.output, "wb", buffering=1 << 20) as out:
        asked = deque()
        ids, rows = [], []

        def take():
            names, answer = asked.popleft().result()
            for name, row in zip(names, answer.tolist()):
                out.write(json.dumps({"id": name, "outputs": {target.name: row}}).encode() + b"\n")

        for line in lines:
            item = json.loads(line)
            ids.append(item["id"])
            rows.append(item["inputs"][source.name])
            if len(ids) == options.batch:
                asked.append(pool.submit(ask, ids, rows))
                ids, rows = [], []
                if len(asked) > 2:
                    take()
        if ids:
            asked.append(pool.submit(ask, ids, rows))
        while asked:
            take()
        out.flush()
        os.fsync(out.fileno())
    for client in opened:
        client.close()
