#include "cli/human.h"

#include <stdio.h>
#include <string.h>

#include "common/base/quantity.h"

const char *human_count(uint64_t n, char out[HUMAN_COUNT_MAX])
{
	char digits[24];
	int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
	char *p = out;

	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			*p++ = ',';
		*p++ = digits[i];
	}
	*p = 0;
	return out;
}

const char *human_seconds(uint64_t s, char out[16])
{
	unsigned long long t = s;

	if (t < 60)
		(void)snprintf(out, 16, "%llus", t);
	else if (t < 3600)
		(void)snprintf(out, 16, "%llum%02llus", t / 60, t % 60);
	else if (t < 86400)
		(void)snprintf(out, 16, "%lluh%02llum", t / 3600, t % 3600 / 60);
	else if (t < 86400ULL * 1000)
		(void)snprintf(out, 16, "%llud%02lluh", t / 86400, t % 86400 / 3600);
	else
		(void)snprintf(out, 16, "years");
	return out;
}

unsigned human_percent(uint64_t done, uint64_t total)
{
	if (done >= total)
		return 100;
	return (unsigned)((double)done / (double)total * 100.0) % 100; /* a double may round up to 100 */
}

void human_progress_line(const struct human_progress *p, char *out, size_t size)
{
	char done[16], total[16], rate[16], left[16], files[HUMAN_COUNT_MAX], all[HUMAN_COUNT_MAX];

	bytes_format(p->bytes_done, done);
	bytes_format(p->bytes_total, total);
	bytes_format(p->bytes_per_second, rate);
	int n = snprintf(out, size, "%s of %s (%u%%), %s of %s files, %s/s", done, total,
			 human_percent(p->bytes_done, p->bytes_total), human_count(p->objects_done, files),
			 human_count(p->objects_total, all), rate);
	if (p->objects_failed && n > 0 && (size_t)n < size)
		n += snprintf(out + n, size - (size_t)n, ", %s failed",
			      human_count(p->objects_failed, files));
	if (p->bytes_per_second && p->bytes_done < p->bytes_total && n > 0 && (size_t)n < size)
		(void)snprintf(out + n, size - (size_t)n, ", %s left",
			       human_seconds((p->bytes_total - p->bytes_done) / p->bytes_per_second, left));
}

void human_sync_line(const struct human_progress *p, int64_t elapsed_ns, char *out, size_t size)
{
	char bytes[16], left[16], done[HUMAN_COUNT_MAX], all[HUMAN_COUNT_MAX + 32] = "",
									       total[HUMAN_COUNT_MAX];
	double seconds = (double)elapsed_ns / 1e9;
	uint64_t rate = seconds > 0.1 ? (uint64_t)((double)p->objects_done / seconds) : 0;

	bytes_format(p->bytes_done, bytes);
	if (p->objects_total)
		(void)snprintf(all, sizeof all, " of about %s", human_count(p->objects_total, total));
	int n = snprintf(out, size, "%s%s objects, %s in files", human_count(p->objects_done, done), all,
			 bytes);
	if (rate && n > 0 && (size_t)n < size)
		n += snprintf(out + n, size - (size_t)n, ", %s/s", human_count(rate, done));
	if (rate && p->objects_done < p->objects_total && n > 0 && (size_t)n < size)
		(void)snprintf(out + n, size - (size_t)n, ", %s left",
			       human_seconds((p->objects_total - p->objects_done) / rate, left));
}
