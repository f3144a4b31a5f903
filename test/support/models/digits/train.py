"""Trains the sample model, a small residual CNN, in NumPy alone and writes model.onnx and accuracy.json.

The number of epochs is fixed in advance and the held-out images are scored once, after training, by ONNX Runtime on
the written file: nothing about the model was chosen by looking at them in this script.
One BLAS thread: the order of the sums, and so the weights, are then the same on every run on the same kind of CPU.
"""

import os

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse  # noqa: E402
import json  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime as ort  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import dataset  # noqa: E402

HERE = Path(__file__).parent
SEED = 7
CHANNELS = 64
BLOCKS = 3
BATCH = 32
PEAK_RATE = 2e-3
INK_MAX = 16.0
CLASSES = 10
# Opset and IR version are older than the newest, so that any ONNX Runtime from 1.20 on loads the file.
OPSET = 21
IR_VERSION = 10

Weights = dict[str, np.ndarray]


# Layers. Activations are [items, rows, columns, channels]; convolutions are 3x3, stride 1, zero-padded to keep the size.


def patches(x: np.ndarray) -> np.ndarray:
    """im2col: one row per pixel, holding the 3x3 neighbourhood of that pixel, [n * h * w, 9 * channels]."""
    n, h, w, c = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = np.empty((n, h, w, 9, c), dtype=np.float32)
    for k in range(9):
        dy, dx = divmod(k, 3)
        rows[:, :, :, k] = padded[:, dy : dy + h, dx : dx + w]
    return rows.reshape(n * h * w, 9 * c)


def conv(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """weight [9 * in, out]. Returns the output and the patches, which the backward pass needs again."""
    rows = patches(x)
    return (rows @ weight + bias).reshape(*x.shape[:3], -1), rows


def conv_back(
    grad: np.ndarray, rows: np.ndarray, weight: np.ndarray, want_input: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    flat = grad.reshape(-1, grad.shape[-1])
    grad_weight, grad_bias = rows.T @ flat, flat.sum(axis=0)
    if not want_input:
        return grad_weight, grad_bias, None
    # The gradient of a same-size convolution is a convolution of the gradient with the kernel turned by 180 degrees.
    out = grad.shape[-1]
    turned = weight.reshape(9, -1, out)[::-1].transpose(0, 2, 1).reshape(9 * out, -1)
    return grad_weight, grad_bias, (patches(grad) @ turned).reshape(*grad.shape[:3], -1)


def initial_weights(random: np.random.Generator) -> Weights:
    def he(fan_in: int, fan_out: int) -> np.ndarray:
        return (random.standard_normal((fan_in, fan_out)) * np.sqrt(2 / fan_in)).astype(np.float32)

    weights = {"stem.w": he(9, CHANNELS), "stem.b": np.zeros(CHANNELS, np.float32)}
    for block in range(BLOCKS):
        weights[f"block{block}.in.w"] = he(9 * CHANNELS, CHANNELS)
        weights[f"block{block}.in.b"] = np.zeros(CHANNELS, np.float32)
        # Zero at first, so that every block starts as the identity: that replaces batch normalisation.
        weights[f"block{block}.out.w"] = np.zeros((9 * CHANNELS, CHANNELS), np.float32)
        weights[f"block{block}.out.b"] = np.zeros(CHANNELS, np.float32)
    weights["head.w"] = he(16 * CHANNELS, CLASSES) * np.float32(0.1)
    weights["head.b"] = np.zeros(CLASSES, np.float32)
    return weights


def loss_and_gradients(
    weights: Weights, images: np.ndarray, labels: np.ndarray, keep: np.ndarray
) -> tuple[float, Weights]:
    """Mean cross-entropy over the batch. `keep` is the dropout mask before the head, already scaled."""
    n = len(images)
    grads: Weights = {}

    stem, stem_rows = conv(images / np.float32(INK_MAX), weights["stem.w"], weights["stem.b"])
    x = np.maximum(stem, 0)
    tape = []
    for block in range(BLOCKS):
        hidden, rows_in = conv(x, weights[f"block{block}.in.w"], weights[f"block{block}.in.b"])
        hidden = np.maximum(hidden, 0)
        added, rows_out = conv(hidden, weights[f"block{block}.out.w"], weights[f"block{block}.out.b"])
        y = np.maximum(x + added, 0)
        tape.append((rows_in, hidden, rows_out, y))
        x = y
    squares = x.reshape(n, 4, 2, 4, 2, CHANNELS)
    pooled = squares.max(axis=(2, 4))
    flat = pooled.reshape(n, -1) * keep
    logits = flat @ weights["head.w"] + weights["head.b"]
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = -float(log_p[np.arange(n), labels].mean())

    grad = np.exp(log_p)
    grad[np.arange(n), labels] -= 1
    grad /= np.float32(n)
    grads["head.w"], grads["head.b"] = flat.T @ grad, grad.sum(axis=0)
    grad_pooled = (grad @ weights["head.w"].T * keep).reshape(pooled.shape)
    is_max = squares == pooled[:, :, None, :, None]
    grad = (is_max * grad_pooled[:, :, None, :, None]).reshape(x.shape)
    for block in reversed(range(BLOCKS)):
        rows_in, hidden, rows_out, y = tape[block]
        grad = grad * (y > 0)
        name = f"block{block}.out"
        grads[f"{name}.w"], grads[f"{name}.b"], back = conv_back(grad, rows_out, weights[f"{name}.w"])
        name = f"block{block}.in"
        grads[f"{name}.w"], grads[f"{name}.b"], back = conv_back(back * (hidden > 0), rows_in, weights[f"{name}.w"])
        grad = grad + back
    grads["stem.w"], grads["stem.b"], _ = conv_back(grad * (stem > 0), stem_rows, weights["stem.w"], want_input=False)
    return loss, grads


def shifted_copies(random: np.random.Generator, images: np.ndarray) -> np.ndarray:
    """Moves each image by -1, 0 or 1 pixel in both directions; what leaves the frame is lost, what enters is blank."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    moves = random.integers(0, 3, size=(len(images), 2))
    return np.stack([p[dy : dy + 8, dx : dx + 8] for p, (dy, dx) in zip(padded, moves, strict=True)])


def train(images: np.ndarray, labels: np.ndarray, epochs: int) -> Weights:
    """Adam with a linear warm-up and a cosine decay. images [n, 8, 8, 1]."""
    random = np.random.default_rng(SEED)
    weights = initial_weights(random)
    mean = {name: np.zeros_like(w) for name, w in weights.items()}
    square = {name: np.zeros_like(w) for name, w in weights.items()}
    steps = epochs * (len(images) // BATCH)
    step = 0
    for epoch in range(epochs):
        started, losses = time.monotonic(), []
        order = random.permutation(len(images))
        for first in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[first : first + BATCH]
            keep = (random.random((BATCH, 16 * CHANNELS)) < 0.7).astype(np.float32) / np.float32(0.7)
            loss, grads = loss_and_gradients(weights, shifted_copies(random, images[chosen]), labels[chosen], keep)
            losses.append(loss)
            step += 1
            rate = PEAK_RATE * min(step / 80, 0.5 + 0.5 * np.cos(np.pi * step / steps))
            for name, grad in grads.items():
                mean[name] += 0.1 * (grad - mean[name])
                square[name] += 0.001 * (grad * grad - square[name])
                corrected = np.sqrt(square[name] / (1 - 0.999**step)) + 1e-8
                weights[name] -= (rate / (1 - 0.9**step) * mean[name] / corrected).astype(np.float32)
        print(f"epoch {epoch + 1}/{epochs} loss {np.mean(losses):.4f} {time.monotonic() - started:.1f} s", flush=True)
    return weights


def to_onnx(weights: Weights) -> onnx.ModelProto:
    def kernel(name: str) -> np.ndarray:
        w = weights[f"{name}.w"]
        return w.reshape(3, 3, -1, w.shape[1]).transpose(3, 2, 0, 1)

    constants: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def convolution(name: str, source: str) -> str:
        inputs = [source, constant(f"{name}.w", kernel(name)), constant(f"{name}.b", weights[f"{name}.b"])]
        return node("Conv", inputs, name, kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    x = node("Mul", ["image", constant("ink_scale", np.float32(1 / INK_MAX))], "scaled")
    x = node("Relu", [convolution("stem", x)], "stem.relu")
    for block in range(BLOCKS):
        hidden = node("Relu", [convolution(f"block{block}.in", x)], f"block{block}.in.relu")
        added = node("Add", [convolution(f"block{block}.out", hidden), x], f"block{block}.add")
        x = node("Relu", [added], f"block{block}.relu")
    x = node("MaxPool", [x], "pool", kernel_shape=[2, 2], strides=[2, 2])
    x = node("Flatten", [x], "flat", axis=1)
    head = weights["head.w"].reshape(4, 4, CHANNELS, CLASSES).transpose(2, 0, 1, 3).reshape(-1, CLASSES)
    x = node("Gemm", [x, constant("head.w", head), constant("head.b", weights["head.b"])], "logits")
    node("Softmax", [x], "probabilities", axis=1)
    node("ArgMax", [x], "digit", axis=1, keepdims=0)

    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", CLASSES]),
            helper.make_tensor_value_info("digit", TensorProto.INT64, ["batch"]),
        ],
        constants,
        doc_string="Handwritten digits: 8x8 images with ink 0..16 to the digit they show.",
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="millrace-digits",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def score(path: Path, digits: dataset.Digits) -> tuple[np.ndarray, np.ndarray]:
    """Per image: is the model right, and the probabilities it gave."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    probabilities, digit = session.run(["probabilities", "digit"], {"image": digits.images})
    return digit == digits.labels, probabilities


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=Path, default=HERE, help="folder for model.onnx and accuracy.json")
    arguments = parser.parse_args()

    digits = dataset.load()
    training = ~digits.held_out
    started = time.monotonic()
    weights = train(digits.images[training].transpose(0, 2, 3, 1), digits.labels[training], arguments.epochs)
    path = arguments.out / "model.onnx"
    onnx.save(to_onnx(weights), path)

    right, _ = score(path, digits)

    def summary(chosen: np.ndarray) -> dict[str, float | int]:
        items, correct = int(chosen.sum()), int(right[chosen].sum())
        return {"items": items, "correct": correct, "accuracy": round(correct / items, 6)}

    report = {
        "heldOut": summary(digits.held_out),
        "training": summary(training),
        "all": summary(np.ones_like(training)),
        "wrong": [dataset.item_id(int(i)) for i in np.flatnonzero(~right)],
        "epochs": arguments.epochs,
        "seed": SEED,
        "split": dataset.SPLIT_RULE,
    }
    (arguments.out / "accuracy.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    print(f"{path}: {path.stat().st_size} bytes, trained in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
