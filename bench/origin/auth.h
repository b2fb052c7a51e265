/* auth - checks the signature of a request (AWS Signature Version 4) by signing it again. */
#ifndef BENCH_ORIGIN_AUTH_H
#define BENCH_ORIGIN_AUTH_H

#include "bench/origin/request.h"

/* NULL when the signature is right, else the S3 error code. Queries must come in canonical order. */
const char *auth_check(const struct request *q, const char *access_key, const char *secret_key);

#endif
