/*
 * http_stream - one transfer of a whole object that serves many reads of it, in the order of their offsets.
 *
 * A server without ranges sends an object from its start only. If each span of it were a request, reading all of n spans would
 * cost n * n / 2 of them. So once a server has shown that it has no ranges, reads become part of a stream: those that begin
 * where it is, or further on, wait for it; the lowest goes first, what lies between is dropped. A stream that nobody reads
 * stays for a while where it is, for the read that comes next, then closes. A read before the place of every stream of its
 * object begins another.
 *
 * Objects whose list names a checksum are streamed, too, if a read begins at their start: only so can all of their bytes be
 * held against it. The last ones are handed on once it agreed.
 *
 * All of it on the loop's thread. A stream is an operation of its source, so that source_free() ends it.
 */
#ifndef COMMON_SOURCE_HTTP_STREAM_H
#define COMMON_SOURCE_HTTP_STREAM_H

#include "common/source/http_site.h"

/* As in struct web_kind. */
bool http_stream_join(struct web_op *op);
void http_stream_resume(struct web_op *op);
void http_stream_run(struct web_op *stream);

/* The operation ends: a read leaves its stream, if it has one; a stream ends what is left of its reads. */
void http_stream_leave(struct web_op *op);
void http_stream_stop(struct web_op *stream);

/* A range of an object was asked for, and @f brought the head of the answer. */
void http_stream_learn(struct web_op *op, const struct web_fetch *f);

#endif
