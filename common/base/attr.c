#include "common/base/attr.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *what, const char *file, int line)
{
	(void)fprintf(stderr, "larder: bug: %s does not hold (%s:%d)\n", what, file, line);
	abort();
}
