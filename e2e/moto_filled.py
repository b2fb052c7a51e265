"""moto's S3 server with keys put straight into its memory: PORT, then lines of JSON [key, size] on standard input.

A million uploads take an hour; what is asked of the server afterwards is answered by the same code as ever.
"""

import hashlib
import json
import sys
import threading

from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

ACCOUNT = "123456789012"


def content_of(key, size):
    """The bytes of an object: those of its key's SHA-256, again and again."""
    digest = hashlib.sha256(key.encode(errors="surrogateescape")).digest()
    return (digest * (size // len(digest) + 1))[:size]


def main():
    backend = s3_backends[ACCOUNT]["aws"]
    backend.create_bucket("bucket", "us-east-1")
    for line in sys.stdin:
        key, size = json.loads(line)
        backend.put_object("bucket", key, content_of(key, size))
    server = ThreadedMotoServer("127.0.0.1", int(sys.argv[1]), verbose=False)
    server.start()
    print("serving", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
