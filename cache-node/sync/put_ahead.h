/*
 * put_ahead - a manifest's sink before another: chunks are stored by threads while the builder makes the next ones.
 *
 * Storing one is mostly waiting for the disk. That what was put is stored is known only after put_ahead_wait(), which must come
 * before the head that names it moves. At most PUT_AHEAD_THREADS chunks are held, and that of a put that waits.
 */
#ifndef CACHE_NODE_SYNC_PUT_AHEAD_H
#define CACHE_NODE_SYNC_PUT_AHEAD_H

#include "common/manifest.h"

#define PUT_AHEAD_THREADS 2

struct put_ahead;

/* @sink is copied; its put() must be thread-safe. 0; -ENOMEM, -EAGAIN: no threads. */
MUST_CHECK int put_ahead_new(const struct manifest_sink *sink, struct put_ahead **ret);

/* What was put and is not stored yet may never be. */
struct put_ahead *put_ahead_free(struct put_ahead *p);
DEFINE_CLEANUP(struct put_ahead *, put_ahead_free)

/* The sink for the builder, valid as long as @p. Its put() waits while all threads are busy, and fails with the error of a put
 * before. */
struct manifest_sink put_ahead_sink(struct put_ahead *p);

/* Waits for all that was put. 0, or the first error. */
MUST_CHECK int put_ahead_wait(struct put_ahead *p, struct err *err);

#endif
