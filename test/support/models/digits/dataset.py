"""The handwritten digits bundled with scikit-learn, and the one split that training and samples share."""

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SPLIT_SEED = 20
HELD_OUT_SHARE = 0.3
SPLIT_RULE = (
    f"sklearn.model_selection.train_test_split(range(1797), test_size={HELD_OUT_SHARE}, "
    f"random_state={SPLIT_SEED}, stratify=labels); the second part is held out"
)


@dataclass(frozen=True)
class Digits:
    images: np.ndarray  # float32 [1797, 1, 8, 8], ink per pixel, 0..16
    labels: np.ndarray  # int64 [1797], 0..9
    held_out: np.ndarray  # bool [1797]; training never sees these


def item_id(index: int) -> str:
    return f"digit-{index:04d}"


def load() -> Digits:
    bundled = load_digits()
    images = bundled.images.astype(np.float32)[:, None, :, :]
    labels = bundled.target.astype(np.int64)
    _, held = train_test_split(
        np.arange(len(labels)), test_size=HELD_OUT_SHARE, random_state=SPLIT_SEED, stratify=labels
    )
    held_out = np.zeros(len(labels), dtype=bool)
    held_out[held] = True
    return Digits(images, labels, held_out)
