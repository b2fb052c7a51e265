/*
 * fuse_probe - what this kernel's FUSE offers, read from the INIT request of a mount made for it in a mount namespace of its own,
 * which nobody else sees and which goes with the process that made it.
 */
#ifndef CLI_FUSE_PROBE_H
#define CLI_FUSE_PROBE_H

#include <stdbool.h>

#include "common/base/attr.h"

struct fuse_offer {
	bool asked; /* false: not root, or no FUSE: nothing below is known */
	bool passthrough;
};

/* Forks; takes at most a second. */
void fuse_probe(struct fuse_offer *ret);

#endif
