/*
 * reconcile - what the node must still be told, from what the files say and what it was told already.
 *
 * Pure: no clock, file or socket. The caller hands in parsed files, takes actions, carries them out and says how they went.
 * Credentials come before datasets, so that a node never tries a source without its secret. One thread.
 */
#ifndef OPERATOR_SHIM_RECONCILE_H
#define OPERATOR_SHIM_RECONCILE_H

#include "common/dataset.h"

#define RECONCILE_ITEMS_MAX 16384 /* datasets and secrets */

struct reconcile;

/* 0 with *ret owned by the caller, -ENOMEM. */
MUST_CHECK int reconcile_new(struct reconcile **ret);
struct reconcile *reconcile_free(struct reconcile *r);
DEFINE_CLEANUP(struct reconcile *, reconcile_free)

/* File @name now says @content (taken on success); NULL: the file is gone. Changed datasets get a generation above all
 * they had, and at least @now (any clock that rises across restarts). 0; -EEXIST with words when another file says
 * something of the same name (then nothing changed); -EFBIG, -ENOMEM. */
MUST_CHECK int reconcile_file(struct reconcile *r, const char *name, struct dataset_file *content,
			      uint64_t now, struct err *err);

/* The node has lost what it was told. */
void reconcile_forget(struct reconcile *r);

enum reconcile_kind { RECONCILE_PUT_SECRET = 1, RECONCILE_DELETE_DATASET, RECONCILE_PUT_DATASET };
struct reconcile_action {
	enum reconcile_kind kind;
	const struct secret *secret;   /* PUT_SECRET; borrowed until the next reconcile_file() */
	const struct dataset *dataset; /* PUT_DATASET; as above */
	const char *namespace_, *name; /* always; as above */
	size_t item;                   /* private */
};

/* Starts a round: what failed in the one before may be tried again. */
void reconcile_round(struct reconcile *r);

/* The next thing to tell; each at most once a round. False: none is left. */
MUST_CHECK bool reconcile_next(struct reconcile *r, struct reconcile_action *ret);

/* The action last taken went well or not; then it comes again in the next round. */
void reconcile_told(struct reconcile *r, const struct reconcile_action *a, bool well);

/* Whether anything is left to tell, in this round or later. */
bool reconcile_pending(const struct reconcile *r);

#endif
