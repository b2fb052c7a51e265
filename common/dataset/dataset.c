#include "common/dataset.h"

#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/dataset/glob.h"

static void list_done(struct dataset_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		(void)mem_free(l->items[i]);
	(void)mem_free(l->items);
}

static void source_done(struct dataset_source *s)
{
	char *const owned[] = {s->mount_path,  s->s3.bucket,  s->s3.prefix,    s->s3.region,
			       s->s3.endpoint, s->s3.profile, s->s3.ca_secret, s->s3.proxy,
			       s->http.url,    s->file.path,  s->secret};
	for (size_t i = 0; i < LENGTH(owned); i++)
		(void)mem_free(owned[i]);
	list_done(&s->include);
	list_done(&s->exclude);
}

struct dataset *dataset_free(struct dataset *d)
{
	if (!d)
		return NULL;
	for (size_t i = 0; i < d->source_count; i++)
		source_done(&d->sources[i]);
	(void)mem_free(d->sources);
	list_done(&d->sync.paths);
	list_done(&d->preload.paths);
	list_done(&d->unacted);
	(void)mem_free(d->namespace_);
	(void)mem_free(d->name);
	return mem_free(d);
}

void dataset_full_name(const struct dataset *d, char out[DATASET_FULL_MAX])
{
	(void)snprintf(out, DATASET_FULL_MAX, "%s/%s", d->namespace_, d->name);
}

size_t dataset_source_text(const struct dataset_source *s, char *out, size_t len)
{
	int n = 0;

	switch (s->kind) {
	case SOURCE_S3:
		n = snprintf(out, len, "s3://%s/%s", s->s3.bucket, s->s3.prefix);
		break;
	case SOURCE_HTTP: /* a query may hold a token */
		n = snprintf(out, len, "%.*s", (int)strcspn(s->http.url, "?"), s->http.url);
		break;
	case SOURCE_FILE:
		n = snprintf(out, len, "file:%s", s->file.path);
		break;
	}
	CHECK(n >= 0);
	return (size_t)n;
}

char *dataset_trust_domain(const struct dataset *d, size_t source)
{
	CHECK(source < d->source_count);
	const struct dataset_source *s = &d->sources[source];

	if (s->kind == SOURCE_FILE)
		return mem_printf("file|%s", s->file.path);
	if (s->kind == SOURCE_HTTP)
		return s->secret ? mem_printf("http|%s|secret|%s|%s", s->http.url, d->namespace_, s->secret)
				 : mem_printf("http|%s|anonymous", s->http.url);
	const char *endpoint = s->s3.endpoint ? s->s3.endpoint : "",
		   *region = s->s3.endpoint ? "" : s->s3.region;
	if (!s->secret && !s->anonymous)
		return mem_printf("s3|%s|%s|%s|node|%s", endpoint, region, s->s3.bucket,
				  s->s3.profile ? s->s3.profile : "");
	if (!s->secret)
		return mem_printf("s3|%s|%s|%s|anonymous", endpoint, region, s->s3.bucket);
	return mem_printf("s3|%s|%s|%s|secret|%s|%s", endpoint, region, s->s3.bucket, d->namespace_,
			  s->secret);
}

void dataset_source_config(const struct dataset_source *s, const struct secret *secret,
			   const struct secret *ca, struct source_config *ret)
{
	*ret = (struct source_config){
		.kind = s->kind,
		.s3 = {.bucket = s->s3.bucket,
		       .prefix = s->s3.prefix,
		       .region = s->s3.region,
		       .endpoint = s->s3.endpoint,
		       .addressing = s->s3.addressing,
		       .find_keys = s->kind == SOURCE_S3 && !s->secret && !s->anonymous,
		       .profile = s->s3.profile,
		       .proxy = s->s3.proxy},
		.http = {.url = s->http.url, .index = s->http.index},
		.file = {.root_fd = -1, .symlinks = s->file.symlinks},
		.connections_max = s->s3.connections,
		.requests_per_second = s->s3.requests_per_second,
		.bandwidth = s->s3.bandwidth,
	};
	secret_credential(s->anonymous ? NULL : secret, &ret->credential);
	if (ca)
		ret->credential.ca_pem = ca->value[SECRET_CA_CRT];
}

/* ---- the hash of what a manifest is built from ---- */

static void hash_more(struct hash256 *h, const void *p, size_t len)
{
	const struct hash_part parts[] = {{h, sizeof *h}, {p, len}};
	*h = hash256_of_parts(parts, LENGTH(parts));
}

static void hash_text(struct hash256 *h, const char *text)
{
	hash_more(h, text ? text : "", text ? strlen(text) : 0);
}

static void hash_list(struct hash256 *h, const struct dataset_list *l)
{
	uint64_t count = l->count;

	hash_more(h, &count, sizeof count);
	for (size_t i = 0; i < l->count; i++)
		hash_text(h, l->items[i]);
}

uint64_t dataset_config_hash(const struct dataset *d)
{
	struct hash256 h = {{0}};
	uint64_t result;

	for (size_t i = 0; i < d->source_count; i++) {
		const struct dataset_source *s = &d->sources[i];
		uint8_t kind = (uint8_t)s->kind;
		hash_more(&h, &kind, sizeof kind);
		hash_text(&h, s->mount_path);
		if (s->kind == SOURCE_S3) {
			hash_text(&h, s->s3.bucket);
			hash_text(&h, s->s3.prefix);
			hash_text(&h, s->s3.endpoint ? s->s3.endpoint : s->s3.region);
		} else if (s->kind == SOURCE_HTTP) {
			uint8_t index = (uint8_t)s->http.index;
			hash_text(&h, s->http.url);
			hash_more(&h, &index, sizeof index);
		} else {
			uint8_t symlinks = (uint8_t)s->file.symlinks;
			hash_text(&h, s->file.path);
			if (symlinks) /* unless they are kept, as they were before there was a choice */
				hash_more(&h, &symlinks, sizeof symlinks);
		}
		hash_list(&h, &s->include);
		hash_list(&h, &s->exclude);
	}
	memcpy(&result, h.bytes, sizeof result);
	return result;
}

/* ---- include and exclude ---- */

static bool any_matches(const struct dataset_list *l, const char *path, size_t len)
{
	for (size_t i = 0; i < l->count; i++)
		if (glob_match(l->items[i], path, len))
			return true;
	return false;
}

bool dataset_source_takes(const struct dataset_source *s, const char *path, size_t len)
{
	return (s->include.count == 0 || any_matches(&s->include, path, len)) &&
	       !any_matches(&s->exclude, path, len);
}
