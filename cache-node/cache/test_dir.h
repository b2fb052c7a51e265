/*
 * test_dir - a temporary folder for a test, removed with all it holds. Included by tests only.
 */
#ifndef CACHE_NODE_CACHE_TEST_DIR_H
#define CACHE_NODE_CACHE_TEST_DIR_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/attr.h"

/* A new folder; the string is the caller's until test_dir_free(). */
static inline char *test_dir_new(void)
{
	char template[256];
	const char *tmp = getenv("TMPDIR");
	(void)snprintf(template, sizeof template, "%s/larder-test-XXXXXX", tmp ? tmp : "/tmp");
	char *dir = mkdtemp(template);
	CHECK(dir);
	char *copy = malloc(sizeof template);
	CHECK(copy);
	(void)snprintf(copy, sizeof template, "%s", dir);
	return copy;
}

static inline int test_dir_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void test_dir_free(char *dir)
{
	CHECK(nftw(dir, test_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
	free(dir);
}

/* DIR/folder/name; the string is reused by the next call. */
static inline const char *test_dir_path(const char *dir, const char *folder, const char *name)
{
	static char path[4096];
	(void)snprintf(path, sizeof path, "%s/%s/%s", dir, folder, name);
	return path;
}

#endif
