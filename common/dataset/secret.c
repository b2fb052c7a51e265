#include "common/dataset/secret.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/dataset/assign.h"

enum { SECRET_VALUE_MAX = 1 << 20 };

const char *secret_key_name(enum secret_key key)
{
	static const char *const names[] = {
#define X(id, name) name,
		SECRET_KEYS(X)
#undef X
	};
	CHECK(key < SECRET_KEY_COUNT);
	return names[key];
}

static char *wipe(char *value)
{
	if (value)
		explicit_bzero(value, strlen(value));
	return mem_free(value);
}

struct secret *secret_free(struct secret *s)
{
	if (!s)
		return NULL;
	for (size_t i = 0; i < SECRET_KEY_COUNT; i++)
		s->value[i] = wipe(s->value[i]);
	(void)mem_free(s->namespace_);
	(void)mem_free(s->name);
	return mem_free(s);
}

void secret_credential(const struct secret *s, struct source_credential *ret)
{
	*ret = (struct source_credential){0};
	if (!s)
		return;
	ret->access_key = s->value[SECRET_ACCESS_KEY];
	ret->secret_key = s->value[SECRET_SECRET_KEY];
	ret->session_token = s->value[SECRET_SESSION_TOKEN];
	ret->username = s->value[SECRET_USERNAME];
	ret->password = s->value[SECRET_PASSWORD];
	ret->token = s->value[SECRET_TOKEN];
	ret->ca_pem = s->value[SECRET_CA_CRT];
}

int secret_assign_name(struct secret *s, bool is_namespace, const char *text, struct err *err)
{
	char **slot = is_namespace ? &s->namespace_ : &s->name;

	if (is_namespace && !dataset_label_valid(text))
		return err_set(err, -EINVAL, "\"%.64s\" is not a DNS label: 1 to 63 of a-z, 0-9 and '-'",
			       text);
	if (!is_namespace && !dataset_subdomain_valid(text))
		return err_set(err, -EINVAL, "\"%.64s\" is not the name of a Secret: a-z, 0-9, '-' and '.'",
			       text);
	char *copy = mem_strdup(text);
	if (!copy)
		return err_set(err, -ENOMEM, "out of memory");
	(void)mem_free(*slot);
	*slot = copy;
	return 0;
}

static int find_key(const char *key, enum secret_key *ret, struct err *err)
{
	struct nearest n = {.name = key};
	char words[300];

	for (size_t i = 0; i < SECRET_KEY_COUNT; i++) {
		const char *name = secret_key_name((enum secret_key)i);
		if (strcmp(name, key) == 0) {
			*ret = (enum secret_key)i;
			return 0;
		}
		nearest_offer(&n, name);
	}
	nearest_words(&n, words, sizeof words);
	return err_set(err, -EINVAL, "unknown key \"%.64s\"; %s", key, words);
}

static bool is_pem(enum secret_key key)
{
	return key == SECRET_TLS_CRT || key == SECRET_TLS_KEY || key == SECRET_CA_CRT;
}

/* A line break inside a key is a slip of `echo ... | base64`, and would break the headers it is put into. */
static const char *value_error(enum secret_key key, const char *value, size_t len)
{
	if (len == 0)
		return "is empty";
	if (len > SECRET_VALUE_MAX)
		return "is over 1 MiB";
	if (memchr(value, 0, len))
		return "holds a NUL byte";
	if (is_pem(key))
		return NULL;
	if (value[len - 1] == '\n')
		return "ends in a line break; encode it with printf or echo -n";
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)value[i] < ' ' || value[i] == 127)
			return "holds a control character";
	return NULL;
}

int secret_assign(struct secret *s, const char *key, const char *value, size_t len, struct err *err)
{
	enum secret_key k;
	int r = find_key(key, &k, err);
	if (r != 0)
		return r;
	const char *wrong = value_error(k, value, len);
	if (wrong)
		return err_set(err, -EINVAL, "the value of \"%s\" %s", key, wrong);
	char *copy = mem_strndup(value, len);
	if (!copy)
		return err_set(err, -ENOMEM, "out of memory");
	(void)wipe(s->value[k]);
	s->value[k] = copy;
	return 0;
}

static int base64_digit(char c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;
	return at ? (int)(at - digits) : -1;
}

/* RFC 4648 section 4, line breaks and blanks ignored. @out holds 3/4 of the text. 0 or -EINVAL. */
static int base64_decode(const char *text, char *out, size_t *ret_len)
{
	uint32_t bits = 0;
	size_t digits = 0, pads = 0, n = 0;

	for (; *text; text++) {
		if (strchr(" \r\n\t", *text))
			continue;
		int v = *text == '=' ? 0 : base64_digit(*text);
		pads += *text == '=';
		if (v < 0 || pads > 2 || (pads > 0 && *text != '='))
			return -EINVAL;
		bits = bits << 6 | (uint32_t)v;
		if (++digits % 4 != 0)
			continue;
		for (size_t i = 0; i < 3 - pads; i++)
			out[n++] = (char)(bits >> (16 - 8 * i) & 255);
	}
	*ret_len = n;
	return digits % 4 == 0 ? 0 : -EINVAL;
}

int secret_assign_base64(struct secret *s, const char *key, const char *text, struct err *err)
{
	size_t size = strlen(text) / 4 * 3 + 3, len;
	char *value = mem_alloc(size);
	if (!value)
		return err_set(err, -ENOMEM, "out of memory");
	int r = base64_decode(text, value, &len);
	if (r == 0)
		r = secret_assign(s, key, value, len, err);
	else
		r = err_set(err, r, "the value of \"%.64s\" is not base64; plain text goes into stringData",
			    key);
	explicit_bzero(value, size);
	(void)mem_free(value);
	return r;
}

static int check_pair(const struct secret *s, enum secret_key a, enum secret_key b, struct err *err)
{
	if (!s->value[a] == !s->value[b])
		return 0;
	return err_set(err, -EINVAL, "has \"%s\" without \"%s\"", secret_key_name(s->value[a] ? a : b),
		       secret_key_name(s->value[a] ? b : a));
}

int secret_check(const struct secret *s, struct err *err)
{
	if (!s->name || !s->namespace_)
		return err_set(err, -EINVAL, "metadata.name is missing");
	int r = check_pair(s, SECRET_ACCESS_KEY, SECRET_SECRET_KEY, err);
	if (r == 0)
		r = check_pair(s, SECRET_USERNAME, SECRET_PASSWORD, err);
	return r == 0 ? check_pair(s, SECRET_TLS_CRT, SECRET_TLS_KEY, err) : r;
}
