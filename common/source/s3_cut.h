/*
 * s3_cut - where to cut the keys that a listing has still to meet, known only by those it met: a guess. Pure.
 *
 * A wrong guess costs one page that holds nothing. What helps to guess: names are made of digits and letters that stand in
 * places; where digits stand among letters all of them make one alphabet (hashes, UUIDs); a folder has an end, and all that
 * is beyond it can be had by one question. Cuts are made between characters, so that a store that wants UTF-8 gets it.
 */
#ifndef COMMON_SOURCE_S3_CUT_H
#define COMMON_SOURCE_S3_CUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/source.h"

/* A key of the bucket; not ended by NUL. bytes NULL: there is none. */
struct s3_key {
	const char *bytes;
	size_t len;
};

/* Order of the bytes, as memcmp(); no key is after all others. */
int s3_key_compare(struct s3_key a, struct s3_key b);

/* What keys are made of. All zero: nothing is known yet. */
struct s3_alphabet {
	bool seen[128];
	uint64_t digits, among_letters; /* digits; those with a letter beside them */
};

/* Looks at a key that was met. */
void s3_alphabet_learn(struct s3_alphabet *a, struct s3_key key);

/* A stretch of keys: those after @last and up to @end (none: to the end of the listing). The page before went from @first to
 * @last. All begin with the same @base bytes. */
struct s3_stretch {
	struct s3_key first, last, end;
	size_t base;
};

/* About how many pages like the last one are left; large where nothing is known of the end. */
double s3_cut_pages(const struct s3_alphabet *a, const struct s3_stretch *s);

enum s3_cut_kind {
	S3_CUT_MIDDLE, /* in the middle of the characters that may come in the first place where any may */
	S3_CUT_NUMBER, /* the same, but letters of words count as if they were always those */
	S3_CUT_DEEP,   /* behind the deepest folder that holds all of the page before */
	S3_CUT_SHALLOW /* behind the shallowest */
};

/* A key after @last and before @end into @ret; its length, or 0: there is no such cut. */
size_t s3_cut(const struct s3_alphabet *a, const struct s3_stretch *s, enum s3_cut_kind kind,
	      char ret[SOURCE_KEY_MAX]);

#endif
