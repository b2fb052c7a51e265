#include "common/source/credential.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

static char *wipe(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	return mem_free(secret);
}

struct credential *credential_ref(struct credential *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

struct credential *credential_unref(struct credential *c)
{
	if (!c || atomic_fetch_sub(&c->refs, 1) > 1)
		return NULL;
	mem_free(c->access_key);
	wipe(c->secret_key);
	wipe(c->session_token);
	mem_free(c->username);
	wipe(c->password);
	wipe(c->token);
	mem_free(c->ca_pem);
	return mem_free(c);
}

/* A key or token without the line break that `echo` leaves at the end of many a secret. One inside would end a header. */
static int copy_key(const char *key, char **ret)
{
	size_t len = key ? strlen(key) : 0;

	while (len > 0 && isspace((unsigned char)key[len - 1]))
		len--;
	for (size_t i = 0; i < len; i++)
		if (iscntrl((unsigned char)key[i]))
			return -EINVAL;
	*ret = len > 0 ? mem_strndup(key, len) : NULL;
	return len > 0 && !*ret ? -ENOMEM : 0;
}

static int copy_all(struct credential *c, const struct source_credential *from)
{
	const struct {
		const char *from;
		char **to;
	} keys[] = {
		{from->access_key, &c->access_key},       {from->secret_key, &c->secret_key},
		{from->session_token, &c->session_token}, {from->username, &c->username},
		{from->password, &c->password},           {from->token, &c->token},
	};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < LENGTH(keys); i++)
		rc = copy_key(keys[i].from, keys[i].to);
	if (rc == 0 && from->ca_pem && *from->ca_pem) {
		c->ca_pem = mem_strdup(from->ca_pem);
		rc = c->ca_pem ? 0 : -ENOMEM;
	}
	return rc;
}

int credential_new(const struct source_credential *from, struct credential **ret)
{
	struct credential *c = mem_calloc(1, sizeof *c);

	if (!c)
		return -ENOMEM;
	atomic_init(&c->refs, 1);
	int rc = copy_all(c, from);
	if (rc == 0 && (!c->access_key != !c->secret_key || (c->password && !c->username)))
		rc = -EINVAL;
	if (rc == 0)
		*ret = c;
	else
		(void)credential_unref(c);
	return rc;
}
