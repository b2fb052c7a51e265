/*
 * The head of an answer: a line with the status, then headers, each handed over in memory of its own size; then it is held
 * against a read of the range that it claims and of one that it does not, under each kind of validator.
 *
 * Decoders: common/source/response.c
 */
#include <errno.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/source/response.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WALL_S = 1792000000 };

static void check_strings(const struct response *r)
{
	CHECK(strlen(r->request_id) < sizeof r->request_id && strlen(r->region) < sizeof r->region);
	CHECK(strlen(r->type) < sizeof r->type && strlen(r->version) < sizeof r->version);
	CHECK(strlen(r->checksum) < sizeof r->checksum && strlen(r->location) < sizeof r->location);
	CHECK(r->retry_after_s >= 0 && r->retry_after_s <= 3600);
	CHECK(!r->has_range || r->range_first <= r->range_last);
	CHECK(r->validator.len <= VALIDATOR_BYTES_MAX);
}

/* One line, without its end. Copies of name and value end where they end, so that a read behind them is seen. */
static void take_line(struct response *r, const uint8_t *line, size_t len)
{
	const uint8_t *colon = memchr(line, ':', len);

	if (!colon)
		return;
	size_t name_len = (size_t)(colon - line), skip = name_len + 1;
	while (skip < len && line[skip] == ' ')
		skip++;
	char *name = mem_dup(line, name_len), *value = mem_dup(line + skip, len - skip);
	if (name && value)
		response_header(r, WALL_S * NS_PER_S, name, name_len, value, len - skip);
	(void)mem_free(name);
	(void)mem_free(value);
}

static void read_of(const struct response *r, const struct validator *v, uint64_t offset, uint64_t length,
		    bool whole_ok)
{
	uint64_t total = r->has_total ? r->total : r->length, skip = UINT64_MAX;
	const struct response_expected want = {offset, length, total, v, whole_ok};
	struct err err = {0};
	int rc = response_check_read(r, &want, &skip, &err);

	CHECK(rc == 0 || rc == -ESTALE || rc == -ERR_CORRUPT);
	CHECK(rc == 0 ? skip == 0 || (whole_ok && skip == offset)
		      : err.text[0] != '\0' && skip == UINT64_MAX);
	CHECK(rc != 0 || !r->has_range || (r->range_first == offset && r->range_last - offset == length - 1));
}

static void check_reads(const struct response *r)
{
	const struct validator none = {.kind = VALIDATOR_NONE}, etag = etag_validator("\"e\"", 3);
	const struct validator dated =
		response_dated_validator(r->mtime_ns ? r->mtime_ns : NS_PER_S, r->total);
	const struct validator version = s3_version_validator(r->version, strlen(r->version));
	const struct validator *const listed[] = {&none, &etag, &dated, &version, &r->validator};

	for (size_t i = 0; i < LENGTH(listed); i++)
		for (int whole_ok = 0; whole_ok < 2; whole_ok++) {
			read_of(r, listed[i], r->range_first, r->range_last - r->range_first + 1, whole_ok);
			read_of(r, listed[i], 0, r->length, whole_ok);
			read_of(r, listed[i], 1, 2, whole_ok);
		}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct response r = {0};
	bool retry;

	for (bool first = true; size > 0; first = false) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t len = end ? (size_t)(end - data) : size;
		for (size_t i = 0; first && i < len && i < 3; i++)
			r.status = r.status * 10 + (data[i] - '0');
		if (!first)
			take_line(&r, data, len);
		data += len + (end ? 1 : 0);
		size -= len + (end ? 1 : 0);
	}
	check_strings(&r);
	check_reads(&r);
	CHECK(response_code(true, r.status, &retry) < 0 && response_code(false, r.status, &retry) < 0);
	return 0;
}
