"""Objects that are overwritten while they are read: old bytes, new bytes of a new version, or ESTALE; never a mix."""

import collections
import concurrent.futures
import errno
import hashlib
import os
import random

import pytest

from harness import Origin, s3_dataset, wait_for
from test_stores import dataset, start

OBJECTS = int(os.environ.get("LARDER_OVERWRITES", "100"))
SIZE = 3 << 20  # several requests an object: what is read is on its way when it changes
READERS = 4
PIECE = 128 << 10
SYNC = "  sync: {interval: 1s}\n"
OLD, NEW, STALE = "old", "new", "ESTALE"


def body(index, generation):
    """Bytes of an object: other ones, and more of them, in the second generation."""
    return random.Random(index * 2 + generation).randbytes(SIZE + generation * 4096)


def name(index):
    return f"d{index % 7}/object-{index}"


def digest(data):
    return hashlib.sha256(data).digest()


class Race:
    """Each object is read once while it is overwritten; what was read is told by its checksum."""

    def __init__(self, put, mount):
        self.put, self.mount = put, mount
        self.sums = {i: {} for i in range(OBJECTS)}

    def fill(self):
        for i in range(OBJECTS):
            for generation, word in ((0, OLD), (1, NEW)):
                self.sums[i][digest(body(i, generation))] = word
            self.put(name(i), body(i, 0))

    def kind(self, index, data):
        return self.sums[index].get(digest(data), "a mix")

    def overwrite(self, index):
        self.put(name(index), body(index, 1))

    def read(self, index, writer):
        """Overwritten before it is opened, after its first bytes were read, or beside the rest of them."""
        if index % 3 == 0:
            self.overwrite(index)
        try:
            with open(self.mount / name(index), "rb", buffering=0) as f:
                data = f.read(PIECE)
                change = writer.submit(self.overwrite, index) if index % 3 else None
                if index % 3 == 1:
                    change.result()
                while piece := f.read(PIECE):
                    data += piece
            if change:
                change.result()
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            return STALE
        return self.kind(index, data)

    def is_new(self, index):
        try:
            kind = self.kind(index, (self.mount / name(index)).read_bytes())
        except OSError as error:
            assert error.errno == errno.ESTALE, error
            return False
        assert kind in (OLD, NEW), f"{name(index)}: {kind}"
        return kind == NEW


@pytest.fixture(params=["origin", "versitygw", "versitygw, versions kept"])
def store(request, folder):
    """(what puts an object, the dataset, whether the store keeps versions)"""
    if request.param == "origin":
        (folder / "s3").mkdir()
        one = Origin(folder / "s3")
        yield one.put, s3_dataset(one.endpoint, extra=SYNC), False
    else:
        one = start("versitygw", folder)
        versions = request.param.endswith("kept")
        if versions:
            one.keep_versions()
        yield one.put, dataset(one.endpoint, SYNC), versions
    one.stop()


def test_objects_overwritten_while_they_are_read_are_never_a_mix(store, instance):
    put, yaml, keeps_versions = store
    race = Race(put, instance.mount)
    race.fill()
    instance.start(yaml)
    with concurrent.futures.ThreadPoolExecutor(READERS) as readers, concurrent.futures.ThreadPoolExecutor(READERS) as writer:
        results = list(readers.map(lambda i: race.read(i, writer), range(OBJECTS)))
    counts = collections.Counter(results)
    print(f"{OBJECTS} objects: {dict(counts)}")
    assert set(counts) <= {OLD, NEW, STALE}, counts
    if keeps_versions:
        assert STALE not in counts, "the version that was listed can still be read"
    else:
        assert counts[STALE] > 0, "no object changed under its reader: nothing was tried"
    for i in range(OBJECTS):
        wait_for(f"{name(i)} to be new", lambda i=i: race.is_new(i), 60)
