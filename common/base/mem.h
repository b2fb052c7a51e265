/*
 * mem - the one seam through which all allocation goes, so that tests can make the n-th one fail and analyzers see
 * one allocator. Nothing here aborts: running out answers NULL, and callers turn that into -ENOMEM.
 */
#ifndef COMMON_BASE_MEM_H
#define COMMON_BASE_MEM_H

#include <stdint.h>
#include <stddef.h>

#include "common/base/attr.h"

/* Frees @p (NULL is fine); returns NULL. */
void *mem_free(void *p);
DEFINE_CLEANUP(void *, mem_free)

#if defined(__GNUC__) && !defined(__clang__)
#define MEM_OWNED __attribute__((malloc(mem_free, 1)))
#else
#define MEM_OWNED
#endif

/* @count zeroed items of @size bytes, owned by the caller; NULL when out of memory or the product overflows. */
MUST_CHECK MEM_OWNED void *mem_calloc(size_t count, size_t size);

/* @size bytes, not initialised, owned by the caller; NULL when out of memory. */
MUST_CHECK MEM_OWNED void *mem_alloc(size_t size);

/* Resizes @p (may be NULL) to @count items of @size bytes. On NULL the old block is untouched and still owned. */
MUST_CHECK void *mem_resize(void *p, size_t count, size_t size);

/* Copies of a string, of its first @len bytes with a NUL appended, of @len bytes; NULL when out of memory. */
MUST_CHECK MEM_OWNED char *mem_strdup(const char *s);
MUST_CHECK MEM_OWNED char *mem_strndup(const char *s, size_t len);
MUST_CHECK MEM_OWNED void *mem_dup(const void *p, size_t len);

/* printf into a new string owned by the caller; NULL when out of memory. */
MUST_CHECK MEM_OWNED char *mem_printf(const char *fmt, ...) PRINTF(1, 2);

/* Tests only: the allocation after @countdown more ones fails, and all later ones too if @persist; -1 turns it off. */
void mem_fail_after(int64_t countdown, int persist);

/* CLEANUP(free_str) char *s = ...; typed twin of mem_free for strings. */
static inline char *free_str(char *s)
{
	return mem_free(s);
}
DEFINE_CLEANUP(char *, free_str)

#endif
