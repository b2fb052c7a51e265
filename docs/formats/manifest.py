"""A reader of manifests written from docs/formats/manifest.md and head.md alone. It knows nothing of Larder's own code.

As a program: manifest.py HEAD CHUNKS prints the tree of a dataset, an entry a line. e2e/test_manifest.py holds it against mounts.
"""

import collections
import hashlib
import pathlib
import struct
import sys
import zlib

FILE, DIRECTORY, LINK = 0, 1, 2
KINDS = ("none", "weak", "strong")

Head = collections.namedtuple("Head", "version root committed_ns sources")
Entry = collections.namedtuple("Entry", "path type mode source mtime_ns kind validator size end target key")
Root = collections.namedtuple("Root", "entries files directories links bytes no_validator skipped histogram chunks deltas")
Chunk = collections.namedtuple("Chunk", "first_key hash entries length")
Delta = collections.namedtuple("Delta", "entries chunks")
DeltaChunk = collections.namedtuple("DeltaChunk", "first_key hash entries length below ordinal")
Edit = collections.namedtuple("Edit", "kind below ordinal entry")
ADD, CHANGE, REMOVE = 0, 1, 2


class Corrupt(Exception):
    """The bytes are not what the format says."""


def want(truth, what):
    if not truth:
        raise Corrupt(what)


class Cursor:
    def __init__(self, data, at=0, end=None):
        self.data, self.at, self.end = data, at, len(data) if end is None else end

    def take(self, n):
        want(self.at + n <= self.end, "it ends too soon")
        self.at += n
        return self.data[self.at - n:self.at]

    def u8(self):
        return self.take(1)[0]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                want(shift <= 70 and value < 1 << 64 and (byte or shift == 7), "a varint is over-long")
                return value
            want(shift < 70, "a varint is over-long")

    def bytes(self):
        return self.take(self.varint())


def unzigzag(v):
    return v >> 1 ^ -(v & 1)


def read_head(data):
    want(len(data) == 68, "a head has 68 bytes")
    magic, form, version, root, committed_ns, sources, _ = struct.unpack("<IIQ32sQQI", data)
    want(magic == 0x4448524C and form == 1, "no head of version 1")
    return Head(version, root.hex(), committed_ns, sources)


def read_root(data):
    c = Cursor(data)
    magic = c.take(8)
    want(magic in (b"LDRR\x01\0\0\0", b"LDRR\x02\0\0\0"), "no root of version 1 or 2")
    counts = [c.varint() for _ in range(7)]
    histogram = [c.varint() for _ in range(48)]
    chunks = [Chunk(c.bytes(), c.take(32).hex(), c.varint(), c.varint()) for _ in range(c.varint())]
    deltas = []
    if magic[4] == 2:
        deltas = [read_delta_list(c) for _ in range(c.varint())]
        want(1 <= len(deltas) <= 4, "no or too many deltas")
    want(c.at == len(data), "bytes follow the root")
    root = Root(*counts, histogram, chunks, deltas)
    want(root.entries == root.files + root.directories + root.links, "counts disagree")
    want(root.entries == (deltas[-1].entries if deltas else sum(x.entries for x in chunks)), "counts disagree")
    return root


def read_delta_list(c):
    entries = c.varint()
    chunks = [DeltaChunk(c.bytes(), c.take(32).hex(), c.varint(), c.varint(), c.varint(), c.varint())
              for _ in range(c.varint())]
    want(chunks, "a delta without chunks")
    return Delta(entries, chunks)


def read_validator(c, shape):
    kind, quoted = shape[0] & 3, b'"' if shape[0] & 4 else b""
    digits, tail = c.take(shape[1]).hex().encode(), c.take(shape[2])
    text = quoted + digits + tail + quoted
    want(kind < 3 and len(text) <= 62 and (kind or not text), "a validator's shape")
    return kind, text


def read_place(c, first, before):
    """Kind of an edit and where it stands, in the table below and in its own."""
    below, ordinal = (c.varint(), c.varint()) if first else before
    word = c.varint()
    kind, gap = word & 3, word >> 2
    want(kind <= REMOVE and not (first and gap), "an edit's place")
    return kind, below + gap, ordinal + gap


def read_block(data, at, end, count, ordinal, edits=False):
    c = Cursor(data, at, end)
    path, mode, source, second, shape, before = b"", 0, 0, 0, bytes(3), (0, 0)
    for i in range(count):
        if edits:
            kind, below, ordinal = read_place(c, i == 0, before)
            before = below + (kind != ADD), ordinal + (kind != REMOVE)
        flags = c.u8()
        shared = c.varint()
        want(shared <= len(path), "shares more than there is")
        path = path[:shared] + c.bytes()
        mode = c.varint() if flags & 32 else mode
        source = c.varint() if flags & 64 else source
        second += unzigzag(c.varint())
        nanoseconds = c.varint() if flags & 16 else 0
        shape = c.take(3) if flags & 128 else shape
        strength, validator = read_validator(c, shape)
        sort, size, end_ordinal, target = flags & 3, 0, 0 if edits else ordinal + 1, b""
        if sort == FILE:
            size = c.varint()
        elif sort == DIRECTORY:
            end_ordinal += c.varint()
        else:
            want(sort == LINK, "an entry of type 3")
            target = c.bytes()
        how = flags >> 2 & 3
        key = path[c.varint():] if how == 1 else c.bytes() if how == 2 else path
        entry = Entry(path, sort, mode, source, second * 10**9 + nanoseconds, KINDS[strength], validator, size, end_ordinal,
                      target, key)
        yield Edit(kind, below, ordinal, entry) if edits else entry
        ordinal += 1
    want(c.at == end, "a block is longer than its entries")


def read_chunk(data, first_ordinal, edits=False):
    want(data[:8] == (b"LDRD\x01\0\0\0" if edits else b"LDRC\x01\0\0\0"), "no chunk of version 1")
    list_at, blocks, entries = struct.unpack("<III", data[-12:])
    want(list_at + 4 * blocks + 12 == len(data) and blocks == (entries + 31) // 32, "a chunk's end")
    offsets = [*struct.unpack(f"<{blocks}I", data[list_at:list_at + 4 * blocks]), list_at]
    want(offsets[0] == 8, "a gap before the first block")
    for i in range(blocks):
        yield from read_block(data, offsets[i], offsets[i + 1], min(32, entries - 32 * i), first_ordinal + 32 * i, edits)


def key_of(entry):
    return entry.path + b"/" if entry.type == DIRECTORY and entry.path else entry.path


def apply_delta(below, delta, checked):
    """The table that a delta makes of the one below."""
    edits = []
    for chunk in delta.chunks:
        data = checked(chunk.hash)
        found = list(read_chunk(data, 0, edits=True))
        first = found[0]
        want((len(found), len(data), key_of(first.entry), first.below, first.ordinal) ==
             (chunk.entries, chunk.length, chunk.first_key, chunk.below, chunk.ordinal), "a chunk is not as its root says")
        edits += found
    table, at = [], 0
    for edit in edits:
        want(at <= edit.below <= len(below), "an edit outside the table below")
        table += below[at:edit.below]
        at = edit.below
        want(len(table) == edit.ordinal, "an edit is not where it says")
        if edit.kind != ADD:
            want(at < len(below) and key_of(below[at]) == key_of(edit.entry), "an edit of another entry")
            at += 1
        if edit.kind != REMOVE:
            table.append(edit.entry)
    table += below[at:]
    want(len(table) == delta.entries, "a delta makes another number of entries")
    # Where an entry was moved, its subtree moved with it: its length stays, its end does not.
    return [e._replace(end=i + 1 + e.end) for i, e in enumerate(table)]


def descendants(table):
    """Entries whose end is the number of their descendants, so that they may move."""
    return [e._replace(end=e.end - i - 1) for i, e in enumerate(table)]


def read_tree(root_hash, fetch):
    """(Root, entries in order); fetch(hash) answers the bytes of that name."""

    def checked(name):
        data = fetch(name)
        want(hashlib.sha256(data).hexdigest() == name, f"{name} has other bytes")
        return data

    root = read_root(checked(root_hash))
    entries = []
    for chunk in root.chunks:
        data = checked(chunk.hash)
        found = list(read_chunk(data, len(entries)))
        want(len(found) == chunk.entries and len(data) == chunk.length and key_of(found[0]) == chunk.first_key,
             "a chunk is not as its root says")
        entries += found
    for delta in root.deltas:
        entries = apply_delta(descendants(entries), delta, checked)
    for before, after in zip(entries, entries[1:]):
        want(key_of(before) < key_of(after), f"{after.path!r} is out of order")
    return root, entries


def from_folder(chunks):
    """fetch() for a state folder's "chunks": ab/cdef... by hexadecimal hash."""
    return lambda name: (pathlib.Path(chunks) / name[:2] / name[2:]).read_bytes()


def main(head, chunks):
    _, entries = read_tree(read_head(pathlib.Path(head).read_bytes()).root, from_folder(chunks))
    for e in entries:
        print("fdl"[e.type], e.size, e.mtime_ns, e.kind, e.validator, e.path, *([e.target] if e.target else []))


if __name__ == "__main__":
    main(*sys.argv[1:])
