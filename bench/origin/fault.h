/*
 * fault - what the origin is told to do wrong: a list of rules that come by the control path as JSON.
 *
 *   {"match": "substring of bucket/key or of the query", "times": 3, ...what...}
 *
 * what: "status": 503 with "code": "SlowDown" and "retry_after": 1; "truncate_at": N (the body ends and the connection
 * closes after N bytes); "stall": true with "truncate_at": N (it goes silent instead); "wrong_etag", "wrong_range",
 * "wrong_size", "ignore_range" (a 200), "close" (no answer at all): true; "delay_ms": N; "body": text sent with the status;
 * "list": of a listing's page: "turned" (its entries backwards), "twice" (each entry two times), "endless" (the first page again
 * and again, each time with another token), "hollow" (no entry, but another token).
 * No "match": all requests. No "times": until deleted. The oldest rule that matches counts.
 */
#ifndef BENCH_ORIGIN_FAULT_H
#define BENCH_ORIGIN_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"

#define FAULT_RULES_MAX 64

struct fault {
	int status;          /* 0: none */
	int retry_after_s;   /* -1: none */
	int64_t truncate_at; /* -1: none */
	uint32_t delay_ms;
	bool wrong_etag, wrong_range, wrong_size, ignore_range, stall, close;
	char code[64];
	char list[16]; /* "": none */
	char body[512];
};

struct faults;

/* An empty script of faults, owned by the caller; faults_free() takes NULL. 0 or -ENOMEM. */
MUST_CHECK int faults_new(struct faults **ret);
struct faults *faults_free(struct faults *f);
DEFINE_CLEANUP(struct faults *, faults_free)

/* 0, -EINVAL (no such JSON, an unknown word), -ENOSPC, -ENOMEM. */
MUST_CHECK int faults_add(struct faults *f, const char *json, size_t len);
void faults_clear(struct faults *f);

/* True: @ret is to be done to the request of @subject; counts down. */
bool faults_take(struct faults *f, const char *subject, struct fault *ret);

#endif
