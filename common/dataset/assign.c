#include "common/dataset/assign.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/dataset/glob.h"
#include "common/manifest/key.h"
#include "common/source/http_url.h"

enum { TEXT_MAX = 4095 };

/* ---- what a text may be ---- */

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool label_of(const char *text, size_t len)
{
	if (len == 0 || len > DATASET_LABEL_MAX || !is_alnum(text[0]) || !is_alnum(text[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(text[i]) && text[i] != '-')
			return false;
	return true;
}

bool dataset_label_valid(const char *text)
{
	return label_of(text, strlen(text));
}

bool dataset_subdomain_valid(const char *text)
{
	if (strlen(text) > 253)
		return false;
	for (size_t n;; text += n + 1) {
		n = strcspn(text, ".");
		if (!label_of(text, n))
			return false;
		if (!text[n])
			return true;
	}
}

static bool bucket_valid(const char *text)
{
	size_t len = strlen(text);

	if (len < 3 || len > 63)
		return false;
	for (; *text; text++)
		if (!is_alnum(*text) && !(*text >= 'A' && *text <= 'Z') && !strchr("-._", *text))
			return false;
	return true;
}

/* http(s)://host[:port]: a path, query or user in it would end up in requests nobody asked for. */
static bool endpoint_valid(const char *text)
{
	size_t scheme = strncmp(text, "https://", 8) == 0 ? 8 : strncmp(text, "http://", 7) == 0 ? 7 : 0;
	size_t len = strlen(text);

	if (scheme == 0)
		return false;
	while (len > scheme && text[len - 1] == '/')
		len--;
	if (len == scheme || len > 300)
		return false;
	for (size_t i = scheme; i < len; i++)
		if (!is_alnum(text[i]) && !(text[i] >= 'A' && text[i] <= 'Z') && !strchr("-.:[]_", text[i]))
			return false;
	return true;
}

/* "/", "/a", "/a/b". */
static bool mount_path_valid(const char *text)
{
	if (text[0] != '/')
		return false;
	return strcmp(text, "/") == 0 || (text[1] && manifest_path_valid(text + 1, strlen(text + 1)));
}

static bool folder_valid(const char *text)
{
	return text[0] == '/' && strlen(text) <= TEXT_MAX;
}

static bool profile_valid(const char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++)
		if (!is_alnum(text[i]) && !(text[i] >= 'A' && text[i] <= 'Z') && !strchr("-_./", text[i]))
			return false;
	return len > 0 && len <= DATASET_LABEL_MAX;
}

static bool url_valid(const char *text)
{
	return http_url_wrong(text) == NULL;
}

static bool prefix_valid(const char *text)
{
	return text[0] != '/' && strlen(text) <= 1024;
}

static const struct text_rule {
	enum field_id id;
	bool (*valid)(const char *text);
	const char *right;
} text_rules[] = {
	{F_NAME, dataset_label_valid, "a DNS label: 1 to 63 of a-z, 0-9 and '-'"},
	{F_NAMESPACE, dataset_label_valid, "a DNS label: 1 to 63 of a-z, 0-9 and '-'"},
	{F_MOUNT_PATH, mount_path_valid, "an absolute path like / or /labels"},
	{F_BUCKET, bucket_valid, "the name of a bucket: 3 to 63 letters, digits, '-', '.' and '_'"},
	{F_PREFIX, prefix_valid, "a prefix of keys: no slash at its start, at most 1024 bytes"},
	{F_REGION, dataset_label_valid, "a region like eu-west-1"},
	{F_ENDPOINT, endpoint_valid, "a URL like https://host:port, without a path"},
	{F_PROFILE_NAME, profile_valid, "the name of a profile: letters, digits, '-', '_', '.' and '/'"},
	{F_CA_SECRET_NAME, dataset_subdomain_valid, "the name of a Secret: a-z, 0-9, '-' and '.'"},
	{F_PROXY, endpoint_valid, "a URL like http://host:port, without a path"},
	{F_HTTP_URL, url_valid, "a URL like https://host/folder/, without a user name or a fragment"},
	{F_FILE_PATH, folder_valid, "an absolute path"},
	{F_SECRET_NAME, dataset_subdomain_valid, "the name of a Secret: a-z, 0-9, '-' and '.'"},
};

static int check_text(enum field_id id, const char *text, struct err *err)
{
	for (size_t i = 0; i < LENGTH(text_rules); i++)
		if (text_rules[i].id == id && !text_rules[i].valid(text))
			return err_set(err, -EINVAL, "\"%.64s\" is not %s", text, text_rules[i].right);
	return 0;
}

/* ---- where a value lies ---- */

static char **text_slot(struct dataset *d, struct dataset_source *s, enum field_id id)
{
	switch ((int)id) {
	case F_NAME:
		return &d->name;
	case F_NAMESPACE:
		return &d->namespace_;
	case F_MOUNT_PATH:
		return &s->mount_path;
	case F_BUCKET:
		return &s->s3.bucket;
	case F_PREFIX:
		return &s->s3.prefix;
	case F_REGION:
		return &s->s3.region;
	case F_ENDPOINT:
		return &s->s3.endpoint;
	case F_PROFILE_NAME:
		return &s->s3.profile;
	case F_CA_SECRET_NAME:
		return &s->s3.ca_secret;
	case F_PROXY:
		return &s->s3.proxy;
	case F_HTTP_URL:
		return &s->http.url;
	case F_FILE_PATH:
		return &s->file.path;
	case F_SECRET_NAME:
		return &s->secret;
	default:
		return NULL;
	}
}

static struct dataset_list *list_slot(struct dataset *d, struct dataset_source *s, enum field_id id)
{
	switch ((int)id) {
	case F_INCLUDE:
		return &s->include;
	case F_EXCLUDE:
		return &s->exclude;
	case F_SYNC_PATHS:
		return &d->sync.paths;
	case F_PRELOAD_PATHS:
		return &d->preload.paths;
	default:
		CHECK(false); /* a list of the table without a place here */
		return NULL;
	}
}

static void put_number(struct dataset *d, struct dataset_source *s, enum field_id id, int64_t v)
{
	switch ((int)id) {
	case F_ADDRESSING:
		s->s3.addressing = (enum source_addressing)v;
		break;
	case F_CONNECTIONS:
		s->s3.connections = (uint32_t)v;
		break;
	case F_REQUESTS_PER_SECOND:
		s->s3.requests_per_second = (uint64_t)v;
		break;
	case F_BANDWIDTH:
		s->s3.bandwidth = (uint64_t)v;
		break;
	case F_SYMLINKS:
		s->file.symlinks = (enum source_symlinks)v;
		break;
	case F_HTTP_INDEX:
		s->http.index = (enum source_index)v;
		break;
	case F_ANONYMOUS:
		s->anonymous = v != 0;
		break;
	case F_TIMEOUT:
		s->timeout_ns = v;
		break;
	case F_VERSION:
		d->version = (uint64_t)v;
		break;
	case F_SYNC_INTERVAL:
		d->sync.interval_ns = v;
		break;
	case F_RETENTION_VERSIONS:
		d->retention.versions = (uint32_t)v;
		break;
	case F_RETENTION_AGE:
		d->retention.age_ns = v;
		break;
	case F_QUOTA:
		d->cache.quota_bytes = (uint64_t)v;
		break;
	case F_FLOOR:
		d->cache.floor_bytes = (uint64_t)v;
		break;
	case F_PIN:
		d->cache.pin = v != 0;
		break;
	case F_TTL:
		d->cache.ttl_ns = v;
		break;
	case F_PRELOAD_BANDWIDTH:
		d->preload.bandwidth = (uint64_t)v;
		break;
	case F_UID:
		d->access.uid = (uint32_t)v;
		break;
	case F_GID:
		d->access.gid = (uint32_t)v;
		break;
	case F_MODE:
		d->access.mode = (uint16_t)v;
		break;
	case F_PROFILE:
		d->volume.profile = (Larder__V1__Volume__Profile)v;
		break;
	case F_OPEN_WAIT:
		d->volume.open_wait_ns = v;
		break;
	default: /* accepted, and kept by nobody yet */
		break;
	}
}

static struct dataset_source *source_at(struct dataset *d, size_t source, enum field_id id)
{
	if (!field_of_source(id))
		return NULL;
	CHECK(source < d->source_count);
	return &d->sources[source];
}

/* ---- assigning ---- */

/* The form that is kept: a prefix ends in a slash, endpoints and folders do not. */
static char *normal_text(enum field_id id, const char *text)
{
	size_t len = strlen(text);

	if (id == F_PREFIX && len > 0 && text[len - 1] != '/')
		return mem_printf("%s/", text);
	while ((id == F_ENDPOINT || id == F_FILE_PATH) && len > 1 && text[len - 1] == '/')
		len--;
	return mem_strndup(text, len);
}

static int assign_text(struct dataset *d, size_t source, enum field_id id, const char *text, struct err *err)
{
	char **slot = text_slot(d, source_at(d, source, id), id);
	int r = check_text(id, text, err);
	if (r != 0 || !slot)
		return r;
	char *copy = normal_text(id, text);
	if (!copy)
		return err_set(err, -ENOMEM, "out of memory");
	(void)mem_free(*slot);
	*slot = copy;
	return 0;
}

int dataset_assign_number(struct dataset *d, size_t source, enum field_id id, int64_t v, struct err *err)
{
	int r = field_number_check(id, v, err);
	if (r == 0)
		put_number(d, source_at(d, source, id), id, v);
	return r;
}

int dataset_assign(struct dataset *d, size_t source, enum field_id id, const char *text, struct err *err)
{
	int64_t v;
	int r;

	if (field_get(id)->type == FIELD_TYPE_TEXT)
		return assign_text(d, source, id, text, err);
	r = field_get(id)->type == FIELD_TYPE_ENUM ? field_enum(id, text, &v, err)
						   : field_number(id, text, &v, err);
	if (r == 0)
		put_number(d, source_at(d, source, id), id, v);
	return r;
}

int dataset_list_add(struct dataset_list *l, const char *text, size_t max)
{
	if (l->count >= max)
		return -E2BIG;
	char **items = mem_resize(l->items, l->count + 1, sizeof *items);
	if (!items)
		return -ENOMEM;
	l->items = items;
	l->items[l->count] = mem_strdup(text);
	if (!l->items[l->count])
		return -ENOMEM;
	l->count++;
	return 0;
}

static int add_tier(struct dataset *d, const char *text, struct err *err)
{
	int64_t place;
	int r = field_enum(F_TIERS, text, &place, err);
	if (r != 0)
		return r;
	enum dataset_tier tier = place == 0 ? DATASET_TIER_NVME : DATASET_TIER_DRAM;
	for (size_t i = 0; i < d->cache.tier_count; i++)
		if (d->cache.tiers[i] == tier)
			return err_set(err, -EINVAL, "%s stands there twice", text);
	d->cache.tiers[d->cache.tier_count++] = tier;
	return 0;
}

int dataset_assign_item(struct dataset *d, size_t source, enum field_id id, const char *text, struct err *err)
{
	if (id == F_TIERS)
		return add_tier(d, text, err);
	const char *wrong = glob_error(text);
	if (wrong)
		return err_set(err, -EINVAL, "the pattern \"%.64s\" %s", text, wrong);
	int r = dataset_list_add(list_slot(d, source_at(d, source, id), id), text, DATASET_LIST_MAX);
	if (r == -E2BIG)
		return err_set(err, -EINVAL, "has more than %d patterns", DATASET_LIST_MAX);
	return r == 0 ? 0 : err_set(err, r, "out of memory");
}

int dataset_assign_kind(struct dataset *d, size_t source, enum field_id id, struct err *err)
{
	struct dataset_source *s = source_at(d, source, id);
	enum source_kind kind = id == F_S3 ? SOURCE_S3 : id == F_HTTP ? SOURCE_HTTP : SOURCE_FILE;
	static const char *const names[] = {
		[SOURCE_S3] = "s3", [SOURCE_HTTP] = "http", [SOURCE_FILE] = "file"};

	CHECK(id == F_S3 || id == F_HTTP || id == F_FILE);
	if (s->kind && s->kind != kind)
		return err_set(err, -EINVAL, "a source has exactly one store; this one has %s and %s",
			       names[MIN(s->kind, kind)], names[MAX(s->kind, kind)]);
	s->kind = kind;
	return 0;
}

int dataset_note_unacted(struct dataset *d, const char *path)
{
	return dataset_list_add(&d->unacted, path, FIELD_COUNT * DATASET_SOURCES_MAX);
}

/* ---- making ---- */

static int assign_defaults(struct dataset *d, size_t source, bool of_source)
{
	for (size_t i = 0; i < FIELD_COUNT; i++) {
		enum field_id id = (enum field_id)i;
		const char *fallback = field_get(id)->fallback;
		if (!fallback || field_of_source(id) != of_source)
			continue;
		int r = dataset_assign(d, source, id, fallback, NULL);
		CHECK(r == 0 || r == -ENOMEM); /* the table's own defaults are valid */
		if (r != 0)
			return r;
	}
	return 0;
}

struct dataset *dataset_new(void)
{
	CLEANUP(dataset_free) struct dataset *d = mem_calloc(1, sizeof *d);
	if (!d || assign_defaults(d, 0, false) != 0)
		return NULL;
	return TAKE(d);
}

int dataset_add_source(struct dataset *d, struct err *err)
{
	if (d->source_count >= DATASET_SOURCES_MAX)
		return err_set(err, -EINVAL, "has more than %d sources", DATASET_SOURCES_MAX);
	struct dataset_source *sources = mem_resize(d->sources, d->source_count + 1, sizeof *sources);
	if (!sources)
		return err_set(err, -ENOMEM, "out of memory");
	d->sources = sources;
	sources[d->source_count++] = (struct dataset_source){0};
	int r = assign_defaults(d, d->source_count - 1, true);
	return r == 0 ? 0 : err_set(err, r, "out of memory");
}

/* ---- what no single field tells ---- */

static int check_http(const struct dataset_source *s, size_t i, struct err *err)
{
	const char *url = s->http.url;

	if (!url)
		return err_set(err, -EINVAL, "spec.sources[%zu].http.url is missing", i);
	bool folder = url[strlen(url) - 1] == '/';
	if (s->http.index == SOURCE_INDEX_NGINX && !folder)
		return err_set(
			err, -EINVAL,
			"spec.sources[%zu].http.url must end in a slash, as index: Nginx reads folders", i);
	if (s->http.index == SOURCE_INDEX_SINGLE && folder)
		return err_set(
			err, -EINVAL,
			"spec.sources[%zu].http.url must be that of a file, as index: Single reads one", i);
	return 0;
}

static int check_store(const struct dataset *d, size_t i, struct err *err)
{
	const struct dataset_source *s = &d->sources[i];

	switch (s->kind) {
	case SOURCE_S3:
		if (!s->s3.bucket)
			return err_set(err, -EINVAL, "spec.sources[%zu].s3.bucket is missing", i);
		if (s->s3.profile && (s->secret || s->anonymous))
			return err_set(err, -EINVAL,
				       "spec.sources[%zu] has s3.profile beside %s; it takes one of them", i,
				       s->secret ? "secretRef" : "anonymous: true");
		return 0;
	case SOURCE_HTTP:
		return check_http(s, i, err);
	case SOURCE_FILE:
		return s->file.path ? 0 : err_set(err, -EINVAL, "spec.sources[%zu].file.path is missing", i);
	default:
		return err_set(err, -EINVAL,
			       "spec.sources[%zu] has no store; it needs exactly one of: s3, http, file", i);
	}
}

static int check_source(const struct dataset *d, size_t i, struct err *err)
{
	const struct dataset_source *s = &d->sources[i];
	int r = check_store(d, i, err);

	if (r != 0)
		return r;
	if (s->secret && s->anonymous)
		return err_set(
			err, -EINVAL,
			"spec.sources[%zu] has both secretRef and anonymous: true; it takes one of them", i);
	for (size_t j = 0; j < i; j++)
		if (strcmp(d->sources[j].mount_path, s->mount_path) == 0)
			return err_set(err, -EINVAL,
				       "spec.sources[%zu].mountPath \"%s\" is that of spec.sources[%zu] too",
				       i, s->mount_path, j);
	return 0;
}

int dataset_check(const struct dataset *d, size_t *ret_source, struct err *err)
{
	*ret_source = SIZE_MAX;
	if (!d->name)
		return err_set(err, -EINVAL, "metadata.name is missing");
	if (d->source_count == 0)
		return err_set(err, -EINVAL, "spec.sources is missing; a Dataset needs at least one source");
	if (d->cache.quota_bytes && d->cache.floor_bytes > d->cache.quota_bytes)
		return err_set(
			err, -EINVAL,
			"spec.cache.floor is %llu bytes and spec.cache.quota %llu; a floor is at most the quota",
			(unsigned long long)d->cache.floor_bytes, (unsigned long long)d->cache.quota_bytes);
	for (size_t i = 0; i < d->source_count; i++) {
		*ret_source = i;
		int r = check_source(d, i, err);
		if (r != 0)
			return r;
	}
	return 0;
}
