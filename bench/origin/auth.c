#include "bench/origin/auth.h"

#include <stdio.h>
#include <string.h>

#include "common/base/attr.h"
#include "common/source/s3_sign.h"

enum { SIGNED_MAX = 16 };

struct claim {
	char access_key[128], region[64], names[512], signature[80];
};

static bool parse_claim(const char *auth, struct claim *ret)
{
	char day[16];

	return sscanf(auth,
		      "AWS4-HMAC-SHA256 Credential=%127[^/]/%15[^/]/%63[^/]/s3/aws4_request, SignedHeaders=%511[^,], "
		      "Signature=%79s",
		      ret->access_key, day, ret->region, ret->names, ret->signature) == 5;
}

/* The target's path as sent, without the query. */
static void path_of(const struct request *q, char *out, size_t size)
{
	(void)snprintf(out, size, "%.*s", (int)strcspn(q->target, "?"), q->target);
}

const char *auth_check(const struct request *q, const char *access_key, const char *secret_key)
{
	struct claim c;
	struct s3_header headers[SIGNED_MAX];
	char path[REQUEST_HEAD_MAX], want[S3_AUTH_SIZE], names[512], *save = NULL;
	const char *auth = request_header(q, "authorization"), *date = request_header(q, "x-amz-date");
	const char *hash = request_header(q, "x-amz-content-sha256");
	size_t n = 0;

	if (!auth || !date || !hash)
		return "AccessDenied";
	if (!parse_claim(auth, &c))
		return "AuthorizationHeaderMalformed";
	if (strcmp(c.access_key, access_key) != 0)
		return "InvalidAccessKeyId";
	memcpy(names, c.names, sizeof names);
	for (char *name = strtok_r(names, ";", &save); name && n < SIGNED_MAX;
	     name = strtok_r(NULL, ";", &save)) {
		headers[n] = (struct s3_header){.name = name, .value = request_header(q, name)};
		if (!headers[n++].value)
			return "SignatureDoesNotMatch";
	}
	path_of(q, path, sizeof path);
	const struct s3_to_sign in = {.method = q->method,
				      .path = path,
				      .query = q->query,
				      .headers = headers,
				      .header_count = n,
				      .payload_hash = hash,
				      .date = date,
				      .region = c.region,
				      .service = "s3",
				      .access_key = access_key,
				      .secret_key = secret_key};
	if (n == 0 || s3_sign(&in, want, sizeof want) < 0)
		return "SignatureDoesNotMatch";
	const char *signature = strstr(want, "Signature=");
	return strcmp(signature + strlen("Signature="), c.signature) == 0 ? NULL : "SignatureDoesNotMatch";
}
