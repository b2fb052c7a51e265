/*
 * internal - what the files behind datasets.h share: registry.c (the list, by name), versions.c (head, manifests, objects),
 * retention.c (which versions are kept), sources.c (the sources of a spec), secrets.c (credentials), syncing.c (the thread of a
 * dataset), saved.c (the node memory), status.c. Not for others.
 *
 * Locks: datasets.lock guards the list, the secrets and the saving; node_dataset.lock guards one dataset. The first is
 * taken before the second.
 */
#ifndef CACHE_NODE_DATASETS_INTERNAL_H
#define CACHE_NODE_DATASETS_INTERNAL_H

#include <pthread.h>

#include "cache-node/datasets.h"
#include "cache-node/sync/sync.h"
#include "common/base/list.h"

#define DATASET_ERROR_TEXT 512

/* A spec and its sources. */
struct source_set {
	struct source_set *older; /* of a replaced spec */
	struct dataset *spec;
	Larder__V1__Dataset *message; /* the spec as told, for saving */
	uint64_t config;              /* hash that versions listed by it carry */
	struct source *read[DATASET_SOURCES_MAX], *list[DATASET_SOURCES_MAX];
	char *domains[DATASET_SOURCES_MAX]; /* trust domains */
};

struct node_dataset {
	struct list link;
	struct datasets *all;
	char name[DATASET_FULL_MAX];
	uint32_t number; /* for the cache's statistics */
	uint32_t refs;   /* guarded by datasets.lock */
	int mounts;      /* guarded by datasets.lock */
	bool deleted;    /* guarded by datasets.lock: found by nobody */
	bool deleting;   /* guarded by datasets.lock: its head is still there */

	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t changed;
	struct source_set *set; /* of the newest spec; never NULL */
	bool sources_ready;
	Larder__V1__DatasetStatus__Phase phase;
	char message_text[DATASET_ERROR_TEXT]; /* why it is not ready, or what the last sync said */
	int last_error;
	struct catalog_head head; /* version 0: none */
	struct manifest_stats stats;
	struct conflicts *
		conflicts; /* of the head's version; NULL: not known. Set by the dataset's thread once it runs */
	struct sync_progress progress;
	uint64_t wanted, finished; /* syncs asked for, and done */
	bool want_all;             /* they are of everything; else of these globs */
	bool due_all;              /* the sync that is due is of everything, whatever sync.paths says */
	bool made_version;         /* by the last sync */
	struct dataset_list want;
	bool stop, thread_started;
	bool announce;     /* mounts are to be told of the version that they show */
	int64_t retain_ns; /* when versions are looked at again; 0: not by itself */
	int64_t due_ns;    /* next sync by itself; 0: none */
	int64_t retry_ns;
	int64_t source_retry_ns; /* when to try again to make the sources; 0: not needed */
	pthread_t thread;
};

struct told_secret {
	struct list link;
	struct secret *secret;
	Larder__V1__Credential *message;
};

struct datasets {
	struct datasets_config config;
	pthread_mutex_t lock;    /* guards all below */
	pthread_cond_t returned; /* a reference came back */
	struct list list, secrets;
	uint32_t count, next_number;
	bool loading;         /* what is put comes from a former worker's memory */
	_Atomic bool retains; /* versions may leave */
};

/* ---- registry.c ---- */

/* A copy of its own, or NULL when out of memory. */
Larder__V1__Dataset *message_copy(const Larder__V1__Dataset *m);

/* The dataset of that name, or NULL. datasets.lock is held. */
struct node_dataset *registry_find(struct datasets *all, const char *name);

/* ---- versions.c ---- */

/* The head a former process left counts at once: a mount need not wait for a new listing. node_dataset.lock is held. */
void versions_adopt_head(struct node_dataset *d);

/* Drops what the cache holds of any version. */
void versions_evict(struct node_dataset *d);

/* Keeps what was found of a version for the next process. A failure is told in the log. The lock need not be held. */
void versions_keep_conflicts(const struct node_dataset *d, uint64_t version, const struct conflicts *c);

/* The version that mounts show. node_dataset.lock is held. 0, -ENOENT with words. */
MUST_CHECK int versions_shown(struct node_dataset *d, struct catalog_head *ret, struct err *err);

/* ---- retention.c ---- */

/* Drops the versions that the spec keeps no longer, and what only they named. Sets when to look again. node_dataset.lock is held
 * and given up meanwhile. */
void retention_run(struct node_dataset *d);

/* ---- sources.c ---- */

/* A set without sources. Success takes @spec and @message. 0 or -ENOMEM. */
MUST_CHECK int source_set_new(struct dataset *spec, Larder__V1__Dataset *message, struct source_set **ret);

/* The newest set whose spec lists what a version of @config was listed from, or NULL. node_dataset.lock is held. */
struct source_set *sources_of_config(struct node_dataset *d, uint64_t config);

/* The credential of source @i: that of its secret, with the authority that its caSecretRef names. Borrowed from the secrets told:
 * datasets.lock is held. 0, -EAGAIN with words while one of them was not told. */
MUST_CHECK int sources_credential(struct datasets *all, const struct source_set *set, size_t i,
				  struct source_credential *ret, struct err *err);

/* Makes a source of a replaced spec, to read from. No lock is held. 0, -errno with words. */
MUST_CHECK int sources_make_older(struct node_dataset *d, struct source_set *set, size_t i, struct err *err);

/* A spec that was replaced before this worker started: versions listed by it may still be open. No lock is held. */
MUST_CHECK int sources_add_older(struct datasets *all, const Larder__V1__Dataset *message, struct err *err);

/* Makes the sources that are missing, as far as their credentials are known. Both locks are held. */
void sources_make(struct node_dataset *d);

/* Ends the sources of @set and of all older ones; returns NULL. Nothing reads from them any more. */
struct source_set *source_set_free(struct source_set *set, struct cache *cache);

/* ---- secrets.c ---- */

/* The secret as told last, or NULL. datasets.lock is held. */
struct told_secret *secrets_find(struct datasets *all, const char *namespace_, const char *name);

void told_secret_free(struct told_secret *t); /* wipes it */

/* ---- saved.c ---- */

/* Writes all that was told into the node memory. datasets.lock is held. */
void saved_write(struct datasets *all);

/* Puts what the node memory holds. */
void saved_read(struct datasets *all);

/* ---- syncing.c ---- */

/* Asks for a sync of everything. node_dataset.lock is held. */
void syncing_want(struct node_dataset *d);

/* Frees globs that were asked for. */
void syncing_forget(struct dataset_list *list);

/* Starts the dataset's thread. 0, -errno with words. */
MUST_CHECK int syncing_start(struct node_dataset *d, struct err *err);

/* Ends it: a running sync is cancelled, whoever waits for one is told. */
void syncing_stop(struct node_dataset *d);

/* Waits for a change until @mono_ns (CLOCK_MONOTONIC) at most. node_dataset.lock is held. */
void node_dataset_wait_until(struct node_dataset *d, int64_t mono_ns);

#endif
