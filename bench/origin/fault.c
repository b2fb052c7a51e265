#include "bench/origin/fault.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"

struct rule {
	char match[256];
	int64_t times; /* left; -1: for ever */
	struct fault fault;
};

struct faults {
	pthread_mutex_t lock; /* guards the rules */
	struct rule rules[FAULT_RULES_MAX];
	size_t count;
	atomic_bool any; /* spares the lock */
};

int faults_new(struct faults **ret)
{
	struct faults *f = mem_calloc(1, sizeof *f);

	if (!f)
		return -ENOMEM;
	(void)pthread_mutex_init(&f->lock, NULL);
	*ret = f;
	return 0;
}

struct faults *faults_free(struct faults *f)
{
	if (!f)
		return NULL;
	(void)pthread_mutex_destroy(&f->lock);
	return mem_free(f);
}

static bool take_text(const cJSON *v, char *out, size_t size)
{
	return cJSON_IsString(v) && (size_t)snprintf(out, size, "%s", v->valuestring) < size;
}

static bool take_flag(const cJSON *v, bool *ret)
{
	*ret = cJSON_IsTrue(v);
	return cJSON_IsBool(v);
}

static bool take_number(const cJSON *v, int64_t max, int64_t *ret)
{
	if (!cJSON_IsNumber(v) || v->valuedouble < 0 || v->valuedouble > (double)max)
		return false;
	*ret = (int64_t)v->valuedouble;
	return true;
}

static bool take_list(const cJSON *v, struct fault *f)
{
	static const char *const words[] = {"turned", "twice", "endless", "hollow"};

	for (size_t i = 0; i < LENGTH(words); i++)
		if (cJSON_IsString(v) && strcmp(v->valuestring, words[i]) == 0)
			return take_text(v, f->list, sizeof f->list);
	return false;
}

static bool take_word(struct rule *r, const cJSON *v)
{
	struct fault *f = &r->fault;
	const struct {
		const char *name;
		bool *flag;
	} flags[] = {
		{"wrong_etag", &f->wrong_etag}, {"wrong_range", &f->wrong_range},
		{"wrong_size", &f->wrong_size}, {"ignore_range", &f->ignore_range},
		{"stall", &f->stall},           {"close", &f->close},
	};
	int64_t n = 0;

	for (size_t i = 0; i < LENGTH(flags); i++)
		if (strcmp(v->string, flags[i].name) == 0)
			return take_flag(v, flags[i].flag);
	if (strcmp(v->string, "match") == 0)
		return take_text(v, r->match, sizeof r->match);
	if (strcmp(v->string, "code") == 0)
		return take_text(v, f->code, sizeof f->code);
	if (strcmp(v->string, "body") == 0)
		return take_text(v, f->body, sizeof f->body);
	if (strcmp(v->string, "list") == 0)
		return take_list(v, f);
	if (strcmp(v->string, "times") == 0)
		return take_number(v, INT32_MAX, &r->times);
	if (strcmp(v->string, "truncate_at") == 0)
		return take_number(v, INT64_C(1) << 50, &f->truncate_at);
	bool status = strcmp(v->string, "status") == 0, after = strcmp(v->string, "retry_after") == 0;
	bool delay = strcmp(v->string, "delay_ms") == 0;
	if (!(status || after || delay) || !take_number(v, delay ? 3600000 : 999, &n))
		return false;
	if (status)
		f->status = (int)n;
	else if (after)
		f->retry_after_s = (int)n;
	else
		f->delay_ms = (uint32_t)n;
	return !status || n >= 200;
}

int faults_add(struct faults *f, const char *json, size_t len)
{
	struct rule r = {.times = -1, .fault = {.truncate_at = -1, .retry_after_s = -1}};
	cJSON *root = cJSON_ParseWithLength(json, len);
	bool good = cJSON_IsObject(root);

	for (const cJSON *v = good ? root->child : NULL; v && good; v = v->next)
		good = take_word(&r, v);
	cJSON_Delete(root);
	if (!good)
		return -EINVAL;
	pthread_mutex_lock(&f->lock);
	int rc = f->count < FAULT_RULES_MAX ? 0 : -ENOSPC;
	if (rc == 0)
		f->rules[f->count++] = r;
	atomic_store(&f->any, f->count > 0);
	pthread_mutex_unlock(&f->lock);
	return rc;
}

void faults_clear(struct faults *f)
{
	pthread_mutex_lock(&f->lock);
	f->count = 0;
	atomic_store(&f->any, false);
	pthread_mutex_unlock(&f->lock);
}

bool faults_take(struct faults *f, const char *subject, struct fault *ret)
{
	bool found = false;

	if (!atomic_load(&f->any))
		return false;
	pthread_mutex_lock(&f->lock);
	for (size_t i = 0; i < f->count && !found; i++) {
		struct rule *r = &f->rules[i];
		if (r->times == 0 || !strstr(subject, r->match))
			continue;
		r->times -= r->times > 0;
		*ret = r->fault;
		found = true;
	}
	pthread_mutex_unlock(&f->lock);
	return found;
}
