"""Just enough of S3 to make a bucket and put files into it (AWS Signature Version 4, body not signed)."""

import datetime
import hashlib
import hmac
import http.client
import os
import urllib.parse

REGION = "us-east-1"


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _headers(method, host, path, keys, now):
    """Headers of a request without a query."""
    date = now.strftime("%Y%m%dT%H%M%SZ")
    signed = {"host": host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": date}
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    canonical = "\n".join([method, path, "", lines, names, "UNSIGNED-PAYLOAD"])
    scope = f"{date[:8]}/{REGION}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + keys[1]).encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    signed["authorization"] = f"AWS4-HMAC-SHA256 Credential={keys[0]}/{scope}, SignedHeaders={names}, Signature={signature}"
    return signed


def _put(address, path, keys, body, length):
    now = datetime.datetime.now(datetime.timezone.utc)
    path = urllib.parse.quote(path)
    connection = http.client.HTTPConnection(address, timeout=120)
    try:
        headers = _headers("PUT", address, path, keys, now)
        connection.request("PUT", path, body=body, headers={**headers, "content-length": str(length)})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"PUT {path}: status {answer.status}: {text[:300]!r}")
    finally:
        connection.close()


def make_bucket(address, bucket, keys):
    _put(address, f"/{bucket}", keys, b"", 0)


def put_file(address, bucket, key, keys, path):
    with open(path, "rb") as f:
        _put(address, f"/{bucket}/{key}", keys, f, os.fstat(f.fileno()).st_size)
