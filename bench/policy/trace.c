#include "bench/policy/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fd.h"
#include "common/base/mem.h"
#include "common/base/rng.h"

#define FILE_MAX ((size_t)256 << 20)

void trace_done(struct trace *t)
{
	(void)mem_free(t->keys);
	(void)mem_free(t->sizes);
	*t = (struct trace){.keys = NULL};
}

static int trace_init(struct trace *t, uint32_t objects, uint32_t count)
{
	*t = (struct trace){.count = count, .objects = objects, .units = objects};
	t->keys = mem_calloc(count, sizeof *t->keys);
	t->sizes = mem_calloc(objects, sizeof *t->sizes);
	if (!t->keys || !t->sizes) {
		trace_done(t);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < objects; i++)
		t->sizes[i] = 1;
	return 0;
}

/* ---- Zipf ---- */

struct zipf {
	double *sums; /* of the weights up to each */
	uint32_t objects;
};

static int zipf_init(struct zipf *z, uint32_t objects, double skew)
{
	z->objects = objects;
	z->sums = mem_calloc(objects, sizeof *z->sums);
	if (!z->sums)
		return -ENOMEM;
	for (uint32_t i = 0; i < objects; i++)
		z->sums[i] = (i ? z->sums[i - 1] : 0) + pow(i + 1.0, -skew);
	return 0;
}

static uint32_t zipf_draw(const struct zipf *z, struct rng *rng)
{
	double at = (double)(rng_next(rng) >> 11) / 9007199254740992.0 *
		    z->sums[z->objects - 1]; /* 2 to the 53 */
	uint32_t low = 0, high = z->objects - 1;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (z->sums[middle] > at)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

int trace_zipf(uint32_t objects, uint32_t count, double skew, uint64_t seed, struct trace *ret)
{
	struct rng rng = rng_seeded(seed);
	struct zipf z;
	int r = zipf_init(&z, objects, skew);
	if (r == 0)
		r = trace_init(ret, objects, count);
	for (uint32_t i = 0; r == 0 && i < count; i++)
		ret->keys[i] = zipf_draw(&z, &rng);
	(void)mem_free(z.sums);
	return r;
}

int trace_sizes(uint32_t objects, uint32_t count, double skew, uint64_t seed, struct trace *ret)
{
	struct rng rng = rng_seeded(~seed);
	int r = trace_zipf(objects, count, skew, seed, ret);
	if (r)
		return r;
	ret->units = 0;
	for (uint32_t i = 0; i < objects; i++) {
		uint32_t top = UINT32_C(1) << rng_below(&rng, 15); /* 1 to TRACE_SIZE_MAX */
		ret->sizes[i] = (uint32_t)(top / 2 + 1 + rng_below(&rng, top - top / 2));
		ret->sizes[i] = MIN(ret->sizes[i], top);
		ret->units += ret->sizes[i];
	}
	return 0;
}

int trace_zipf_scan(uint32_t objects, uint32_t count, double skew, uint32_t stretch, uint64_t seed,
		    struct trace *ret)
{
	struct rng rng = rng_seeded(seed);
	struct zipf z;
	uint32_t scanned = objects;
	int r = zipf_init(&z, objects, skew);
	if (r == 0)
		r = trace_init(ret, objects + count,
			       count); /* more than are scanned; units are set right below */
	for (uint32_t i = 0; r == 0 && i < count; i++)
		ret->keys[i] = i / stretch % 2 ? scanned++ : zipf_draw(&z, &rng);
	if (r == 0)
		ret->units =
			objects; /* what is read again: the scanned objects are none of the working set */
	(void)mem_free(z.sums);
	return r;
}

/* ---- rounds ---- */

int trace_loop(uint32_t objects, uint32_t rounds, struct trace *ret)
{
	int r = trace_init(ret, objects, objects * rounds);
	for (uint32_t i = 0; r == 0 && i < ret->count; i++)
		ret->keys[i] = i % objects;
	return r;
}

int trace_shuffle(uint32_t objects, uint32_t rounds, uint64_t seed, struct trace *ret)
{
	struct rng rng = rng_seeded(seed);
	int r = trace_loop(objects, rounds, ret);
	for (uint32_t round = 0; r == 0 && round < rounds; round++)
		for (uint32_t i = objects; i-- > 1;) { /* Fisher and Yates */
			uint32_t *keys = ret->keys + (size_t)round * objects,
				 j = (uint32_t)rng_below(&rng, i + 1);
			uint32_t key = keys[i];
			keys[i] = keys[j];
			keys[j] = key;
		}
	return r;
}

int trace_shift(uint32_t objects, uint32_t rounds, uint64_t seed, struct trace *ret)
{
	struct trace half = {.keys = NULL};
	int r = trace_shuffle(objects / 2, rounds, seed, &half);
	if (r == 0)
		r = trace_init(ret, objects / 2 * 2, half.count);
	for (uint32_t i = 0; r == 0 && i < half.count; i++)
		ret->keys[i] = half.keys[i] + (i < half.count / 2 ? 0 : objects / 2);
	trace_done(&half);
	return r;
}

/* ---- files ---- */

struct numbered {
	uint64_t number;
	uint32_t at;
};

static int by_number(const void *a, const void *b)
{
	const struct numbered *x = a, *y = b;
	return x->number < y->number ? -1 : x->number > y->number;
}

int trace_of_numbers(const uint64_t *numbers, uint32_t count, struct trace *ret)
{
	if (count == 0)
		return -EINVAL;
	struct numbered *all = mem_calloc(count, sizeof *all);
	uint32_t objects = 0;
	int r = all ? 0 : -ENOMEM;
	for (uint32_t i = 0; r == 0 && i < count; i++)
		all[i] = (struct numbered){numbers[i], i};
	if (r == 0)
		qsort(all, count, sizeof *all, by_number);
	for (uint32_t i = 0; r == 0 && i < count; i++)
		objects += i == 0 || all[i].number != all[i - 1].number;
	if (r == 0)
		r = trace_init(ret, objects, count);
	for (uint32_t i = 0, key = 0; r == 0 && i < count; i++) {
		key += i > 0 && all[i].number != all[i - 1].number;
		ret->keys[all[i].at] = key;
	}
	(void)mem_free(all);
	return r;
}

int trace_load(const char *path, struct trace *ret, struct err *err)
{
	char *text = NULL;
	size_t len = 0;
	int r = fd_read_file(AT_FDCWD, path, FILE_MAX, &text, &len);
	if (r)
		return err_set(err, r, "%s: %s", path, err_text(r));
	uint64_t *numbers = mem_calloc(len / 2 + 1, sizeof *numbers);
	uint32_t count = 0;
	for (char *line = text, *end; numbers && line; line = end ? end + 1 : NULL) {
		char *after;
		end = strchr(line, '\n');
		uint64_t n = strtoull(line, &after, 10);
		if (after != line)
			numbers[count++] = n;
	}
	r = numbers ? trace_of_numbers(numbers, count, ret) : -ENOMEM;
	(void)mem_free(numbers);
	(void)mem_free(text);
	return r ? err_set(err, r, "%s: %s", path, r == -EINVAL ? "has no numbers" : err_text(r)) : 0;
}
