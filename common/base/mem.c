#include "common/base/mem.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The fault table of test builds: -1 is off. Guarded by being atomic. */
static _Atomic int64_t fail_countdown = -1;
static _Atomic int fail_persist;

static int fault(void)
{
	if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) < 0)
		return 0;
	int64_t left = atomic_fetch_sub(&fail_countdown, 1);
	if (left == 0 && atomic_load(&fail_persist))
		atomic_store(&fail_countdown, 0);
	return left == 0;
}

void mem_fail_after(int64_t countdown, int persist)
{
	atomic_store(&fail_persist, persist);
	atomic_store(&fail_countdown, countdown);
}

void *mem_free(void *p)
{
	free(p);
	return NULL;
}

void *mem_calloc(size_t count, size_t size)
{
	return fault() ? NULL : calloc(count ? count : 1, size ? size : 1);
}

void *mem_alloc(size_t size)
{
	return fault() ? NULL : malloc(size ? size : 1);
}

void *mem_resize(void *p, size_t count, size_t size)
{
	size_t bytes;
	if (fault() || __builtin_mul_overflow(count, size, &bytes))
		return NULL;
	return realloc(p, bytes ? bytes : 1);
}

void *mem_dup(const void *p, size_t len)
{
	void *copy = mem_alloc(len);
	if (copy && len)
		memcpy(copy, p, len);
	return copy;
}

char *mem_strndup(const char *s, size_t len)
{
	char *copy = mem_alloc(len + 1);
	if (!copy)
		return NULL;
	if (len)
		memcpy(copy, s, len);
	copy[len] = 0;
	return copy;
}

char *mem_strdup(const char *s)
{
	return mem_strndup(s, strlen(s));
}

char *mem_printf(const char *fmt, ...)
{
	va_list args;
	char *text = NULL;

	if (fault())
		return NULL;
	va_start(args, fmt);
	int n = vasprintf(&text, fmt, args);
	va_end(args);
	return n < 0 ? NULL : text;
}
