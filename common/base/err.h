/*
 * err - the words that travel beside an error code.
 *
 * Functions return 0 or a negative code: -errno, or one of the own codes below for what errno cannot say. The words go
 * into a caller-owned struct err of fixed size, so that reporting can never fail. One sentence: what is wrong, where,
 * and what would be right. A NULL err is allowed everywhere: the code alone is reported then.
 */
#ifndef COMMON_BASE_ERR_H
#define COMMON_BASE_ERR_H

#include "common/base/attr.h"

/* Own codes start above 4096. name, value, text, errno shown by FUSE, gRPC code, worth a retry */
#define ERR_TABLE(X)                                                     \
	X(CORRUPT, 4097, "corrupt data", EIO, 15, 0)                     \
	X(CONFLICT, 4098, "somebody else was first", EAGAIN, 10, 1)      \
	X(LEASE_LOST, 4099, "the lease was lost", EAGAIN, 10, 1)         \
	X(UNREACHABLE, 4100, "the source cannot be reached", EIO, 14, 1) \
	X(UNSUPPORTED, 4101, "not in this version", EOPNOTSUPP, 12, 0)

enum {
#define X(name, value, text, eno, grpc, retry) ERR_##name = (value),
	ERR_TABLE(X)
#undef X
};

struct err {
	int code; /* 0, or the negative code last set */
	char text[512];
};

/* Sets code and words; returns @code, so that `return err_set(err, -EINVAL, ...)` works. @code is negative. */
int err_set(struct err *err, int code, const char *fmt, ...) PRINTF(3, 4);
#ifdef __clang_analyzer__ /* it sees one file at a time, and would think that the result may be 0 */
#define err_set(err, code, ...) ((void)(err_set)(err, code, __VA_ARGS__), (code))
#endif

/* Puts "words: " before what @err says already, keeps the code and returns it. */
int err_wrap(struct err *err, int code, const char *fmt, ...) PRINTF(3, 4);

/* The text of a code (own or errno), never NULL; static or thread-local storage. */
const char *err_text(int code);

/* The words of @err, or the text of @code where @err is NULL or empty. */
const char *err_words(const struct err *err, int code);

/* What a program that called read(2) may see for @code: a positive errno. */
int err_to_errno(int code);

/* gRPC status code for @code and back (0 for 0). */
int err_to_grpc(int code);
int err_from_grpc(int status);

#endif
