/*
 * Shared files, the JSON of instance metadata, the XML of STS: each input is tried as all three.
 *
 * Decoders: common/source/aws_text.c
 */
#include <string.h>

#include "common/source/aws_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct aws_profile p = {0};
	struct aws_keys k = {0};
	bool found;

	int rc = aws_profile_parse(text, size, "default", size & 1, &p, &found);
	CHECK(rc == 0 && (found || !p.access_key));
	aws_profile_done(&p);
	if (aws_metadata_parse(text, size, &k, NULL) == 0)
		CHECK(k.access_key && k.secret_key && k.session_token && k.expiry_ns > 0);
	aws_keys_done(&k);
	if (aws_sts_parse(text, size, &k, NULL) == 0)
		CHECK(k.access_key && k.secret_key && k.session_token && k.expiry_ns > 0);
	aws_keys_done(&k);
	return 0;
}
