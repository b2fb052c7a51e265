#!/usr/bin/env python3
"""The objects of the example: one model file of 512 MiB and 1,000 small files. objects.py make FOLDER"""

import pathlib
import random
import sys

MODEL_BYTES = 512 << 20
SMALL_FILES = 1000


def make(folder):
    folder.mkdir(parents=True)
    rng = random.Random(7)
    block = rng.randbytes(1 << 20)
    with open(folder / "model.safetensors", "wb") as f:
        for i in range(MODEL_BYTES >> 20):
            f.write(i.to_bytes(8, "little") + block[8:])
    images = folder / "images"
    images.mkdir()
    for i in range(SMALL_FILES):
        (images / f"{i:05}.jpg").write_bytes(rng.randbytes(rng.randrange(2000, 20000)))


if __name__ == "__main__":
    make(pathlib.Path(sys.argv[2]))
