#include "bench/origin/store.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/origin/synthetic.h"
#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/mem.h"

enum { OBJECTS_MAX = 20 * 1000 * 1000 };

struct made_up {
	char *path; /* "bucket/key" */
	uint64_t size;
};

/* What the folders of a bucket held at the last look: keys below the bucket, sorted. */
struct look {
	char *bucket;
	char **keys;
	size_t count, room;
};

struct store {
	int (*order)(const char *a, const char *b);
	char *root;
	int root_fd;
	uint8_t *pattern;
	struct made_up *objects; /* sorted by path once `sorted` */
	size_t count, room;
	pthread_mutex_t lock; /* guards looks and sorted */
	bool sorted;
	struct look looks[16]; /* the oldest makes room */
	size_t look_next;
	atomic_uint temp_count;
};

/* As strcmp(), but '/' is before every other byte. */
static int compare_by_folders(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	int x = *a == '/' ? 1
		: *a      ? (unsigned char)*a + 1
			  : 0,
	    y = *b == '/' ? 1
		: *b      ? (unsigned char)*b + 1
			  : 0;
	return x - y;
}

int store_new(const char *root, bool by_folders, struct store **ret)
{
	struct store *s = mem_calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	s->order = by_folders ? compare_by_folders : strcmp;
	(void)pthread_mutex_init(&s->lock, NULL);
	s->root_fd = root ? open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int rc = root && s->root_fd < 0 ? -errno : 0;
	s->root = root ? mem_strdup(root) : NULL;
	s->pattern = mem_alloc(SYNTHETIC_BYTES);
	if (rc == 0 && ((root && !s->root) || !s->pattern))
		rc = -ENOMEM;
	if (rc < 0) {
		(void)store_free(s);
		return rc;
	}
	synthetic_fill_pattern(s->pattern);
	*ret = s;
	return 0;
}

static void look_done(struct look *l)
{
	for (size_t i = 0; i < l->count; i++)
		mem_free(l->keys[i]);
	mem_free(l->keys);
	mem_free(l->bucket);
	*l = (struct look){0};
}

struct store *store_free(struct store *s)
{
	if (!s)
		return NULL;
	for (size_t i = 0; i < LENGTH(s->looks); i++)
		look_done(&s->looks[i]);
	for (size_t i = 0; i < s->count; i++)
		mem_free(s->objects[i].path);
	mem_free(s->objects);
	mem_free(s->pattern);
	mem_free(s->root);
	s->root_fd = fd_close(s->root_fd);
	(void)pthread_mutex_destroy(&s->lock);
	return mem_free(s);
}

const uint8_t *store_pattern(const struct store *s)
{
	return s->pattern;
}

/* ---- made-up objects ---- */

static int parse_size(const char *text, char **ret_end, uint64_t *ret)
{
	static const char units[] = "KMGT";

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	uint64_t v = strtoull(text, ret_end, 10);
	const char *unit = **ret_end ? strchr(units, **ret_end) : NULL;
	int shift = unit ? (int)(unit - units + 1) * 10 : 0;
	if (errno || v > (uint64_t)INT64_MAX >> shift)
		return -EINVAL;
	*ret_end += unit != NULL;
	*ret = v << shift;
	return 0;
}

static int add_one(struct store *s, char *path, uint64_t size)
{
	if (!path)
		return -ENOMEM;
	if (s->count == s->room) {
		size_t room = MAX(64u, s->room * 2);
		struct made_up *more = mem_resize(s->objects, room, sizeof *more);
		if (!more) {
			mem_free(path);
			return -ENOMEM;
		}
		s->objects = more;
		s->room = room;
	}
	s->objects[s->count++] = (struct made_up){.path = path, .size = size};
	s->sorted = false;
	return 0;
}

int store_add(struct store *s, const char *spec)
{
	const char *colon = strrchr(spec, ':'), *slash = strchr(spec, '/');
	uint64_t size, count = 1;
	char *end;

	if (!colon || !slash || slash == spec || slash + 1 >= colon || colon - spec > STORE_KEY_MAX - 16 ||
	    parse_size(colon + 1, &end, &size) < 0)
		return -EINVAL;
	bool many = *end == 'x';
	if (many && parse_size(end + 1, &end, &count) < 0)
		return -EINVAL;
	if (*end || count > OBJECTS_MAX - s->count)
		return -EINVAL;
	int rc = 0, len = (int)(colon - spec);
	for (uint64_t i = 0; i < count && rc == 0; i++)
		rc = add_one(s,
			     many ? mem_printf("%.*s-%07llu", len, spec, (unsigned long long)i)
				  : mem_strndup(spec, (size_t)len),
			     size);
	return rc;
}

static int compare_made_up(const void *a, const void *b, void *s)
{
	return ((struct store *)s)
		->order(((const struct made_up *)a)->path, ((const struct made_up *)b)->path);
}

static void sort_once(struct store *s)
{
	pthread_mutex_lock(&s->lock);
	if (!s->sorted && s->count > 0)
		qsort_r(s->objects, s->count, sizeof *s->objects, compare_made_up, s);
	s->sorted = true;
	pthread_mutex_unlock(&s->lock);
}

void store_change(struct store *s, uint64_t count, uint64_t seed)
{
	sort_once(s);
	for (uint64_t i = 0; i < count && s->count > 0; i++)
		s->objects[synthetic_mix(seed + i) % s->count].size++;
}

/* Index of the first made-up object whose path is not before @path. */
static size_t lower_bound(const struct store *s, const char *path)
{
	size_t low = 0, high = s->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (s->order(s->objects[mid].path, path) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static char *put_hex(char *out, uint64_t v)
{
	for (int shift = 60; shift >= 0; shift -= 4)
		*out++ = "0123456789abcdef"[v >> shift & 15];
	return out;
}

static void describe(const struct made_up *m, struct store_object *ret)
{
	*ret = (struct store_object){.size = m->size, .mtime_ns = 1700000000 * NS_PER_S, .fd = -1};
	ret->key = synthetic_key(m->path);
	*put_hex(put_hex(ret->etag, ret->key), synthetic_mix(m->size)) = '\0';
}

/* ---- files ---- */

static void describe_file(const struct stat *st, struct store_object *ret)
{
	*ret = (struct store_object){.size = (uint64_t)st->st_size, .fd = -1};
	ret->mtime_ns = (int64_t)st->st_mtim.tv_sec * NS_PER_S + st->st_mtim.tv_nsec;
	uint64_t a = synthetic_mix((uint64_t)ret->mtime_ns ^ st->st_ino << 32),
		 b = synthetic_mix(a + ret->size);
	(void)snprintf(ret->etag, sizeof ret->etag, "%016llx%016llx", (unsigned long long)a,
		       (unsigned long long)b);
}

/* No component that leads elsewhere. A trailing slash is left to the caller. */
static bool safe_path(const char *path)
{
	for (const char *p = path;;) {
		size_t len = strcspn(p, "/");
		if (len == 0 ? p[len] != '\0' : (len <= 2 && strspn(p, ".") >= len))
			return false;
		if (!p[len])
			return true;
		p += len + 1;
	}
}

int store_open(struct store *s, const char *path, struct store_object *ret)
{
	struct stat st;

	sort_once(s);
	size_t at = lower_bound(s, path);
	if (at < s->count && strcmp(s->objects[at].path, path) == 0) {
		describe(&s->objects[at], ret);
		return 0;
	}
	if (s->root_fd < 0 || !safe_path(path))
		return -ENOENT;
	CLEANUP(fd_close) int fd = openat(s->root_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return errno == ENOTDIR ? -ENOENT : -errno;
	bool marker = path[strlen(path) - 1] == '/';
	if (!S_ISREG(st.st_mode) && !(marker && S_ISDIR(st.st_mode)))
		return -ENOENT;
	describe_file(&st, ret);
	if (marker)
		ret->size = 0;
	ret->fd = fd_take(&fd);
	return 0;
}

bool store_has_bucket(struct store *s, const char *bucket)
{
	char path[STORE_KEY_MAX + 2];
	struct stat st;

	sort_once(s);
	(void)snprintf(path, sizeof path, "%s/", bucket);
	size_t at = lower_bound(s, path);
	if (at < s->count && strncmp(s->objects[at].path, path, strlen(path)) == 0)
		return true;
	return s->root_fd >= 0 && safe_path(bucket) && fstatat(s->root_fd, bucket, &st, 0) == 0 &&
	       S_ISDIR(st.st_mode);
}

/* ---- listings ---- */

static int compare_keys(const void *a, const void *b, void *s)
{
	return ((struct store *)s)->order(*(char *const *)a, *(char *const *)b);
}

static int look_add(struct look *l, const char *key, bool marker)
{
	if (l->count == l->room) {
		size_t room = MAX(256u, l->room * 2);
		char **more = mem_resize(l->keys, room, sizeof *more);
		if (!more)
			return -ENOMEM;
		l->keys = more;
		l->room = room;
	}
	l->keys[l->count] = mem_printf("%s%s", key, marker ? "/" : "");
	if (!l->keys[l->count])
		return -ENOMEM;
	l->count++;
	return 0;
}

/* Files, and empty folders as the markers "a/" that S3 tools make of them. */
static int look_into(struct look *l, char *folder)
{
	char *const roots[] = {folder, NULL};
	size_t skip = strlen(folder) + 1;
	int rc = 0;
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);

	if (!fts)
		return -errno;
	for (FTSENT *e; rc == 0 && (e = fts_read(fts));) {
		if (e->fts_info == FTS_F)
			rc = look_add(l, e->fts_path + skip, false);
		else if (e->fts_info == FTS_D)
			e->fts_number = (long)l->count; /* nothing was added by its end: empty */
		else if (e->fts_info == FTS_DP && e->fts_level > 0 && (size_t)e->fts_number == l->count)
			rc = look_add(l, e->fts_path + skip, true);
	}
	(void)fts_close(fts);
	return rc;
}

/* The look of @bucket, perhaps a new one. Under the lock. NULL: no such folder. */
static const struct look *look_at(struct store *s, const char *bucket, bool fresh)
{
	struct look *l = NULL, now = {0};

	for (size_t i = 0; i < LENGTH(s->looks); i++)
		if (s->looks[i].bucket && strcmp(s->looks[i].bucket, bucket) == 0)
			l = &s->looks[i];
	if (l && !fresh)
		return l;
	if (s->root_fd < 0 || !safe_path(bucket))
		return NULL;
	CLEANUP(free_str) char *folder = mem_printf("%s/%s", s->root, bucket);
	now.bucket = mem_strdup(bucket);
	if (!folder || !now.bucket || look_into(&now, folder) < 0) {
		look_done(&now);
		return NULL;
	}
	if (now.count > 0)
		qsort_r(now.keys, now.count, sizeof *now.keys, compare_keys, s);
	if (!l)
		l = &s->looks[s->look_next++ % LENGTH(s->looks)];
	look_done(l);
	*l = now;
	return l;
}

static void emit_file(struct store *s, const struct store_list *list, const char *key)
{
	struct store_object o;
	struct stat st;
	CLEANUP(free_str) char *path = mem_printf("%s/%s", list->bucket, key);

	if (!path || fstatat(s->root_fd, path, &st, 0) < 0)
		return; /* it went since the look */
	describe_file(&st, &o);
	if (key[strlen(key) - 1] == '/')
		o.size = 0;
	list->entry(list->ctx, key, &o);
}

static bool wanted(const struct store *s, const struct store_list *list, const char *key)
{
	return (!list->after || s->order(key, list->after) > 0) &&
	       strncmp(key, list->prefix, strlen(list->prefix)) == 0;
}

static const char *start_of(const struct store *s, const struct store_list *list)
{
	return list->after && s->order(list->after, list->prefix) > 0 ? list->after : list->prefix;
}

/* Whether @key and those after it cannot begin with the prefix. */
static bool is_past(const struct store *s, const struct store_list *list, const char *key, size_t prefix_len)
{
	return strncmp(key, list->prefix, prefix_len) != 0 && s->order(key, list->prefix) > 0;
}

/* First key of the look that could be wanted. */
static size_t look_start(const struct store *s, const struct look *l, const struct store_list *list)
{
	const char *from = start_of(s, list);
	size_t low = 0, high = l ? l->count : 0;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (s->order(l->keys[mid], from) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Merges the look and the made-up objects, both sorted. */
static bool merge(struct store *s, const struct store_list *list, const struct look *l, size_t at)
{
	size_t skip = strlen(list->bucket) + 1, i = look_start(s, l, list), sent = 0,
	       files = l ? l->count : 0;
	size_t prefix_len = strlen(list->prefix);

	for (;;) {
		const char *file = i < files ? l->keys[i] : NULL, *made = NULL;
		if (file && is_past(s, list, file, prefix_len))
			file = NULL;
		if (at < s->count && strncmp(s->objects[at].path, list->bucket, skip - 1) == 0 &&
		    s->objects[at].path[skip - 1] == '/')
			made = s->objects[at].path + skip;
		if (made && is_past(s, list, made, prefix_len))
			made = NULL;
		if (!file && !made)
			return false;
		int order = !file ? 1 : !made ? -1 : s->order(file, made);
		const char *key = order < 0 ? file : made;
		if (wanted(s, list, key)) {
			if (sent++ == list->max)
				return true;
			struct store_object o;
			if (order < 0) {
				emit_file(s, list, key);
			} else {
				describe(&s->objects[at], &o);
				list->entry(list->ctx, key, &o);
			}
		}
		i += order <= 0;
		at += order >= 0;
	}
}

int store_list_run(struct store *s, const struct store_list *list, bool *ret_more)
{
	char path[2 * STORE_KEY_MAX + 2];
	const char *from = start_of(s, list);

	if (!store_has_bucket(s, list->bucket))
		return -ENOENT;
	(void)snprintf(path, sizeof path, "%s/%s", list->bucket, from);
	if (s->root_fd < 0) { /* made-up objects never change */
		*ret_more = merge(s, list, NULL, lower_bound(s, path));
		return 0;
	}
	pthread_mutex_lock(&s->lock);
	const struct look *l = look_at(s, list->bucket, list->fresh);
	*ret_more = merge(s, list, l, lower_bound(s, path));
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* ---- changes ---- */

int store_temp(struct store *s, char *ret_name, size_t size)
{
	if (s->root_fd < 0)
		return -EROFS;
	(void)snprintf(ret_name, size, ".upload-%d-%u", (int)getpid(), atomic_fetch_add(&s->temp_count, 1));
	int fd = openat(s->root_fd, ret_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	return fd < 0 ? -errno : fd;
}

void store_drop_temp(struct store *s, const char *temp_name)
{
	(void)unlinkat(s->root_fd, temp_name, 0); /* it may have been moved already */
}

static int make_parents(struct store *s, const char *path)
{
	char part[STORE_KEY_MAX + 1];

	(void)snprintf(part, sizeof part, "%s", path);
	for (char *p = part; (p = strchr(p, '/')); p++) {
		*p = '\0';
		if (mkdirat(s->root_fd, part, 0755) < 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	return 0;
}

int store_put(struct store *s, const char *temp_name, const char *path)
{
	if (!safe_path(path))
		return -EINVAL;
	int rc = make_parents(s, path);
	if (rc < 0)
		return rc;
	if (path[strlen(path) - 1] == '/')
		return 0; /* a marker: the folder is there now */
	return renameat(s->root_fd, temp_name, s->root_fd, path) < 0 ? -errno : 0;
}

int store_delete(struct store *s, const char *path)
{
	if (s->root_fd < 0 || !safe_path(path))
		return -ENOENT;
	return unlinkat(s->root_fd, path, 0) < 0 ? -errno : 0;
}
