"""moto's S3 server with keys put straight into its memory: PORT, then lines of JSON [key, size] on standard input.

A million uploads take an hour; what is asked of the server afterwards is answered by the same code as ever, but for the
choice of the keys of a page: moto sorts all of its keys for each page, so a million of them would take hours to list. Here they
are sorted once. Of a bucket that is not large every page is held against moto's own choice, so that it stays the same.
"""

import bisect
import gc
import hashlib
import json
import sys
import threading

from moto.s3.models import S3Backend, s3_backends
from moto.server import ThreadedMotoServer

ACCOUNT = "123456789012"
COMPARED_MAX = 20_000  # keys


def content_of(key, size):
    """The bytes of an object: those of its key's SHA-256, again and again."""
    digest = hashlib.sha256(key.encode(errors="surrogateescape")).digest()
    return (digest * (size // len(digest) + 1))[:size]


class SortedPages:
    """Stands for S3Backend.list_objects_v2 of a bucket that does not change any more."""

    def __init__(self, backend, bucket):
        self.backend, self.bucket = backend, bucket
        self.names = sorted(bucket.keys)
        self.own = S3Backend.list_objects_v2

    def _chosen(self, prefix, delimiter, after, count):
        """At most @count keys and folders that follow @after, in their order."""
        prefix = prefix or ""
        found = []
        i = max(bisect.bisect_left(self.names, prefix), bisect.bisect_right(self.names, after) if after else 0)
        while len(found) < count and i < len(self.names) and self.names[i].startswith(prefix):
            name = self.names[i]
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                found.append(self.bucket.keys[name])
                i += 1
                continue
            folder = name[:cut + len(delimiter)]
            if folder > (after or ""):
                found.append(folder)
            i = bisect.bisect_left(self.names, folder[:-1] + chr(ord(folder[-1]) + 1), i)
        return found

    def page(self, bucket, prefix, delimiter, continuation_token, start_after, max_keys):
        tokens = self.backend._pagination_tokens  # pylint: disable=protected-access # moto offers no other way
        after = tokens.get(continuation_token) if continuation_token else start_after
        chosen = self._chosen(prefix, delimiter, after, max_keys + 1)
        result = self.backend._truncate_result(chosen, max_keys)  # pylint: disable=protected-access
        if len(self.names) <= COMPARED_MAX:
            assert result == self.own(self.backend, bucket, prefix, delimiter, continuation_token, start_after, max_keys)
        return result


def main():
    backend = s3_backends[ACCOUNT]["aws"]
    backend.create_bucket("bucket", "us-east-1")
    gc.disable()  # a million objects that stay: each collection would look at all of them
    for line in sys.stdin:
        key, size = json.loads(line)
        backend.put_object("bucket", key, content_of(key, size))
    gc.freeze()
    gc.enable()
    backend.list_objects_v2 = SortedPages(backend, backend.get_bucket("bucket")).page
    server = ThreadedMotoServer("127.0.0.1", int(sys.argv[1]), verbose=False)
    server.start()
    print("serving", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
