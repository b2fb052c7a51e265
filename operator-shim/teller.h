/*
 * teller - tells a node over gRPC what a struct reconcile wants it to know, and notices when the node forgot.
 */
#ifndef OPERATOR_SHIM_TELLER_H
#define OPERATOR_SHIM_TELLER_H

#include "common/rpc.h"
#include "operator-shim/reconcile.h"

struct teller;

/* @client and @reconcile are borrowed for the life of the result. @seed: of the jitter. 0, -ENOMEM. */
MUST_CHECK int teller_new(struct rpc_client *client, struct reconcile *reconcile, uint64_t seed,
			  struct teller **ret);
struct teller *teller_free(struct teller *t);
DEFINE_CLEANUP(struct teller *, teller_free)

/* Asks the node who it is if that is due, tells it what is left, within a few seconds. Returns the time of CLOCK_MONOTONIC at
 * which it wants to be called again. */
int64_t teller_run(struct teller *t, int64_t now_ns);

#endif
