/*
 * planted - off-by-ones in decoders, to prove that their corpora and fuzz targets find such. A build has none unless
 * LARDER_PLANTED names one; `make planted` makes one build for each row. No fuzz target may look at this.
 */
#ifndef COMMON_BASE_PLANTED_H
#define COMMON_BASE_PLANTED_H

/* name, its fuzz target, what is done wrong */
#define PLANTED_TABLE(X)                                                          \
	X(NONE, none, "nothing")                                                  \
	X(LIST_ESCAPE, s3_list, "reads the second digit of a %X that ends a key") \
	X(CHUNK_VALIDATOR, chunk, "takes a validator of one byte more than fits") \
	X(DELTA_KIND, delta, "takes one kind of edit more than there are")        \
	X(HEADER_TEXT, response, "ends a header's text one byte behind its room")

enum planted {
#define X(name, target, words) PLANTED_##name,
	PLANTED_TABLE(X)
#undef X
};

#ifndef LARDER_PLANTED
#define LARDER_PLANTED PLANTED_NONE
#endif

/* 1 in the build that has this one, else 0. */
#define PLANTED(name) (LARDER_PLANTED == PLANTED_##name)

#endif
