/*
 * Pages of listings and error bodies, fed in two parts cut at a place the input chooses.
 *
 * Decoders: common/source/s3_list.c common/source/xml_scan.c common/source/s3_error.c
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/attr.h"
#include "common/source/s3_list.h"
#include "common/source/s3_error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As the body of a refusal, of each kind of request. */
static void try_error(const uint8_t *data, size_t size)
{
	static const int statuses[] = {301, 400, 403, 404, 503};
	struct s3_error e;
	struct err err = {0};
	bool retry;

	s3_error_parse(data, size, &e);
	CHECK(strlen(e.code) < sizeof e.code && strlen(e.message) < sizeof e.message);
	CHECK(!s3_versioning_enabled(data, size) || strcmp(e.status, "Enabled") == 0);
	CHECK(!s3_error_is_of_expiry(e.code) || s3_error_is_of_keys(e.code));
	for (size_t i = 0; i < LENGTH(statuses); i++) {
		struct response r = {.status = statuses[i], .request_id = "id", .region = "eu-x-1"};
		int code = s3_error_code((enum s3_request_kind)(i % 3), r.status, e.code, &retry);
		CHECK(code < 0 && s3_error_words(&err, code, "label", "a/key", &r, &e) == code);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct s3_list_page page;
	CLEANUP(s3_list_free) struct s3_list *l = NULL;

	if (s3_list_new("a/", "", &l) < 0)
		return 0;
	size_t cut = size > 0 ? data[0] % size : 0;
	int rc = s3_list_feed(l, data, cut, NULL);
	if (rc == 0)
		rc = s3_list_feed(l, data + cut, size - cut, NULL);
	if (rc == 0 && s3_list_finish(l, NULL) == 0) {
		/* The range of a key that the input may hold. */
		s3_list_look(l, (struct s3_key){"a/", 2}, (struct s3_key){"a/m", 3}, &page);
		CHECK(page.keys == 0 || (page.first.len >= 2 && page.last.len >= 2));
		CHECK(!page.beyond.bytes || s3_key_compare(page.beyond, (struct s3_key){"a/m", 3}) > 0);
		for (size_t i = 0; i < page.count; i++)
			CHECK(page.entries[i].key_len > 0 &&
			      !memchr(page.entries[i].key, '\0', page.entries[i].key_len));
	}
	try_error(data, size);
	return 0;
}
