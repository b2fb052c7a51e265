/*
 * s3_split - one listing cut into ranges of keys that are asked for at the same time, without knowing the tree. Pure.
 *
 * Each slot asks for one page after the other of one range, as the store leads on. A slot without a range steals: the range
 * with the most left is cut in two (s3_cut.h), the old slot keeps the first part, the stealer asks for the keys after the cut.
 * That the second part may be empty costs a page; how many such pages there may be grows with the pages that held something,
 * so that a small tree is not asked much about and a tree of one page not once more.
 *
 * Nothing is believed about the order in which the store lists: what proves that no key fell between two ranges is a seam. A
 * range goes on until it meets a key beyond its end, and that must be the very key with which the next one began. Where all
 * seams agree the pages of all ranges are one sequence in the store's own order, from its first key to its last. Where one
 * does not, a key has come or gone there since: the first range goes on through the second. Where pages are not in the order
 * of bytes, or seams disagree again and again, it ends in DISORDER, and only asking page after page gives what the store has.
 */
#ifndef COMMON_SOURCE_S3_SPLIT_H
#define COMMON_SOURCE_S3_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/source/s3_cut.h"

#define S3_SPLIT_SLOTS_MAX 64

struct s3_split;

/* @slots: 1 to S3_SPLIT_SLOTS_MAX; slot 0 begins with all keys. All of them begin with the same @base bytes. With one slot order
 * does not matter. 0 with *ret owned by the caller, -ENOMEM. */
MUST_CHECK int s3_split_new(size_t slots, size_t base, struct s3_split **ret);
struct s3_split *s3_split_free(struct s3_split *s);
DEFINE_CLEANUP(struct s3_split *, s3_split_free)

/* The keys of the next page of @slot come after s3_split_after() (none: they are the first), those of its range end with
 * s3_split_end() (none: with the listing). Valid until the next call that is not one of these. */
struct s3_key s3_split_after(const struct s3_split *s, size_t slot);
struct s3_key s3_split_end(const struct s3_split *s, size_t slot);

/* A page came for a slot. Keys are borrowed. */
struct s3_seen {
	bool ordered;              /* its keys ascend, and all come after those it had to come after */
	bool more;                 /* the store leads on */
	struct s3_key first, last; /* none: the page is empty */
	struct s3_key beyond;      /* the first key after the range's end */
};

enum s3_split_then {
	S3_SPLIT_ON,       /* ask for the page it leads to */
	S3_SPLIT_ENDED,    /* the slot is free */
	S3_SPLIT_FURTHER,  /* the range ends later now: look at the same page again */
	S3_SPLIT_DISORDER, /* what was listed cannot be relied on */
	S3_SPLIT_MEMORY    /* there is none */
};
/* What comes next for @slot; *ret_stop: with FURTHER a slot that is to stop, else SIZE_MAX. */
enum s3_split_then s3_split_page(struct s3_split *s, size_t slot, const struct s3_seen *seen,
				 size_t *ret_stop);

/* Gives a free slot a range, if that is worth it: its pages begin after *ret_after, valid until the slot's first page. */
MUST_CHECK bool s3_split_steal(struct s3_split *s, size_t *ret_slot, struct s3_key *ret_after);

/* All keys were listed. */
bool s3_split_over(const struct s3_split *s);

/* Aborts if an invariant is broken. Tests call it after every event. */
void s3_split_check(const struct s3_split *s);

#endif
