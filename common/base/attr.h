/*
 * attr - the few attributes, macros and assertions that all code shares.
 */
#ifndef COMMON_BASE_ATTR_H
#define COMMON_BASE_ATTR_H

#include <stddef.h>

#define MUST_CHECK                      __attribute__((warn_unused_result))
#define PRINTF(fmt, args)               __attribute__((format(printf, fmt, args)))
#define NORETURN                        __attribute__((noreturn))
#define UNUSED                          __attribute__((unused))
#define LENGTH(a)                       (sizeof(a) / sizeof *(a))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* DEFINE_CLEANUP(struct x *, x_free) makes CLEANUP(x_free) usable: `CLEANUP(x_free) struct x *p = ...;`.
 * The function takes the value and returns NULL (see style: destructors accept NULL). */
#define DEFINE_CLEANUP(type, fn)                                                                         \
	static inline UNUSED void cleanup_##fn(type *p) /* NOLINT(bugprone-macro-parentheses): a type */ \
	{                                                                                                \
		(void)fn(*p);                                                                            \
	}
#define CLEANUP(fn) __attribute__((cleanup(cleanup_##fn)))

/* Moves a pointer out of a CLEANUP variable: the caller of TAKE owns it from here on. */
#define TAKE(p)                             \
	(__extension__({                    \
		__typeof__(p) taken_ = (p); \
		(p) = NULL;                 \
		taken_;                     \
	}))

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* Ends the process with a message. CHECK states what only a bug of ours can break; it stays on in release builds.
 * Bytes from a disk, a socket or the kernel are validated and answered with an error instead. */
NORETURN void check_failed(const char *what, const char *file, int line);
#define CHECK(cond) ((cond) ? (void)0 : check_failed(#cond, __FILE__, __LINE__))

#endif
