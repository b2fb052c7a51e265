#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/dataset/assign.h"
#include "common/dataset/secret.h"

/* ---- to messages ----
 * A message half made is freed as a whole, so every slot is either empty or owned by the message. */

static int put_text(char **slot, const char *text)
{
	if (!text || !*text)
		return 0; /* the message's own empty string stays */
	char *copy = mem_strdup(text);
	if (copy)
		*slot = copy;
	return copy ? 0 : -ENOMEM;
}

static int put_list(size_t *count, char ***slot, const struct dataset_list *l)
{
	if (l->count == 0)
		return 0;
	*slot = mem_calloc(l->count, sizeof **slot);
	for (size_t i = 0; *slot && i < l->count; i++, ++*count)
		if (!((*slot)[i] = mem_strdup(l->items[i])))
			return -ENOMEM;
	return *slot ? 0 : -ENOMEM;
}

static int put_s3(Larder__V1__Source *m, const struct dataset_source *s)
{
	Larder__V1__S3Source *s3 = mem_calloc(1, sizeof *s3);
	if (!s3)
		return -ENOMEM;
	larder__v1__s3_source__init(s3);
	m->store_case = LARDER__V1__SOURCE__STORE_S3;
	m->s3 = s3;
	s3->addressing = (Larder__V1__S3Source__Addressing)s->s3.addressing;
	s3->connections = s->s3.connections;
	s3->requests_per_second = s->s3.requests_per_second;
	s3->bandwidth = s->s3.bandwidth;
	int r = put_text(&s3->bucket, s->s3.bucket);
	if (r == 0)
		r = put_text(&s3->prefix, s->s3.prefix);
	if (r == 0)
		r = put_text(&s3->region, s->s3.region);
	if (r == 0)
		r = put_text(&s3->profile, s->s3.profile);
	if (r == 0)
		r = put_text(&s3->ca_secret, s->s3.ca_secret);
	if (r == 0)
		r = put_text(&s3->proxy, s->s3.proxy);
	return r == 0 ? put_text(&s3->endpoint, s->s3.endpoint) : r;
}

static int put_http(Larder__V1__Source *m, const struct dataset_source *s)
{
	Larder__V1__HttpSource *http = mem_calloc(1, sizeof *http);
	if (!http)
		return -ENOMEM;
	larder__v1__http_source__init(http);
	m->store_case = LARDER__V1__SOURCE__STORE_HTTP;
	m->http = http;
	http->index = (Larder__V1__HttpSource__Index)s->http.index;
	return put_text(&http->url, s->http.url);
}

static int put_file(Larder__V1__Source *m, const struct dataset_source *s)
{
	Larder__V1__FileSource *file = mem_calloc(1, sizeof *file);
	if (!file)
		return -ENOMEM;
	larder__v1__file_source__init(file);
	m->store_case = LARDER__V1__SOURCE__STORE_FILE;
	m->file = file;
	file->symlinks = (Larder__V1__FileSource__Symlinks)s->file.symlinks;
	return put_text(&file->path, s->file.path);
}

static int put_source(Larder__V1__Source *m, const struct dataset_source *s)
{
	m->anonymous = s->anonymous;
	m->timeout_ns = s->timeout_ns;
	int r = s->kind == SOURCE_S3     ? put_s3(m, s)
		: s->kind == SOURCE_HTTP ? put_http(m, s)
					 : put_file(m, s);
	if (r == 0)
		r = put_text(&m->mount_path, s->mount_path);
	if (r == 0)
		r = put_text(&m->secret, s->secret);
	if (r == 0)
		r = put_list(&m->n_include, &m->include, &s->include);
	return r == 0 ? put_list(&m->n_exclude, &m->exclude, &s->exclude) : r;
}

static int put_sources(Larder__V1__Dataset *m, const struct dataset *d)
{
	int r = 0;

	m->sources = mem_calloc(d->source_count, sizeof *m->sources);
	if (!m->sources)
		return -ENOMEM;
	for (size_t i = 0; i < d->source_count && r == 0; i++) {
		Larder__V1__Source *source = mem_calloc(1, sizeof *source);
		if (!source)
			return -ENOMEM;
		larder__v1__source__init(source);
		m->sources[m->n_sources++] = source;
		r = put_source(source, &d->sources[i]);
	}
	return r;
}

static int put_cache(Larder__V1__Dataset *m, const struct dataset *d)
{
	Larder__V1__CachePolicy *cache = mem_calloc(1, sizeof *cache);
	if (!cache)
		return -ENOMEM;
	larder__v1__cache_policy__init(cache);
	m->cache = cache;
	cache->quota_bytes = d->cache.quota_bytes;
	cache->floor_bytes = d->cache.floor_bytes;
	cache->pin = d->cache.pin;
	cache->ttl_ns = d->cache.ttl_ns;
	if (d->cache.tier_count == 0)
		return 0;
	cache->tiers = mem_calloc(d->cache.tier_count, sizeof *cache->tiers);
	if (!cache->tiers)
		return -ENOMEM;
	cache->n_tiers = d->cache.tier_count;
	for (size_t i = 0; i < d->cache.tier_count; i++)
		cache->tiers[i] = (Larder__V1__Tier)d->cache.tiers[i];
	return 0;
}

static int put_sync(Larder__V1__Dataset *m, const struct dataset *d)
{
	m->sync = mem_calloc(1, sizeof *m->sync);
	if (!m->sync)
		return -ENOMEM;
	larder__v1__sync__init(m->sync);
	m->sync->interval_ns = d->sync.interval_ns;
	return put_list(&m->sync->n_paths, &m->sync->paths, &d->sync.paths);
}

static int put_retention(Larder__V1__Dataset *m, const struct dataset *d)
{
	m->retention = mem_calloc(1, sizeof *m->retention);
	if (!m->retention)
		return -ENOMEM;
	larder__v1__retention__init(m->retention);
	m->retention->versions = d->retention.versions;
	m->retention->age_ns = d->retention.age_ns;
	return 0;
}

static int put_preload(Larder__V1__Dataset *m, const struct dataset *d)
{
	m->preload = mem_calloc(1, sizeof *m->preload);
	if (!m->preload)
		return -ENOMEM;
	larder__v1__preload__init(m->preload);
	m->preload->enabled = d->preload.enabled;
	m->preload->bandwidth = d->preload.bandwidth;
	return put_list(&m->preload->n_paths, &m->preload->paths, &d->preload.paths);
}

static int put_access_and_volume(Larder__V1__Dataset *m, const struct dataset *d)
{
	m->access = mem_calloc(1, sizeof *m->access);
	if (!m->access)
		return -ENOMEM;
	larder__v1__access__init(m->access);
	m->access->uid = d->access.uid;
	m->access->gid = d->access.gid;
	m->access->mode = d->access.mode;
	m->volume = mem_calloc(1, sizeof *m->volume);
	if (!m->volume)
		return -ENOMEM;
	larder__v1__volume__init(m->volume);
	m->volume->profile = d->volume.profile;
	m->volume->open_wait_ns = d->volume.open_wait_ns;
	return 0;
}

static int put_version(Larder__V1__Dataset *m, const struct dataset *d)
{
	char *text = d->version ? mem_printf("%llu", (unsigned long long)d->version) : mem_strdup("Latest");
	if (text)
		m->version = text;
	return text ? 0 : -ENOMEM;
}

int dataset_to_message(const struct dataset *d, Larder__V1__Dataset **ret)
{
	Larder__V1__Dataset *m = mem_calloc(1, sizeof *m);
	if (!m)
		return -ENOMEM;
	larder__v1__dataset__init(m);
	m->generation = d->generation;
	int r = put_text(&m->namespace_, d->namespace_);
	if (r == 0)
		r = put_text(&m->name, d->name);
	if (r == 0)
		r = put_version(m, d);
	if (r == 0)
		r = put_sources(m, d);
	if (r == 0)
		r = put_sync(m, d);
	if (r == 0)
		r = put_retention(m, d);
	if (r == 0)
		r = put_cache(m, d);
	if (r == 0)
		r = put_preload(m, d);
	if (r == 0)
		r = put_access_and_volume(m, d);
	if (r == 0)
		r = put_list(&m->n_unacted, &m->unacted, &d->unacted);
	if (r != 0) {
		larder__v1__dataset__free_unpacked(m, NULL);
		return r;
	}
	*ret = m;
	return 0;
}

static int put_value(Larder__V1__Credential *m, const char *key, const char *value)
{
	Larder__V1__KeyValue *kv = mem_calloc(1, sizeof *kv);
	if (!kv)
		return -ENOMEM;
	larder__v1__key_value__init(kv);
	m->data[m->n_data++] = kv;
	kv->value.data = mem_dup(value, strlen(value));
	if (!kv->value.data)
		return -ENOMEM;
	kv->value.len = strlen(value);
	return put_text(&kv->key, key);
}

int secret_to_message(const struct secret *s, Larder__V1__Credential **ret)
{
	Larder__V1__Credential *m = mem_calloc(1, sizeof *m);
	if (!m)
		return -ENOMEM;
	larder__v1__credential__init(m);
	m->data = mem_calloc(SECRET_KEY_COUNT, sizeof *m->data);
	int r = m->data ? put_text(&m->namespace_, s->namespace_) : -ENOMEM;
	if (r == 0)
		r = put_text(&m->secret, s->name);
	for (size_t i = 0; i < SECRET_KEY_COUNT && r == 0; i++)
		if (s->value[i])
			r = put_value(m, secret_key_name((enum secret_key)i), s->value[i]);
	if (r != 0)
		(void)secret_message_free(m);
	else
		*ret = m;
	return r;
}

Larder__V1__Credential *secret_message_free(Larder__V1__Credential *m)
{
	if (!m)
		return NULL;
	for (size_t i = 0; m->data && i < m->n_data; i++)
		if (m->data[i]->value.data)
			explicit_bzero(m->data[i]->value.data, m->data[i]->value.len);
	larder__v1__credential__free_unpacked(m, NULL);
	return NULL;
}

/* ---- from messages ---- */

struct taking {
	struct dataset *d;
	size_t source;
	struct err *err;
	int status; /* the first failure; nothing is taken after it */
};

static void named(struct taking *t, enum field_id id, int status)
{
	char path[FIELD_PATH_MAX];

	t->status = status;
	if (status == 0)
		return;
	field_path(id, t->source, path);
	(void)err_wrap(t->err, status, "%s", path);
}

static void take_text(struct taking *t, enum field_id id, const char *text)
{
	if (t->status == 0 && text && *text)
		named(t, id, dataset_assign(t->d, t->source, id, text, t->err));
}

static void take_number(struct taking *t, enum field_id id, uint64_t v)
{
	if (t->status == 0 && v != 0)
		named(t, id,
		      dataset_assign_number(t->d, t->source, id, v > INT64_MAX ? INT64_MAX : (int64_t)v,
					    t->err));
}

static void take_duration(struct taking *t, enum field_id id, int64_t v)
{
	if (t->status == 0 && v != 0)
		named(t, id, dataset_assign_number(t->d, t->source, id, v, t->err));
}

static void take_list(struct taking *t, enum field_id id, size_t count, char *const *items)
{
	for (size_t i = 0; i < count && t->status == 0; i++)
		named(t, id, dataset_assign_item(t->d, t->source, id, items[i], t->err));
}

static void take_store(struct taking *t, const Larder__V1__Source *m)
{
	switch ((int)m->store_case) {
	case LARDER__V1__SOURCE__STORE_S3:
		named(t, F_S3, dataset_assign_kind(t->d, t->source, F_S3, t->err));
		take_text(t, F_BUCKET, m->s3->bucket);
		take_text(t, F_PREFIX, m->s3->prefix);
		take_text(t, F_REGION, m->s3->region);
		take_text(t, F_ENDPOINT, m->s3->endpoint);
		take_number(t, F_ADDRESSING, (uint64_t)m->s3->addressing);
		take_number(t, F_CONNECTIONS, m->s3->connections);
		take_number(t, F_REQUESTS_PER_SECOND, m->s3->requests_per_second);
		take_number(t, F_BANDWIDTH, m->s3->bandwidth);
		take_text(t, F_PROFILE_NAME, m->s3->profile);
		take_text(t, F_CA_SECRET_NAME, m->s3->ca_secret);
		take_text(t, F_PROXY, m->s3->proxy);
		break;
	case LARDER__V1__SOURCE__STORE_FILE:
		named(t, F_FILE, dataset_assign_kind(t->d, t->source, F_FILE, t->err));
		take_text(t, F_FILE_PATH, m->file->path);
		take_number(t, F_SYMLINKS, (uint64_t)m->file->symlinks);
		break;
	case LARDER__V1__SOURCE__STORE_HTTP:
		named(t, F_HTTP, dataset_assign_kind(t->d, t->source, F_HTTP, t->err));
		take_text(t, F_HTTP_URL, m->http->url);
		take_number(t, F_HTTP_INDEX, (uint64_t)m->http->index);
		break;
	default: /* dataset_check() says what is missing */
		break;
	}
}

static void take_source(struct taking *t, const Larder__V1__Source *m)
{
	t->status = dataset_add_source(t->d, t->err);
	if (t->status != 0)
		return;
	t->source = t->d->source_count - 1;
	take_store(t, m);
	take_text(t, F_MOUNT_PATH, m->mount_path);
	take_text(t, F_SECRET_NAME, m->secret);
	take_number(t, F_ANONYMOUS, m->anonymous ? 1 : 0);
	take_list(t, F_INCLUDE, m->n_include, m->include);
	take_list(t, F_EXCLUDE, m->n_exclude, m->exclude);
	take_duration(t, F_TIMEOUT, m->timeout_ns);
}

static void take_tiers(struct taking *t, const Larder__V1__CachePolicy *m)
{
	for (size_t i = 0; i < m->n_tiers && t->status == 0; i++) {
		int tier = (int)m->tiers[i];
		const char *name = tier == LARDER__V1__TIER__TIER_NVME ? "NVMe" : "DRAM";
		if (tier != LARDER__V1__TIER__TIER_NVME && tier != LARDER__V1__TIER__TIER_DRAM)
			t->status = err_set(t->err, -EINVAL, "spec.cache.tiers: %d is no tier", tier);
		else
			named(t, F_TIERS, dataset_assign_item(t->d, 0, F_TIERS, name, t->err));
	}
}

static void take_policies(struct taking *t, const Larder__V1__Dataset *m)
{
	if (m->sync) {
		take_duration(t, F_SYNC_INTERVAL, m->sync->interval_ns);
		take_list(t, F_SYNC_PATHS, m->sync->n_paths, m->sync->paths);
	}
	if (m->retention) {
		take_number(t, F_RETENTION_VERSIONS, m->retention->versions);
		take_duration(t, F_RETENTION_AGE, m->retention->age_ns);
	}
	if (m->cache) {
		take_number(t, F_QUOTA, m->cache->quota_bytes);
		take_number(t, F_FLOOR, m->cache->floor_bytes);
		take_tiers(t, m->cache);
		take_number(t, F_PIN, m->cache->pin ? 1 : 0);
		take_duration(t, F_TTL, m->cache->ttl_ns);
	}
	if (m->preload) {
		t->d->preload.enabled = m->preload->enabled;
		take_list(t, F_PRELOAD_PATHS, m->preload->n_paths, m->preload->paths);
		take_number(t, F_PRELOAD_BANDWIDTH, m->preload->bandwidth);
	}
	if (m->access) {
		take_number(t, F_UID, m->access->uid);
		take_number(t, F_GID, m->access->gid);
		take_number(t, F_MODE, m->access->mode);
	}
	if (m->volume) {
		take_number(t, F_PROFILE, (uint64_t)m->volume->profile);
		take_duration(t, F_OPEN_WAIT, m->volume->open_wait_ns);
	}
}

static void take_unacted(struct taking *t, const Larder__V1__Dataset *m)
{
	for (size_t i = 0; i < m->n_unacted && t->status == 0; i++) {
		if (strlen(m->unacted[i]) >= FIELD_PATH_MAX)
			t->status = err_set(t->err, -EINVAL, "unacted: a path is over %d bytes",
					    FIELD_PATH_MAX - 1);
		else if ((t->status = dataset_note_unacted(t->d, m->unacted[i])) != 0)
			(void)err_set(t->err, t->status, "unacted: %s", err_text(t->status));
	}
}

int dataset_from_message(const Larder__V1__Dataset *m, struct dataset **ret, struct err *err)
{
	CLEANUP(dataset_free) struct dataset *d = dataset_new();
	struct taking t = {.d = d, .err = err};
	size_t source;

	if (!d)
		return err_set(err, -ENOMEM, "out of memory");
	d->generation = m->generation;
	take_text(&t, F_NAMESPACE, m->namespace_);
	take_text(&t, F_NAME, m->name);
	take_text(&t, F_VERSION, m->version);
	for (size_t i = 0; i < m->n_sources && t.status == 0; i++)
		take_source(&t, m->sources[i]);
	take_policies(&t, m);
	take_unacted(&t, m);
	int r = t.status == 0 ? dataset_check(d, &source, err) : t.status;
	if (r == 0)
		*ret = TAKE(d);
	return r;
}

int secret_from_message(const Larder__V1__Credential *m, struct secret **ret, struct err *err)
{
	CLEANUP(secret_free) struct secret *s = mem_calloc(1, sizeof *s);
	if (!s)
		return err_set(err, -ENOMEM, "out of memory");
	int r = secret_assign_name(s, true, m->namespace_, err);
	if (r == 0)
		r = secret_assign_name(s, false, m->secret, err);
	for (size_t i = 0; i < m->n_data && r == 0; i++)
		r = secret_assign(s, m->data[i]->key, (const char *)m->data[i]->value.data,
				  m->data[i]->value.len, err);
	if (r == 0)
		r = secret_check(s, err);
	if (r == 0)
		*ret = TAKE(s);
	return r;
}
