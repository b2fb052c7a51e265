/*
 * handover - tells the thread sanitizer that a tag given to gRPC's queue comes out after it went in. The library orders
 * the two, but it is not instrumented, so that the sanitizer would call every field behind a tag a race. Nothing otherwise.
 */
#ifndef COMMON_RPC_HANDOVER_H
#define COMMON_RPC_HANDOVER_H

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define HANDOVER_SEEN 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define HANDOVER_SEEN 1
#endif

#ifdef HANDOVER_SEEN
#include <sanitizer/tsan_interface.h>
#endif

/* Before @tag goes into the library. */
static inline void handover_give(void *tag)
{
#ifdef HANDOVER_SEEN
	__tsan_release(tag);
#else
	(void)tag;
#endif
}

/* After @tag came out of a queue. */
static inline void handover_take(void *tag)
{
#ifdef HANDOVER_SEEN
	__tsan_acquire(tag);
#else
	(void)tag;
#endif
}

#endif
