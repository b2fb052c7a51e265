/*
 * source - one store that holds objects: list it, stat an object, read a range of an object under a validator.
 *
 * All sources (S3, HTTP, file) stand behind these calls. A struct source_loop is the thread that runs their transfers
 * (one libcurl multi handle and a small pool for file systems); a process makes one for reads and one for syncs, so that
 * a long listing never delays a read.
 *
 * The promise (design 3): a read delivers bytes of exactly the object version that its validator names, or fails. The
 * validator is checked on the headers of every response, not by If-Match alone (some servers ignore it).
 *
 * Errors given to callbacks:
 *   -EACCES          401, 403 and the like, or a file this uid may not read
 *   -ESTALE          the object is gone (404) or has another validator (412, other etag, changed file)
 *   -ENOENT          stat: there is no such object; list: no such bucket, or no such folder of a file source
 *   -ERR_UNREACHABLE connection, DNS, TLS, 5xx or throttling up to the deadline; at once where trying again cannot help
 *                    (a certificate nobody trusts, a redirect to another region)
 *   -ETIMEDOUT       the deadline passed while bytes were still coming
 *   -ECANCELED       source_op_cancel()
 *   -EAGAIN          list: the store's pages contradict each other; the entries are to be dropped, and asked for again: the
 *                    next listing of this source goes page by page. At most once in a source's life
 *   -ERR_CORRUPT     a response that breaks the protocol (wrong length, bad XML, a listing without end)
 *   -ENOMEM
 * The words hold HTTP status, the store's code and message, request id and key, and never a secret.
 *
 * Retries (full jitter, Retry-After honoured, within a budget) happen inside, until the deadline; a read goes on after the
 * bytes that were delivered already, under the same validator. A store that says "slow down" (429, 503) gets half as many
 * requests at once, then slowly more; a request that is slow to answer may get a second one beside it (limit.h).
 *
 * Callbacks run on the loop's threads and must not block for long; they may
 * call any function here but source_free and source_loop_free.
 */
#ifndef COMMON_SOURCE_H
#define COMMON_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/validator.h"

#define SOURCE_KEY_MAX 4096 /* bytes of a key, without a NUL */

struct source;
struct source_loop;
struct source_op; /* a list, stat or read that runs; ends by itself after its done callback returned */

enum source_kind { SOURCE_S3 = 1, SOURCE_HTTP = 2, SOURCE_FILE = 3 };
enum source_addressing {
	SOURCE_ADDRESSING_AUTO = 0,
	SOURCE_ADDRESSING_PATH = 1,
	SOURCE_ADDRESSING_VIRTUAL = 2
};

/* Strings are borrowed until source_new() or source_set_credential() returns. NULL or "" means not given. */
enum source_index {
	SOURCE_INDEX_AUTO = 0, /* NGINX where the URL ends in "/", else SINGLE */
	SOURCE_INDEX_NGINX =
		1, /* pages that list folders: nginx's autoindex, HTML or JSON, and those like it */
	SOURCE_INDEX_LIST = 2,   /* the URL is a list file (docs/formats/list.md) */
	SOURCE_INDEX_SINGLE = 3, /* the URL is the one file */
};

/* What a file source makes of symbolic links. */
enum source_symlinks {
	SOURCE_SYMLINKS_KEEP = 0,   /* shows them as links, wherever they point */
	SOURCE_SYMLINKS_FOLLOW = 1, /* shows what they lead to inside the root; others are left out */
	SOURCE_SYMLINKS_SKIP = 2,   /* leaves them out */
};

struct source_credential {
	const char *access_key, *secret_key, *session_token; /* S3; all NULL: anonymous */
	const char *username, *password, *token;             /* HTTP basic, bearer */
	const char *ca_pem;                                  /* extra trusted certificates */
};

struct source_config {
	enum source_kind kind;
	const char *label; /* names the source in errors: "imagenet source 0 (s3://corp-data/imagenet/)" */
	struct {
		const char *bucket, *prefix, *region, *endpoint; /* endpoint NULL: Amazon's of that region */
		/* A prefix names a folder: without "/" at its end it gets one. region NULL: us-east-1. */
		enum source_addressing addressing; /* AUTO: path style where an endpoint is given */
		bool find_keys; /* the credential has none: they are looked for where this machine keeps them */
		const char *profile; /* with find_keys: of the shared files; NULL: the whole chain */
		const char *proxy;   /* URL of an HTTP proxy; NULL: as the environment says */
	} s3;
	struct {
		const char *url; /* http:// or https:// */
		enum source_index index;
	} http;
	struct {
		int root_fd; /* a directory; duplicated. Opens resolve beneath it, never through it */
		enum source_symlinks symlinks;
	} file;
	struct source_credential credential;
	uint32_t connections_max;                /* 0: 16 */
	uint64_t requests_per_second, bandwidth; /* of requests sent, of body bytes; 0: no limit */
	int64_t connect_timeout_ns;              /* 0: 5 s */
};

/* Counters of a source since it was made; monotonic. */
struct source_stats {
	uint64_t requests, retries, errors; /* requests sent; repeated; operations that failed */
	uint64_t hedges;                    /* second requests beside a slow first one */
	uint64_t bytes;                     /* body bytes delivered */
	uint64_t denied;                    /* operations that ended in -EACCES */
	uint64_t
		left_out; /* by the last listing of a file source: sockets, pipes, devices, links as the source says */
	uint64_t first_byte_ns_sum, first_byte_count;
};

/* Starts the threads of a loop. @name appears in thread names (at most 8 bytes). 0, -ENOMEM, -EAGAIN. */
MUST_CHECK int source_loop_new(const char *name, struct source_loop **ret);

/* Cancels what runs (done callbacks come with -ECANCELED), joins the threads. NULL is fine; returns NULL.
 * All sources of the loop must have been freed. */
struct source_loop *source_loop_free(struct source_loop *loop);
DEFINE_CLEANUP(struct source_loop *, source_loop_free)

/* Makes a source; no byte is sent. 0, -EINVAL with words, -ENOMEM, -ERR_UNSUPPORTED for a kind not built in. */
MUST_CHECK int source_new(struct source_loop *loop, const struct source_config *config, struct source **ret,
			  struct err *err);

/* Cancels the operations of @s, waits for their callbacks, frees it. NULL is fine; returns NULL. Not from a callback. */
struct source *source_free(struct source *s);
DEFINE_CLEANUP(struct source *, source_free)

/* Later requests are signed with @c; the strings are copied. 0, -ENOMEM, or -EINVAL (half a pair of keys, a line break
 * inside one; blanks at the ends of keys are cut off): the former credential stays. Without a
 * ca_pem the former certificates stay. */
MUST_CHECK int source_set_credential(struct source *s, const struct source_credential *c);

/* Counters since the source was made. Any thread. */
void source_stats_get(struct source *s, struct source_stats *ret);

enum source_type { SOURCE_TYPE_FILE = 1, SOURCE_TYPE_DIR = 2, SOURCE_TYPE_SYMLINK = 3 };

/* One object of a listing or stat. Pointers are borrowed until the callback returns. */
struct source_entry {
	enum source_type
		type; /* DIR: a file source's folder, or a store's marker key "a/b/" (key without the slash). A
			 * marker with bytes in it is a FILE with it */
	const char *key; /* below the source's prefix or root, any bytes but NUL; not ended by NUL */
	size_t key_len;
	const char *path; /* where it is shown, if that is not the key; else NULL */
	size_t path_len;
	const char *target; /* SYMLINK: where it points; else NULL */
	size_t target_len;
	uint64_t size;
	int64_t mtime_ns; /* since 1970 */
	uint32_t mode;    /* permission bits of a file source; 0 where the store has none */
	struct validator validator;
};

struct source_list_request {
	const char *prefix; /* below the source's own; "" for all. Must end in "/" unless empty */
	int64_t deadline_ns; /* CLOCK_MONOTONIC a page may take at most from its first try, as a duration; 0: 30 s */
	/* Whether a file is wanted at all: a store that must ask for each one's size asks for no other. NULL: all are. */
	bool (*wanted)(void *ctx, const char *path, size_t len);
	/* Some entries, in no order, one call at a time: parts of the store may be listed side by side. Where keys come and go
	 * meanwhile an entry may be given twice, the later one counts. A non-zero return ends the listing with that code. */
	int (*entries)(void *ctx, const struct source_entry *entries, size_t count);
	void (*done)(void *ctx, int status,
		     const struct err *err); /* exactly once, last; 0 or an error above */
	void *ctx;
};

/* Lists everything below a prefix. The request is copied, its strings too. 0 with *ret (never NULL), or -ENOMEM. This
 * and the next two set *ret before the first callback can come; once done() was called *ret is gone. */
MUST_CHECK int source_list(struct source *s, const struct source_list_request *request,
			   struct source_op **ret);

struct source_stat_request {
	const char *key;     /* NUL-ended */
	int64_t deadline_ns; /* absolute, CLOCK_MONOTONIC; 0: 30 s from now */
	/* @entry is NULL unless status is 0. Exactly once. */
	void (*done)(void *ctx, int status, const struct source_entry *entry, const struct err *err);
	void *ctx;
};
/* Asks for one object. 0: done() follows, @ret is as of source_list(); -errno: done() is not called. */
MUST_CHECK int source_stat(struct source *s, const struct source_stat_request *request,
			   struct source_op **ret);

/* Where the bytes of a read go: into memory that the caller lends, one stretch at a time, in order. */
struct source_sink {
	/* Room for the next bytes, at least 1; NULL: none now, the transfer pauses until source_op_resume(). */
	uint8_t *(*space)(void *ctx, size_t *ret_len);
	/* @len bytes (at most what space() offered) were put at the start of the last space. */
	void (*filled)(void *ctx, size_t len);
	/* Exactly once, last. 0: all of the range was delivered. */
	void (*done)(void *ctx, int status, const struct err *err);
};

struct source_read_request {
	const char *key;            /* NUL-ended, below the source's prefix or root */
	uint64_t offset, length;    /* length at least 1, the range inside object_size */
	uint64_t object_size;       /* as listed; another total in the response is -ESTALE */
	struct validator validator; /* as listed; kind NONE checks the size alone */
	int64_t deadline_ns; /* absolute, CLOCK_MONOTONIC; 0: 30 s without a byte of progress, again and again */
	const struct source_sink *sink; /* must outlive the operation */
	void *ctx;
};
/* Reads a range into the sink. 0: the sink's done() follows; -errno: no callback comes. */
MUST_CHECK int source_read(struct source *s, const struct source_read_request *request,
			   struct source_op **ret);

#define SOURCE_REQUEST_MIN (UINT64_C(1) << 20)
#define SOURCE_REQUEST_MAX (UINT64_C(16) << 20)

/* How a read that delivered all of its @bytes went: times from its call to the first byte, and to the last. Any thread. */
void source_took(struct source *s, uint64_t bytes, int64_t first_ns, int64_t whole_ns);

/* How many bytes one read should ask for where more are wanted, as far as the reads so far tell: a power of two between
 * SOURCE_REQUEST_MIN and SOURCE_REQUEST_MAX. Any thread. */
MUST_CHECK uint64_t source_request_bytes(const struct source *s);

/* From any thread, while done() has not been called. done() comes soon, with -ECANCELED unless it had ended. */
void source_op_cancel(struct source_op *op);

/* From any thread, after space() answered NULL, while done() has not been called: asks space() again. */
void source_op_resume(struct source_op *op);

#endif
