#include "operator-shim/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fd.h"
#include "common/base/log.h"
#include "common/base/mem.h"

struct known {
	char *name;          /* owned */
	struct hash256 hash; /* of the content last taken */
	bool good;           /* the content of that hash was taken */
	bool seen;           /* in this scan */
	char error[512];     /* last logged; "" when good */
};

struct files {
	int dir_fd;
	struct reconcile *reconcile;
	struct known *known;
	size_t count;
};

int files_new(int dir_fd, struct reconcile *reconcile, struct files **ret)
{
	struct files *f = mem_calloc(1, sizeof *f);
	if (!f)
		return -ENOMEM;
	f->dir_fd = dir_fd;
	f->reconcile = reconcile;
	*ret = f;
	return 0;
}

struct files *files_free(struct files *f)
{
	if (!f)
		return NULL;
	for (size_t i = 0; i < f->count; i++)
		(void)mem_free(f->known[i].name);
	(void)mem_free(f->known);
	return mem_free(f);
}

size_t files_bad(const struct files *f)
{
	size_t bad = 0;

	for (size_t i = 0; i < f->count; i++)
		bad += f->known[i].error[0] != 0;
	return bad;
}

static int is_manifest(const struct dirent *e)
{
	const char *dot = strrchr(e->d_name, '.');
	return e->d_name[0] != '.' && dot &&
	       (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0 || strcmp(dot, ".json") == 0);
}

/* Finds or makes; NULL when out of memory. */
static struct known *need_known(struct files *f, const char *name)
{
	for (size_t i = 0; i < f->count; i++)
		if (strcmp(f->known[i].name, name) == 0)
			return &f->known[i];
	struct known *known = mem_resize(f->known, f->count + 1, sizeof *known);
	if (!known)
		return NULL;
	f->known = known;
	known[f->count] = (struct known){.name = mem_strdup(name)};
	return known[f->count].name ? &known[f->count++] : NULL;
}

static void note_error(struct known *k, int status, const struct err *err)
{
	const char *words = err_words(err, status);

	if (strcmp(k->error, words) == 0)
		return;
	(void)strncpy(k->error, words, sizeof k->error - 1);
	log_write(LOG_ERROR, "file refused, its last good state stays", LOG_STR("file", k->name),
		  LOG_STR("error", words), NULL);
}

static void log_unacted(const struct dataset_file *content)
{
	for (size_t i = 0; i < content->dataset_count; i++)
		for (size_t j = 0; j < content->datasets[i]->unacted.count; j++)
			log_write(LOG_WARN, "field is not acted on yet",
				  LOG_STR("dataset", content->datasets[i]->name),
				  LOG_STR("field", content->datasets[i]->unacted.items[j]), NULL);
}

static int take_text(struct files *f, struct known *k, const char *text, size_t len, uint64_t now,
		     struct err *err)
{
	struct dataset_file *content;
	struct hash256 hash = hash256_of(text, len);

	if (k->good && !k->error[0] && hash256_compare(&hash, &k->hash) == 0)
		return 0;
	int r = dataset_file_parse(k->name, text, len, &content, err);
	if (r != 0)
		return r;
	r = reconcile_file(f->reconcile, k->name, content, now, err);
	if (r != 0) {
		(void)dataset_file_free(content);
		return r;
	}
	log_write(LOG_INFO, "file read", LOG_STR("file", k->name),
		  LOG_INT("datasets", content->dataset_count), LOG_INT("secrets", content->secret_count),
		  NULL);
	log_unacted(content);
	k->hash = hash;
	k->good = true;
	k->error[0] = 0;
	return 0;
}

static void read_one(struct files *f, struct known *k, uint64_t now)
{
	struct err err = {0};
	char *text = NULL;
	size_t len = 0;
	int r = fd_read_file(f->dir_fd, k->name, DATASET_TEXT_MAX, &text, &len);

	if (r != 0)
		(void)err_set(&err, r, "%s: cannot be read: %s", k->name, err_text(r));
	else
		r = take_text(f, k, text, len, now, &err);
	if (text)
		explicit_bzero(text, len); /* it may hold secrets */
	(void)mem_free(text);
	if (r != 0)
		note_error(k, r, &err);
}

static void forget_gone(struct files *f, uint64_t now)
{
	size_t kept = 0;

	for (size_t i = 0; i < f->count; i++) {
		struct known *k = &f->known[i];
		if (k->seen) {
			f->known[kept++] = *k;
			continue;
		}
		log_write(LOG_INFO, "file gone", LOG_STR("file", k->name), NULL);
		(void)!reconcile_file(f->reconcile, k->name, NULL, now, NULL); /* removing cannot fail */
		(void)mem_free(k->name);
	}
	f->count = kept;
}

int files_scan(struct files *f, uint64_t now)
{
	struct dirent **names;
	int count = scandirat(f->dir_fd, ".", &names, is_manifest, alphasort);
	if (count < 0)
		return -errno;
	for (size_t i = 0; i < f->count; i++)
		f->known[i].seen = false;
	for (int i = 0; i < count; i++) {
		struct known *k = i < FILES_MAX ? need_known(f, names[i]->d_name) : NULL;
		if (k)
			k->seen = true;
	}
	/* Files that are gone first: what they named may stand in another now. */
	forget_gone(f, now);
	for (size_t i = 0; i < f->count; i++)
		read_one(f, &f->known[i], now);
	if (count > FILES_MAX)
		log_write(LOG_ERROR, "too many files, the last by name are not read", LOG_INT("files", count),
			  LOG_INT("most", FILES_MAX), NULL);
	for (int i = 0; i < count; i++)
		free(names[i]); /* scandir's own allocation */
	free(names);
	return 0;
}
