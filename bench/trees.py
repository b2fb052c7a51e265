"""Lists of paths as they are met in the field, made up with a fixed seed: what a manifest of such a tree costs a file."""

import random
import uuid

SEED = 4
IMAGES, CLASSES = 1_281_167, 1000  # of ImageNet's training set
LAKE_YEARS, LAKE_DAYS, LAKE_JOBS, LAKE_PARTS = 4, 28, 24, 16  # jobs a day, files a job
MODELS = 4000
UUIDS = 1_000_000


def imagenet(rng):
    """n01440764/n01440764_10026.JPEG: numbers with gaps, in no class the same ones."""
    left = IMAGES
    for i, synset in enumerate(sorted(rng.sample(range(1_440_764, 15_075_141), CLASSES))):
        count = left if i == CLASSES - 1 else min(left, rng.randrange(1270, 1293))
        left -= count
        for image in rng.sample(range(1, 32_000), count):
            yield f"n{synset:08}/n{synset:08}_{image}.JPEG"


def lake(rng):
    """A table that is partitioned as Hive does it; every job that writes to it brings a UUID of its own, as Spark's do."""
    for year in range(2021, 2021 + LAKE_YEARS):
        for month in range(1, 13):
            for day in range(1, LAKE_DAYS + 1):
                for _ in range(LAKE_JOBS):
                    job = uuid.UUID(int=rng.getrandbits(128), version=4)
                    for part in range(LAKE_PARTS):
                        yield f"year={year}/month={month}/day={day}/part-{part:05}-{job}-c000.snappy.parquet"


def revision_files(rng):
    shards = rng.choice((1, 1, 2, 4, 8, 15, 30))
    weights = ["model.safetensors"] if shards == 1 else [f"model-{i:05}-of-{shards:05}.safetensors" for i in range(1, shards + 1)]
    return ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "README.md",
            ".gitattributes", *weights]


def hub(rng):
    """The cache that huggingface_hub keeps: blobs named by SHA-256 (large files) or by git (SHA-1), and trees of names."""
    digits = lambda count: f"{rng.getrandbits(count * 4):0{count}x}"
    names = ["bert", "llama", "whisper", "vit", "mistral", "qwen", "t5", "clip", "gemma", "falcon"]
    for i in range(MODELS):
        top = f"models--org-{rng.randrange(MODELS // 8)}--{rng.choice(names)}-{rng.randrange(1, 80)}b-{i}"
        yield f"{top}/refs/main"
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            commit = digits(40)
            for name in revision_files(rng):
                yield f"{top}/snapshots/{commit}/{name}"
                yield f"{top}/blobs/{digits(64 if name.startswith('model') else 40)}"


def uuids(rng):
    for _ in range(UUIDS):
        yield str(uuid.UUID(int=rng.getrandbits(128), version=4))


def write(tree, path):
    """The paths of @tree into a file, a line each."""
    with open(path, "w", encoding="ascii") as f:
        f.writelines(line + "\n" for line in tree(random.Random(SEED)))
    return path
