"""Writes the bundled digits as sample input: config/samples/data/digits.jsonl and digits.labels.json.

Then reads the written file back, runs model.onnx over it in batches and fails unless the result equals accuracy.json.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort

import dataset

HERE = Path(__file__).parent
DATA = HERE.parents[3] / "config" / "samples" / "data"
ITEMS = DATA / "digits.jsonl"
LABELS = DATA / "digits.labels.json"
BATCH = 32


def plain(value: float) -> float | int:
    return int(value) if float(value).is_integer() else float(value)


def write() -> None:
    digits = dataset.load()
    DATA.mkdir(parents=True, exist_ok=True)
    with ITEMS.open("w", newline="\n") as out:
        for index, image in enumerate(digits.images):
            nested = [[[plain(v) for v in row] for row in channel] for channel in image]
            item = {"id": dataset.item_id(index), "inputs": {"image": nested}}
            out.write(json.dumps(item, separators=(",", ":")) + "\n")
    answers = [
        f"  {json.dumps(dataset.item_id(i))}: " + json.dumps({"label": int(label), "heldOut": bool(held)})
        for i, (label, held) in enumerate(zip(digits.labels, digits.held_out, strict=True))
    ]
    LABELS.write_text("{\n" + ",\n".join(answers) + "\n}\n")


def check() -> None:
    items = [json.loads(line) for line in ITEMS.read_text().splitlines()]
    answers = json.loads(LABELS.read_text())
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(HERE / "model.onnx", options, providers=["CPUExecutionProvider"])
    right = {True: 0, False: 0}
    seen = {True: 0, False: 0}
    for first in range(0, len(items), BATCH):
        batch = items[first : first + BATCH]
        images = np.array([item["inputs"]["image"] for item in batch], dtype=np.float32)
        (digit,) = session.run(["digit"], {"image": images})
        for item, found in zip(batch, digit, strict=True):
            answer = answers[item["id"]]
            seen[answer["heldOut"]] += 1
            right[answer["heldOut"]] += int(found == answer["label"])
    expected = json.loads((HERE / "accuracy.json").read_text())
    for name, held in (("heldOut", True), ("training", False)):
        found, wanted = (seen[held], right[held]), (expected[name]["items"], expected[name]["correct"])
        print(f"{name}: {found[1]} of {found[0]} right ({found[1] / found[0]:.4%})")
        if found != wanted:
            raise SystemExit(f"{name}: {found[1]} of {found[0]} right, accuracy.json says {wanted[1]} of {wanted[0]}")


if __name__ == "__main__":
    write()
    check()
