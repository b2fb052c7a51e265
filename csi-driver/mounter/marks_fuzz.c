/*
 * Lines of mountinfo: the source and the path in them are whatever somebody mounted.
 *
 * Decoders: csi-driver/mounter/marks.c
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "csi-driver/mounter/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *line = malloc(size + 1), mark[MOUNTER_MARK_MAX];
	struct marked_mount m;

	if (!line)
		return 0;
	memcpy(line, data, size);
	line[size] = 0;
	/* What is taken for a mark can be written as one, but for a path that no socket could have. */
	if (mark_read(line, &m) && mark_format(m.session, m.socket, mark) == 0 &&
	    strlen(mark) != strlen(m.socket) + sizeof "larder::" - 1 + 2 * sizeof m.session)
		abort();
	free(line);
	return 0;
}
