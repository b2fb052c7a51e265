/* server - the connections of the origin: one thread each, blocking, so that idle ones cost nothing. */
#ifndef BENCH_ORIGIN_SERVER_H
#define BENCH_ORIGIN_SERVER_H

#include <stdint.h>

#include "bench/origin/store.h"
#include "common/base/attr.h"

struct server_config {
	uint32_t first_byte_ms; /* before every answer about an object or a listing */
	uint64_t rate,
		connection_rate;  /* body bytes a second of all and of each connection; 0: without limit */
	uint32_t connections_max; /* more wait in the kernel's queue */
	const char *access_key, *secret_key; /* both: requests must be signed with them; borrowed */
	struct store *store;                 /* borrowed */
};

struct server;

/* Listens and serves. 0, -EADDRINUSE, -EINVAL (no address), -ENOMEM. */
MUST_CHECK int server_new(const struct server_config *config, struct server **ret);

/* Ends the connections and waits for their threads. NULL is fine; returns NULL. */
struct server *server_free(struct server *s);
DEFINE_CLEANUP(struct server *, server_free)

/* Accepts from @listen_fd until @stop_fd is readable. 0 or -errno. */
MUST_CHECK int server_run(struct server *s, int listen_fd, int stop_fd);

#endif
