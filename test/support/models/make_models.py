"""Writes the small models that tests of tensor handling use, and runs each of them once.

What each is for stands in README.md. Outputs are checked in; the script needs digits/requirements.txt.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
OPSET = 21
IR_VERSION = 10
FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING

# One iteration of slow.onnx multiplies a 128x128 matrix per item with a constant one: 4.2 MFLOP per item.
SLOW_SIDE = 128

Port = tuple[str, int, list[str | int]]


def node(operator: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [output], name=f"{operator}_{output}", **attributes)


def constant(name: str, value: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(value, name)


def model(
    name: str, inputs: list[Port], outputs: list[Port], nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(*port) for port in inputs],
        [helper.make_tensor_value_info(*port) for port in outputs],
        constants,
    )
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="millrace-test-models",
    )
    onnx.checker.check_model(made, full_check=True)
    return made


def affine_nodes() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    return (
        [node("Mul", ["x", "two"], "doubled"), node("Add", ["doubled", "one"], "y")],
        [constant("two", np.float32(2)), constant("one", np.float32(1))],
    )


def affine() -> onnx.ModelProto:
    return model("affine", [("x", FLOAT, ["N", 4])], [("y", FLOAT, ["N", 4])], *affine_nodes())


def slow(iterations: int) -> onnx.ModelProto:
    """y = x moved one place to the right, [x3, x0, x1, x2], the long way round.

    x is spread over a [N, 128, 128] state, 32 equal columns per value; every iteration multiplies it with a constant
    that averages each group and moves it one place on. Four iterations give x back, 4k + 1 move it by one.
    Powers of two only: small whole numbers come out exactly. The work per item does not depend on the batch.
    """
    if iterations % 4 != 1:
        raise SystemExit(
            f"--slow-iterations is {iterations}, expected 4k + 1: only then is the answer x moved by one place"
        )
    group = SLOW_SIDE // 4
    moved = np.roll(np.eye(4, dtype=np.float32), 1, axis=1) / group  # row i feeds column i + 1
    body = helper.make_graph(
        [
            node("Identity", ["go_on"], "still_go_on"),
            node("MatMul", ["state", "step"], "next_state"),
        ],
        "iteration",
        [
            helper.make_tensor_value_info("i", INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", FLOAT, ["N", SLOW_SIDE, SLOW_SIDE]),
        ],
        [
            helper.make_tensor_value_info("still_go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next_state", FLOAT, ["N", SLOW_SIDE, SLOW_SIDE]),
        ],
    )
    nodes = [
        # step[32 * i + a, 32 * j + b] = moved[i, j]
        node("Expand", ["moved", "spread_shape"], "spread"),
        node("Reshape", ["spread", "step_shape"], "step"),
        # state[n, row, 32 * i + a] = x[n, i]
        node("Reshape", ["x", "column_shape"], "columns"),
        node("Expand", ["columns", "state_spread"], "wide"),
        node("Reshape", ["wide", "state_shape"], "start"),
        helper.make_node("Loop", ["iterations", "always", "start"], ["end"], name="Loop_end", body=body),
        # The first row, one column of each group.
        node("Slice", ["end", "slice_from", "slice_to", "slice_axes", "slice_steps"], "picked"),
        node("Reshape", ["picked", "y_shape"], "y"),
    ]
    shape = lambda *sizes: np.array(sizes, dtype=np.int64)  # noqa: E731
    constants = [
        constant("moved", moved.reshape(4, 1, 4, 1)),
        constant("spread_shape", shape(4, group, 4, group)),
        constant("step_shape", shape(SLOW_SIDE, SLOW_SIDE)),
        constant("column_shape", shape(-1, 1, 4, 1)),
        constant("state_spread", shape(1, SLOW_SIDE, 4, group)),
        constant("state_shape", shape(-1, SLOW_SIDE, SLOW_SIDE)),
        constant("iterations", np.int64(iterations)),
        constant("always", np.bool_(True)),
        constant("slice_from", shape(0, 0)),
        constant("slice_to", shape(1, SLOW_SIDE)),
        constant("slice_axes", shape(1, 2)),
        constant("slice_steps", shape(1, group)),
        constant("y_shape", shape(-1, 4)),
    ]
    return model("slow", [("x", FLOAT, ["N", 4])], [("y", FLOAT, ["N", 4])], nodes, constants)


def logarithm() -> onnx.ModelProto:
    return model("nan", [("x", FLOAT, ["N", 1])], [("y", FLOAT, ["N", 1])], [node("Log", ["x"], "y")], [])


def mixed() -> onnx.ModelProto:
    nodes = [
        node("ReduceSum", ["ids", "last"], "sum", keepdims=0),
        node("Cast", ["ids"], "as_float", to=FLOAT),
        node("Unsqueeze", ["scale", "last"], "column"),
        node("Mul", ["as_float", "column"], "scaled"),
    ]
    return model(
        "mixed",
        [("ids", INT64, ["N", "L"]), ("scale", FLOAT, ["N"])],
        [("sum", INT64, ["N"]), ("scaled", FLOAT, ["N", "L"])],
        nodes,
        [constant("last", np.array([1], dtype=np.int64))],
    )


def text() -> onnx.ModelProto:
    return model("text", [("x", STRING, ["N"])], [("y", STRING, ["N"])], [node("Identity", ["x"], "y")], [])


def scalar_out() -> onnx.ModelProto:
    nodes, constants = affine_nodes()
    return model(
        "scalar_out",
        [("x", FLOAT, ["N", 4])],
        [("y", FLOAT, ["N", 4]), ("version", FLOAT, [])],
        [*nodes, node("Identity", ["three"], "version")],
        [*constants, constant("three", np.float32(3))],
    )


def session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def check(folder: Path) -> None:
    """Runs every written file; an AssertionError names what differs from the tables in README.md."""

    def answer(name: str, **feeds: np.ndarray) -> list[np.ndarray]:
        return session(folder / name).run(None, feeds)

    same = np.testing.assert_array_equal
    x = np.array([[1, 2, 3, 4], [-5, 0, 7, 100]], dtype=np.float32)
    same(answer("affine.onnx", x=x)[0], 2 * x + 1)
    same(answer("slow.onnx", x=x)[0], np.roll(x, 1, axis=1))
    logs = answer("nan.onnx", x=np.array([[1], [0], [-1]], dtype=np.float32))[0]
    same(logs, np.array([[0], [-np.inf], [np.nan]], dtype=np.float32))
    ids, scale = np.array([[1, 2, 3], [4, 5, 6]]), np.array([0.5, 2], dtype=np.float32)
    total, scaled = answer("mixed.onnx", ids=ids, scale=scale)
    same(total, [6, 15])
    same(scaled, (ids * scale[:, None]).astype(np.float32))
    words = np.array(["", "añb", "x" * 1000], dtype=object)
    same(answer("text.onnx", x=words)[0], words)
    y, version = answer("scalar_out.onnx", x=x)
    same(y, 2 * x + 1)
    same(version, np.float32(3))
    for name in ("not_onnx.onnx", "truncated.onnx"):
        try:
            session(folder / name)
        except Exception as refused:  # ONNX Runtime raises several unrelated types here
            print(f"{name}: refused: {str(refused).splitlines()[0][:120]}")
        else:
            raise SystemExit(f"{name}: ONNX Runtime loaded it, expected a refusal")


def time_slow(path: Path) -> None:
    # Companions must not matter: each row alone gives bit for bit what it gives in the batch.
    random = np.random.default_rng(0)
    x = random.standard_normal((16, 4)).astype(np.float32)
    loaded = session(path)
    (together,) = loaded.run(None, {"x": x})
    for row in range(len(x)):
        np.testing.assert_array_equal(loaded.run(None, {"x": x[row : row + 1]})[0][0], together[row])
    for batch in (1, 4, 16):
        rounds = max(1, 48 // batch)
        started, cpu = time.perf_counter(), time.process_time()
        for _ in range(rounds):
            loaded.run(None, {"x": x[:batch]})
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        items = rounds * batch
        print(f"slow.onnx, batch {batch}: {1000 * cpu / items:.2f} ms CPU, {1000 * wall / items:.2f} ms wall per item")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slow-iterations", type=int, default=113, help="cost of slow.onnx per item; 4k + 1")
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    folder: Path = arguments.out
    models = {
        "affine.onnx": affine(),
        "slow.onnx": slow(arguments.slow_iterations),
        "nan.onnx": logarithm(),
        "mixed.onnx": mixed(),
        "text.onnx": text(),
        "scalar_out.onnx": scalar_out(),
    }
    for name, made in models.items():
        onnx.save(made, folder / name)
    whole = (folder / "mixed.onnx").read_bytes()
    (folder / "truncated.onnx").write_bytes(whole[: len(whole) // 2])
    (folder / "not_onnx.onnx").write_text("This is a text file, not a model.\n")
    for path in sorted(folder.glob("*.onnx")):
        print(f"{path.name}: {path.stat().st_size} bytes")
    check(folder)
    time_slow(folder / "slow.onnx")


if __name__ == "__main__":
    main()
