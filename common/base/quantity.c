#include "common/base/quantity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int bytes_parse(const char *text, uint64_t *ret)
{
	static const char units[] = "kMGTPE";
	uint64_t value = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
			return -ERANGE;
	if (p == text)
		return -EINVAL;
	if (*p) {
		const char *unit = strchr(units, *p == 'K' ? 'k' : *p);
		uint64_t base = p[1] == 'i' ? 1024 : 1000;
		if (!unit || p[base == 1024 ? 2 : 1] || (*p == 'K' && base == 1000) ||
		    (*p == 'k' && base == 1024))
			return -EINVAL;
		for (const char *u = units; u <= unit; u++)
			if (__builtin_mul_overflow(value, base, &value))
				return -ERANGE;
	}
	*ret = value;
	return 0;
}

void bytes_format(uint64_t bytes, char out[16])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1023.95 && unit + 1 < LENGTH(units)) {
		value /= 1024;
		unit++;
	}
	(void)snprintf(out, 16, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}
