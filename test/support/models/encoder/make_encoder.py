"""Writes a tiny text encoder of the BERT family with its tokenizer, and what both must answer.

The answers in golden.json and tokens.json come from Hugging Face's tokenizers (Rust) and from a forward pass written here in numpy, text
by text and without padding; the script stops when ONNX Runtime disagrees with it. The weights are random: the vectors
mean nothing, but every token, position and neighbour changes them. Run with the packages of ../digits/requirements.txt
and tokenizers==0.23.3.
"""

import json
import math
import random
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

HERE = Path(__file__).parent
HIDDEN, HEADS, LAYERS, INNER, POSITIONS = 32, 4, 2, 64, 64
MAX_SEQ_LENGTH = 48
EPSILON = 1e-12
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """the a of to in and is it for on with as are be this that from or by an at was not but have has all which
their more one can its other how when what out up use time people new way day man world life hand part child eye woman
place work week case point number group problem fact quick brown fox jumps over lazy dog cat house water train green
blue red sun moon star river mountain kubernetes batch inference embedding vector token model data cloud ##s ##ed ##ing
##ly ##er ##est ##tion ##ment ##ness ##able caf naive uber zurich hello""".split()
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
SYMBOLS = "!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~€£…—“”"
OTHERS = "αβγδεοσςτωабвгдежйклмнопрст日本語中文字漢한글مرحبا𠀀𠀁ß"


def vocabulary() -> dict[str, int]:
    entries = SPECIAL + WORDS + list(LETTERS) + [f"##{c}" for c in LETTERS] + list(SYMBOLS)
    entries += list(OTHERS) + [f"##{c}" for c in OTHERS]
    return {entry: index for index, entry in enumerate(dict.fromkeys(entries))}


def tokenizer(vocab: dict[str, int]) -> Tokenizer:
    made = Tokenizer(WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    made.normalizer = BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True)
    made.pre_tokenizer = BertPreTokenizer()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    made.add_special_tokens(SPECIAL)
    return made


def weights(vocab_size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(20)

    def normal(*shape: int, scale: float) -> np.ndarray:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    made = {
        "word": normal(vocab_size, HIDDEN, scale=0.8),
        "position": normal(POSITIONS, HIDDEN, scale=0.4),
        "type": normal(2, HIDDEN, scale=0.2),
        "gain": (1 + normal(HIDDEN, scale=0.1)).astype(np.float32),
        "bias": normal(HIDDEN, scale=0.1),
    }
    for layer in range(LAYERS):
        for name in ("q", "k", "v", "o"):
            made[f"{name}{layer}"] = normal(HIDDEN, HIDDEN, scale=1.4 / math.sqrt(HIDDEN))
            made[f"{name}{layer}_bias"] = normal(HIDDEN, scale=0.1)
        made[f"up{layer}"] = normal(HIDDEN, INNER, scale=1 / math.sqrt(HIDDEN))
        made[f"up{layer}_bias"] = normal(INNER, scale=0.1)
        made[f"down{layer}"] = normal(INNER, HIDDEN, scale=1 / math.sqrt(INNER))
        made[f"down{layer}_bias"] = normal(HIDDEN, scale=0.1)
        for norm in ("attention", "output"):
            made[f"{norm}{layer}_gain"] = (1 + normal(HIDDEN, scale=0.1)).astype(np.float32)
            made[f"{norm}{layer}_bias"] = normal(HIDDEN, scale=0.1)
    return made


def graph(w: dict[str, np.ndarray]) -> onnx.ModelProto:
    nodes: list[onnx.NodeProto] = []
    constants = {name: value for name, value in w.items()}
    constants |= {
        "heads_shape": np.array([0, 0, HEADS, HIDDEN // HEADS], dtype=np.int64),
        "flat_shape": np.array([0, 0, HIDDEN], dtype=np.int64),
        "scale": np.float32(1 / math.sqrt(HIDDEN // HEADS)),
        "one": np.float32(1),
        "half": np.float32(0.5),
        "root_two": np.float32(math.sqrt(2)),
        "lowest": np.float32(-1e9),
        "zero": np.int64(0),
        "step": np.int64(1),
        "mask_axes": np.array([1, 2], dtype=np.int64),
        "second": np.array([1], dtype=np.int64),
    }

    def add(operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], name=f"{operator}_{output}", **attributes))
        return output

    def linear(x: str, name: str, output: str) -> str:
        return add("Add", [add("MatMul", [x, name], f"{output}_product"), f"{name}_bias"], output)

    def norm(x: str, gain: str, bias: str, output: str) -> str:
        return add("LayerNormalization", [x, gain, bias], output, axis=-1, epsilon=EPSILON)

    add("Shape", ["input_ids"], "shape")
    add("Gather", ["shape", "second"], "length_list")
    add("Squeeze", ["length_list"], "length")
    add("Range", ["zero", "length", "step"], "places")
    add("Gather", ["word", "input_ids"], "words")
    add("Gather", ["position", "places"], "positions")
    add("Gather", ["type", "token_type_ids"], "types")
    add("Add", [add("Add", ["words", "positions"], "placed"), "types"], "embedded")
    x = norm("embedded", "gain", "bias", "x")
    add("Unsqueeze", [add("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT), "mask_axes"], "wide_mask")
    add("Mul", [add("Sub", ["one", "wide_mask"], "hidden_places"), "lowest"], "penalty")
    for layer in range(LAYERS):
        for name, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
            linear(x, f"{name}{layer}", f"{name}{layer}_flat")
            add("Reshape", [f"{name}{layer}_flat", "heads_shape"], f"{name}{layer}_split")
            add("Transpose", [f"{name}{layer}_split"], f"{name}{layer}_heads", perm=order)
        add("MatMul", [f"q{layer}_heads", f"k{layer}_heads"], f"raw{layer}")
        add("Mul", [f"raw{layer}", "scale"], f"scores{layer}")
        add("Softmax", [add("Add", [f"scores{layer}", "penalty"], f"masked{layer}")], f"shares{layer}", axis=-1)
        add("MatMul", [f"shares{layer}", f"v{layer}_heads"], f"mixed{layer}")
        add("Transpose", [f"mixed{layer}"], f"joined{layer}", perm=[0, 2, 1, 3])
        add("Reshape", [f"joined{layer}", "flat_shape"], f"context{layer}")
        add("Add", [x, linear(f"context{layer}", f"o{layer}", f"attended{layer}")], f"sum{layer}")
        x = norm(f"sum{layer}", f"attention{layer}_gain", f"attention{layer}_bias", f"middle{layer}")
        up = linear(x, f"up{layer}", f"inner{layer}")
        add("Erf", [add("Div", [up, "root_two"], f"ratio{layer}")], f"erf{layer}")
        add("Mul", [add("Mul", [up, "half"], f"halved{layer}"), add("Add", [f"erf{layer}", "one"], f"lifted{layer}")], f"gelu{layer}")
        add("Add", [x, linear(f"gelu{layer}", f"down{layer}", f"fed{layer}")], f"total{layer}")
        last = layer == LAYERS - 1
        x = norm(f"total{layer}", f"output{layer}_gain", f"output{layer}_bias", "last_hidden_state" if last else f"y{layer}")
    made = helper.make_model(
        helper.make_graph(
            nodes,
            "encoder",
            [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in ("input_ids", "attention_mask", "token_type_ids")],
            [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "sequence", HIDDEN])],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=10,
        producer_name="millrace-test-models",
    )
    onnx.checker.check_model(made, full_check=True)
    return made


def forward(w: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """The hidden states of one text, in double precision."""
    d = {name: value.astype(np.float64) for name, value in w.items()}

    def norm(x: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON) * gain + bias

    erf = np.vectorize(math.erf)
    x = norm(d["word"][ids] + d["position"][: len(ids)] + d["type"][0], d["gain"], d["bias"])
    for layer in range(LAYERS):
        size = HIDDEN // HEADS
        q, k, v = (x @ d[f"{name}{layer}"] + d[f"{name}{layer}_bias"] for name in "qkv")
        context = np.zeros_like(x)
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            scores = q[:, part] @ k[:, part].T / math.sqrt(size)
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            context[:, part] = shares / shares.sum(-1, keepdims=True) @ v[:, part]
        x = norm(x + context @ d[f"o{layer}"] + d[f"o{layer}_bias"], d[f"attention{layer}_gain"], d[f"attention{layer}_bias"])
        inner = x @ d[f"up{layer}"] + d[f"up{layer}_bias"]
        gelu = inner / 2 * (1 + erf(inner / math.sqrt(2)))
        x = norm(x + gelu @ d[f"down{layer}"] + d[f"down{layer}_bias"], d[f"output{layer}_gain"], d[f"output{layer}_bias"])
    return x


TEXTS = [
    "", " ", "The quick brown fox jumps over the lazy dog.", "Hello, world!", "hello   world", "Café Zürich – naïve Über", "e\u0301e\u0300 A\u030a",
    "ΑΣ", "ΟΔΟΣ ΤΟΤΕ", "Привет", "日本語 kubernetes 中文", "𠀀𠀁x𠀀", "한글 مرحبا", "don't [SEP] stop [MASK] me [sep]", "[CLS]", "a\u0000b\ufffdc\u200bd\ufeffe",
    "tabs\tand\nlines\r\nand\u00a0spaces\u3000here", "x" * 100, "x" * 101, "👩‍👩‍👧‍👦 🇩🇪", "ﬁ ½ ß ẞ İ ǅ", "$1,000.00 (net) @home #1 50% ~a^b `c` {d} <e> |f|",
    "$+<=>^`|~", "…—“”‘’", "the " * 46, "water " * 46, "1234567890 " * 4, "batching inference embeddings of vectors on clouds",
    "train", "trains", "trained", "a", "b", "untokenizable\U0001f600thing", "¿¡·‿", "\u1f85\u0345", "A" * 46, "the cat is on the house and the dog in the river " * 3,
]


# Blocks of characters that both sides know: the library for JavaScript has a newer table of Unicode than the one in Rust.
BLOCKS = [
    (0x20, 0x7E), (0x20, 0x7E), (0x00, 0x1F), (0x7F, 0xFF), (0x100, 0x17F), (0x300, 0x345), (0x391, 0x3C9), (0x410, 0x44F),
    (0x5D0, 0x5EA), (0x620, 0x652), (0x904, 0x94D), (0xE01, 0xE3A), (0x1E00, 0x1EFF), (0x2010, 0x2044), (0x20A0, 0x20BF),
    (0x2190, 0x21FF), (0x3001, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFA6D), (0xFB00, 0xFB06),
    (0xFF01, 0xFF5E), (0x1F600, 0x1F64F), (0x20000, 0x20030), (0x2F800, 0x2F830),
]


def random_texts(vocab: dict[str, int]) -> list[str]:
    rng = random.Random(9)
    words = [entry.removeprefix("##") for entry in vocab]
    texts = []
    for _ in range(400):
        parts = []
        for _ in range(rng.randint(1, 14)):
            kind = rng.random()
            block = rng.choice(BLOCKS)
            parts.append(rng.choice(words) if kind < 0.4 else " " if kind < 0.6 else chr(rng.randint(*block)))
        texts.append("".join(parts))
    return texts


def main() -> None:
    vocab = vocabulary()
    tok = tokenizer(vocab)
    tok.save(str(HERE / "tokenizer.json"), pretty=False)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    settings = {
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": POSITIONS, **special},
        "sentence_bert_config.json": {"max_seq_length": MAX_SEQ_LENGTH, "do_lower_case": False},
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": HIDDEN, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False,
        },
    }
    for name, content in settings.items():
        path = HERE / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n")
    w = weights(len(vocab))
    onnx.save(graph(w), HERE / "model.onnx")
    session = ort.InferenceSession(str(HERE / "model.onnx"), providers=["CPUExecutionProvider"])
    golden = []
    for text in TEXTS:
        ids = tok.encode(text).ids[: MAX_SEQ_LENGTH - 1]
        if len(ids) == MAX_SEQ_LENGTH - 1 and ids[-1] != vocab["[SEP]"]:
            ids.append(vocab["[SEP]"])
        hidden = forward(w, ids)
        feeds = {"input_ids": [ids], "attention_mask": [[1] * len(ids)], "token_type_ids": [[0] * len(ids)]}
        [answer] = session.run(None, {name: np.array(value, dtype=np.int64) for name, value in feeds.items()})
        np.testing.assert_allclose(answer[0], hidden, atol=1e-4)
        mean = hidden.mean(0)
        golden.append({
            "text": text,
            "tokens": len(tok.encode(text).ids),
            "ids": ids,
            "embedding": [round(float(value), 8) for value in mean / np.linalg.norm(mean)],
            "cls": [round(float(value), 6) for value in hidden[0][:8]],
        })
    lines = ",\n".join(json.dumps(one, ensure_ascii=True) for one in golden)
    (HERE / "golden.json").write_text(f"[\n{lines}\n]\n")
    pairs = ",\n".join(json.dumps([text, tok.encode(text, add_special_tokens=False).ids]) for text in random_texts(vocab))
    (HERE / "tokens.json").write_text(f"[\n{pairs}\n]\n")
    print(f"{len(vocab)} entries, {len(golden)} texts, {(HERE / 'model.onnx').stat().st_size} bytes of model")


if __name__ == "__main__":
    main()
