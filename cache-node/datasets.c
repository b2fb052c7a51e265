/*
 * Locks: datasets.lock guards the list, the secrets and the saving; node_dataset.lock guards one dataset. The first is
 * taken before the second.
 *
 * Sources of a spec that was replaced live on until the dataset is freed: objects of open files point to them.
 */
#include "cache-node/datasets.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "cache-node/sync/sync.h"
#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/base/fd.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/base/mem.h"

#define SYNC_MEMORY     (32ULL << 20)
#define RETRY_FIRST_NS  (1 * NS_PER_S) /* after a failed sync; doubles */
#define RETRY_LAST_NS   (60 * NS_PER_S)
#define SOURCE_RETRY_NS (2 * NS_PER_S) /* after a source could not be made: the mounter may be on its way */
#define DATASETS_MAX    1024
#define ERROR_TEXT      512

/* The sources of one spec. */
struct source_set {
	struct source_set *older; /* of a replaced spec */
	struct dataset *spec;
	struct source *read[DATASET_SOURCES_MAX], *list[DATASET_SOURCES_MAX];
	char *domains[DATASET_SOURCES_MAX]; /* trust domains */
};

struct node_dataset {
	struct list link;
	struct datasets *all;
	char name[DATASET_FULL_MAX];
	uint32_t number; /* for the cache's statistics */
	uint32_t refs;   /* guarded by datasets.lock */
	int mounts;      /* guarded by datasets.lock */
	bool deleted;    /* guarded by datasets.lock: found by nobody */

	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t changed;
	struct source_set *set; /* never NULL */
	struct source_set
		*head_set; /* what the head's entries point into: of its spec, or of equal sources */
	Larder__V1__Dataset *message; /* as told, for saving */
	bool sources_ready;
	Larder__V1__DatasetStatus__Phase phase;
	char message_text[ERROR_TEXT]; /* why it is not ready, or what the last sync said */
	int last_error;
	struct catalog_head head; /* version 0: none */
	struct manifest_stats stats;
	struct sync_progress progress;
	uint64_t wanted, finished; /* syncs asked for, and done */
	bool stop, thread_started;
	int64_t due_ns; /* next sync by itself; 0: none */
	int64_t retry_ns;
	int64_t source_retry_ns; /* when to try again to make the sources; 0: not needed */
	pthread_t thread;
};

struct told_secret {
	struct list link;
	struct secret *secret;
	Larder__V1__Credential *message;
};

struct datasets {
	struct datasets_config config;
	pthread_mutex_t lock; /* guards all below */
	struct list list, secrets;
	uint32_t count, next_number;
	bool loading; /* what is put comes from a former worker's memory */
};

/* ---- sources ---- */

static struct source_set *set_free(struct source_set *set, struct cache *cache)
{
	while (set) {
		struct source_set *older = set->older;
		for (size_t i = 0; set->spec && i < set->spec->source_count; i++) {
			if (set->read[i])
				cache_source_gone(cache, set->read[i]);
			(void)source_free(set->read[i]);
			(void)source_free(set->list[i]);
			(void)mem_free(set->domains[i]);
		}
		(void)dataset_free(set->spec);
		(void)mem_free(set);
		set = older;
	}
	return NULL;
}

/* datasets.lock is held. */
static struct told_secret *find_secret(struct datasets *all, const char *namespace_, const char *name)
{
	list_for_each (l, &all->secrets) {
		struct told_secret *s = LIST_ENTRY(l, struct told_secret, link);
		if (strcmp(s->secret->namespace_, namespace_) == 0 && strcmp(s->secret->name, name) == 0)
			return s;
	}
	return NULL;
}

static int configure_source(struct node_dataset *d, const struct dataset *spec, size_t i,
			    const struct secret *secret, struct source_config *c, int *root_fd,
			    struct err *err)
{
	const struct dataset_source *s = &spec->sources[i];

	struct told_secret *ca =
		s->s3.ca_secret ? find_secret(d->all, spec->namespace_, s->s3.ca_secret) : NULL;

	dataset_source_config(s, secret, ca ? ca->secret : NULL, c);
	if (s->kind != SOURCE_FILE)
		return 0;
	int r = mounter_root_open(d->all->config.mounter, s->file.path, root_fd, err);
	c->file.root_fd = *root_fd;
	return r;
}

static int make_source(struct node_dataset *d, struct source_set *set, size_t i, const struct secret *secret,
		       struct err *err)
{
	CLEANUP(fd_close) int root_fd = -1;
	struct source_config c;
	char text[256], label[512];

	(void)dataset_source_text(&set->spec->sources[i], text, sizeof text);
	(void)snprintf(label, sizeof label, "%s source %zu (%s)", d->name, i, text);
	int r = configure_source(d, set->spec, i, secret, &c, &root_fd, err);
	if (r)
		return err_wrap(err, r, "%s", label);
	c.label = label;
	if (!set->domains[i])
		set->domains[i] = dataset_trust_domain(set->spec, i);
	if (!set->domains[i])
		return err_set(err, -ENOMEM, "out of memory");
	r = set->read[i] ? 0 : source_new(d->all->config.read_loop, &c, &set->read[i], err);
	return r ? r : source_new(d->all->config.sync_loop, &c, &set->list[i], err);
}

/* Makes the sources that are missing, as far as their credentials are known. Both locks are held. */
static void make_sources(struct node_dataset *d)
{
	struct source_set *set = d->set;
	struct err err = {0};

	d->source_retry_ns = 0;
	for (size_t i = 0; i < set->spec->source_count; i++) {
		const char *name = set->spec->sources[i].secret;
		const char *ca = set->spec->sources[i].s3.ca_secret;
		if (ca && !find_secret(d->all, set->spec->namespace_, ca))
			name = ca; /* waited for as well */
		struct told_secret *told = name ? find_secret(d->all, set->spec->namespace_, name) : NULL;
		if (name && !told) {
			(void)snprintf(d->message_text, sizeof d->message_text, "waiting for Secret %s/%s",
				       set->spec->namespace_, name);
			return;
		}
		if (set->list[i])
			continue;
		int r = make_source(d, set, i, told ? told->secret : NULL, &err);
		if (r) {
			(void)snprintf(d->message_text, sizeof d->message_text, "%s", err_words(&err, r));
			d->last_error = r;
			d->phase = LARDER__V1__DATASET_STATUS__PHASE__FAILED;
			d->source_retry_ns = clock_mono_ns() + SOURCE_RETRY_NS;
			(void)pthread_cond_broadcast(&d->changed);
			return;
		}
	}
	d->sources_ready = true;
	d->last_error = 0;
	d->message_text[0] = 0;
	if (d->head.version)
		d->phase = LARDER__V1__DATASET_STATUS__PHASE__READY;
	if (!d->all->loading || !d->head.version) /* a new worker lists nothing anew: its predecessor did */
		d->wanted++;
	else if (set->spec->sync.interval_ns)
		d->due_ns = clock_mono_ns() + set->spec->sync.interval_ns;
	(void)pthread_cond_broadcast(&d->changed);
}

/* ---- saving what was told ---- */

enum saved_kind { SAVED_DATASET = 1, SAVED_CREDENTIAL = 2 };

static int append(uint8_t **buf, size_t *len, enum saved_kind kind, const ProtobufCMessage *m)
{
	size_t size = protobuf_c_message_get_packed_size(m);
	uint8_t *more = mem_resize(*buf, *len + 8 + size, 1);

	if (!more)
		return -ENOMEM;
	put_le32(more + *len, kind);
	put_le32(more + *len + 4, (uint32_t)size);
	(void)protobuf_c_message_pack(m, more + *len + 8);
	*buf = more;
	*len += 8 + size;
	return 0;
}

/* datasets.lock is held. */
static void save(struct datasets *all)
{
	uint8_t *buf = NULL;
	size_t len = 0;
	int r = 0;

	list_for_each (l, &all->secrets)
		if (!r)
			r = append(&buf, &len, SAVED_CREDENTIAL,
				   &LIST_ENTRY(l, struct told_secret, link)->message->base);
	list_for_each (l, &all->list) {
		struct node_dataset *d = LIST_ENTRY(l, struct node_dataset, link);
		if (!r && !d->deleted)
			r = append(&buf, &len, SAVED_DATASET, &d->message->base);
	}
	if (!r)
		r = node_memory_save(all->config.memory, buf, len);
	if (r)
		log_write(LOG_ERROR, "datasets are not saved: a new worker would not know them",
			  LOG_STR("error", err_text(r)), NULL);
	if (buf)
		explicit_bzero(buf, len);
	(void)mem_free(buf);
}

static int load_one(struct datasets *all, uint32_t kind, const uint8_t *bytes, uint32_t len, struct err *err)
{
	int r = 0;

	if (kind == SAVED_CREDENTIAL) {
		Larder__V1__Credential *m = larder__v1__credential__unpack(NULL, len, bytes);
		r = m ? datasets_put_credential(all, m, err)
		      : err_set(err, -ERR_CORRUPT, "a saved credential");
		(void)secret_message_free(m);
	} else if (kind == SAVED_DATASET) {
		Larder__V1__Dataset *m = larder__v1__dataset__unpack(NULL, len, bytes);
		r = m ? datasets_put(all, m, err) : err_set(err, -ERR_CORRUPT, "a saved dataset");
		if (m)
			larder__v1__dataset__free_unpacked(m, NULL);
	}
	return r;
}

static void load(struct datasets *all)
{
	size_t len;
	const uint8_t *saved = node_memory_load(all->config.memory, &len);
	uint8_t *copy = len ? mem_dup(saved, len) : NULL; /* each put saves again */
	struct reader r = reader_over(copy, copy ? len : 0);

	while (reader_left(&r) >= 8) {
		struct err err = {0};
		uint32_t kind = read_le32(&r), size = read_le32(&r);
		const uint8_t *bytes = read_bytes(&r, size);
		if (!bytes)
			break;
		if (load_one(all, kind, bytes, size, &err))
			log_write(LOG_ERROR, "a saved dataset is not taken over", LOG_STR("error", err.text),
				  NULL);
	}
	if (copy)
		explicit_bzero(copy, len);
	(void)mem_free(copy);
}

/* ---- syncing ---- */

static void note_result(struct node_dataset *d, struct source_set *set, const struct sync_result *result)
{
	d->head_set = set;
	d->head = result->head;
	d->stats = result->stats;
	d->phase = LARDER__V1__DATASET_STATUS__PHASE__READY;
	d->message_text[0] = 0;
	d->last_error = 0;
	d->retry_ns = 0;
}

/* A dataset that has a version stays ready; status says what went wrong. */
static void note_failure(struct node_dataset *d, int r, const struct err *err)
{
	d->last_error = r;
	(void)snprintf(d->message_text, sizeof d->message_text, "sync: %s", err_words(err, r));
	d->phase = d->head.version ? LARDER__V1__DATASET_STATUS__PHASE__READY
				   : LARDER__V1__DATASET_STATUS__PHASE__FAILED;
	d->retry_ns = d->retry_ns ? MIN(2 * d->retry_ns, RETRY_LAST_NS) : RETRY_FIRST_NS;
}

/* One sync. node_dataset.lock is held and given up meanwhile. */
static void sync_once(struct node_dataset *d)
{
	struct source_set *set = d->set;
	uint64_t ticket = d->wanted;
	struct sync_request q = {.catalog = d->all->config.catalog,
				 .dataset = set->spec,
				 .sources = set->list,
				 .temp_dir_fd = d->all->config.temp_dir_fd,
				 .memory_max = SYNC_MEMORY,
				 .progress = &d->progress};
	struct sync_result result;
	struct err err = {0};

	atomic_store(&d->progress.objects, 0);
	if (!d->head.version)
		d->phase = LARDER__V1__DATASET_STATUS__PHASE__SYNCING;
	(void)pthread_mutex_unlock(&d->lock);
	int r = sync_run(&q, &result, &err);
	(void)pthread_mutex_lock(&d->lock);
	if (r == -ECANCELED)
		return;
	if (r) {
		note_failure(d, r, &err);
		log_write(LOG_WARN, "sync failed", LOG_STR("dataset", d->name),
			  LOG_STR("error", err_words(&err, r)), NULL);
	} else {
		note_result(d, set, &result);
		log_write(LOG_INFO, result.moved ? "new version" : "nothing changed",
			  LOG_STR("dataset", d->name), LOG_INT("version", result.head.version),
			  LOG_INT("files", result.stats.files), LOG_INT("bytes", result.stats.bytes), NULL);
	}
	int64_t wait = r ? d->retry_ns : set->spec->sync.interval_ns;
	d->due_ns = wait ? clock_mono_ns() + wait : 0;
	d->finished = ticket;
	(void)pthread_cond_broadcast(&d->changed);
	(void)pthread_mutex_unlock(&d->lock);
	if (!r && result.moved && d->all->config.moved)
		d->all->config.moved(d->all->config.ctx, d, &result.head);
	(void)pthread_mutex_lock(&d->lock);
}

static void wait_until(struct node_dataset *d, int64_t mono_ns)
{
	clock_cond_wait(&d->changed, &d->lock, mono_ns - clock_mono_ns());
}

/* node_dataset.lock is held, and given up for a moment: datasets.lock comes first. */
static void sources_again(struct node_dataset *d)
{
	(void)pthread_mutex_unlock(&d->lock);
	(void)pthread_mutex_lock(&d->all->lock);
	(void)pthread_mutex_lock(&d->lock);
	if (!d->stop && !d->sources_ready)
		make_sources(d);
	(void)pthread_mutex_unlock(&d->all->lock);
}

static void *sync_main(void *arg)
{
	struct node_dataset *d = arg;

	(void)prctl(PR_SET_NAME, "sync");
	(void)pthread_mutex_lock(&d->lock);
	while (!d->stop) {
		bool due = d->due_ns && clock_mono_ns() >= d->due_ns;
		if (d->sources_ready && (d->wanted > d->finished || due))
			sync_once(d);
		else if (!d->sources_ready && d->source_retry_ns && clock_mono_ns() >= d->source_retry_ns)
			sources_again(d);
		else if (!d->sources_ready && d->source_retry_ns)
			wait_until(d, d->source_retry_ns);
		else if (d->sources_ready && d->due_ns)
			wait_until(d, d->due_ns);
		else
			(void)pthread_cond_wait(&d->changed, &d->lock);
	}
	(void)pthread_mutex_unlock(&d->lock);
	return NULL;
}

/* ---- a dataset's life ---- */

static void stop_thread(struct node_dataset *d)
{
	if (!d->thread_started)
		return;
	(void)pthread_mutex_lock(&d->lock);
	d->stop = true;
	atomic_store(&d->progress.stop, true);
	(void)pthread_cond_broadcast(&d->changed);
	(void)pthread_mutex_unlock(&d->lock);
	(void)pthread_join(d->thread, NULL);
	d->thread_started = false;
}

static void destroy(struct node_dataset *d)
{
	stop_thread(d);
	(void)set_free(d->set, d->all->config.cache);
	if (d->message)
		larder__v1__dataset__free_unpacked(d->message, NULL);
	(void)pthread_mutex_destroy(&d->lock);
	(void)pthread_cond_destroy(&d->changed);
	(void)mem_free(d);
}

struct node_dataset *datasets_unref(struct node_dataset *d)
{
	if (!d)
		return NULL;
	struct datasets *all = d->all;
	(void)pthread_mutex_lock(&all->lock);
	CHECK(d->refs > 0);
	bool last = --d->refs == 0 && d->deleted;
	if (last)
		list_remove(&d->link);
	(void)pthread_mutex_unlock(&all->lock);
	if (last)
		destroy(d);
	return NULL;
}

/* datasets.lock is held. */
static struct node_dataset *find_locked(struct datasets *all, const char *name)
{
	list_for_each (l, &all->list) {
		struct node_dataset *d = LIST_ENTRY(l, struct node_dataset, link);
		if (!d->deleted && strcmp(d->name, name) == 0)
			return d;
	}
	return NULL;
}

struct node_dataset *datasets_find(struct datasets *all, const char *full_name)
{
	(void)pthread_mutex_lock(&all->lock);
	struct node_dataset *d = find_locked(all, full_name);
	if (d)
		d->refs++;
	(void)pthread_mutex_unlock(&all->lock);
	return d;
}

static Larder__V1__Dataset *copy_message(const Larder__V1__Dataset *m)
{
	size_t len = larder__v1__dataset__get_packed_size(m);
	uint8_t *bytes = mem_alloc(len);

	if (!bytes)
		return NULL;
	(void)larder__v1__dataset__pack(m, bytes);
	Larder__V1__Dataset *copy = larder__v1__dataset__unpack(NULL, len, bytes);
	(void)mem_free(bytes);
	return copy;
}

/* The head a former process left counts at once: a mount need not wait for a new listing. */
static void adopt_head(struct node_dataset *d)
{
	struct manifest *m;
	struct manifest_chunks chunks = catalog_chunks(d->all->config.catalog);

	if (catalog_head_get(d->all->config.catalog, d->name, &d->head))
		return;
	if (d->head.config != dataset_config_hash(d->set->spec) ||
	    manifest_open(&d->head.root, &chunks, &m, NULL)) {
		d->head = (struct catalog_head){
			0}; /* of other sources, or unreadable: a sync makes the next one */
		return;
	}
	manifest_stats_get(m, &d->stats);
	(void)manifest_free(m);
	d->phase = LARDER__V1__DATASET_STATUS__PHASE__READY;
}

/* Takes @spec and @message. datasets.lock is held. */
static int add(struct datasets *all, struct dataset *spec, Larder__V1__Dataset *message, struct err *err)
{
	struct node_dataset *d = all->count < DATASETS_MAX ? mem_calloc(1, sizeof *d) : NULL;
	struct source_set *set = d ? mem_calloc(1, sizeof *set) : NULL;

	if (!set) {
		(void)mem_free(d);
		return d || all->count < DATASETS_MAX
			       ? err_set(err, -ENOMEM, "out of memory")
			       : err_set(err, -ENOSPC, "%d datasets are the limit", DATASETS_MAX);
	}
	d->all = all;
	dataset_full_name(spec, d->name);
	d->number = all->next_number++ % CACHE_DATASETS_MAX;
	set->spec = spec;
	d->set = d->head_set = set;
	d->message = message;
	(void)pthread_mutex_init(&d->lock, NULL);
	(void)pthread_cond_init(&d->changed, NULL);
	adopt_head(d);
	list_push_back(&all->list, &d->link);
	all->count++;
	(void)pthread_mutex_lock(&d->lock);
	make_sources(d);
	(void)pthread_mutex_unlock(&d->lock);
	int r = pthread_create(&d->thread, NULL, sync_main, d);
	d->thread_started = r == 0;
	return r ? err_set(err, -r, "no thread for a dataset: %s", err_text(r)) : 0;
}

/* Takes @spec and @message. datasets.lock is held. */
static int replace(struct node_dataset *d, struct dataset *spec, Larder__V1__Dataset *message,
		   struct err *err)
{
	struct source_set *set = mem_calloc(1, sizeof *set);

	if (!set)
		return err_set(err, -ENOMEM, "out of memory");
	(void)pthread_mutex_lock(&d->lock);
	set->spec = spec;
	set->older = d->set;
	d->set = set;
	/* The head's entries name the sources of the spec they were listed by: until the next head these go on serving it. */
	if (!d->head.version || d->head.config == dataset_config_hash(spec))
		d->head_set = set;
	larder__v1__dataset__free_unpacked(d->message, NULL);
	d->message = message;
	d->sources_ready = false;
	d->retry_ns = 0;
	make_sources(d);
	(void)pthread_mutex_unlock(&d->lock);
	return 0;
}

int datasets_put(struct datasets *all, const Larder__V1__Dataset *message, struct err *err)
{
	CLEANUP(dataset_free) struct dataset *spec = NULL;
	char name[DATASET_FULL_MAX];

	int r = dataset_from_message(message, &spec, err);
	if (r)
		return r;
	Larder__V1__Dataset *copy = copy_message(message);
	if (!copy)
		return err_set(err, -ENOMEM, "out of memory");
	dataset_full_name(spec, name);
	(void)pthread_mutex_lock(&all->lock);
	struct node_dataset *d = find_locked(all, name);
	bool known = d && d->set->spec->generation >= spec->generation;
	if (!known)
		r = d ? replace(d, TAKE(spec), TAKE(copy), err) : add(all, TAKE(spec), TAKE(copy), err);
	/* Half loaded, it would replace the whole: a kill now would lose the rest. */
	if (!known && !r && !all->loading)
		save(all);
	(void)pthread_mutex_unlock(&all->lock);
	if (copy)
		larder__v1__dataset__free_unpacked(copy, NULL);
	return r;
}

/* ---- credentials ---- */

static Larder__V1__Credential *copy_credential(const Larder__V1__Credential *m)
{
	size_t len = larder__v1__credential__get_packed_size(m);
	uint8_t *bytes = mem_alloc(len);

	if (!bytes)
		return NULL;
	(void)larder__v1__credential__pack(m, bytes);
	Larder__V1__Credential *copy = larder__v1__credential__unpack(NULL, len, bytes);
	explicit_bzero(bytes, len);
	(void)mem_free(bytes);
	return copy;
}

/* Whether a source of @set uses @secret; those that exist sign with it from here on. node_dataset.lock is held. */
static bool give_secret(const struct source_set *set, const struct secret *secret,
			const struct source_credential *c)
{
	bool used = false;

	for (size_t i = 0; i < set->spec->source_count; i++) {
		const char *name = set->spec->sources[i].secret, *ca = set->spec->sources[i].s3.ca_secret;
		used |= ca && strcmp(ca, secret->name) == 0 &&
			strcmp(set->spec->namespace_, secret->namespace_) == 0;
		if (!name || strcmp(name, secret->name) != 0 ||
		    strcmp(set->spec->namespace_, secret->namespace_) != 0)
			continue;
		used = true;
		if (set->list[i] &&
		    (source_set_credential(set->read[i], c) || source_set_credential(set->list[i], c)))
			log_write(LOG_ERROR, "a new credential is not used: out of memory",
				  LOG_STR("dataset", set->spec->name), NULL);
	}
	return used;
}

/* Gives a secret to the sources that use it: new ones are made, live ones sign with it from here on. datasets.lock is
 * held. */
static void use_secret(struct datasets *all, const struct secret *secret)
{
	struct source_credential c;

	secret_credential(secret, &c);
	list_for_each (l, &all->list) {
		struct node_dataset *d = LIST_ENTRY(l, struct node_dataset, link);
		bool used = false;
		(void)pthread_mutex_lock(&d->lock);
		/* Open files read from the sources of replaced specs: these sign anew as well. */
		for (const struct source_set *set = d->set; set; set = set->older)
			used |= give_secret(set, secret, &c);
		if (used && (!d->sources_ready || d->last_error))
			make_sources(d); /* also asks for a sync: what failed may work now */
		(void)pthread_mutex_unlock(&d->lock);
	}
}

static void free_told(struct told_secret *t)
{
	(void)secret_free(t->secret);
	(void)secret_message_free(t->message);
	(void)mem_free(t);
}

int datasets_put_credential(struct datasets *all, const Larder__V1__Credential *message, struct err *err)
{
	struct told_secret *t = mem_calloc(1, sizeof *t);

	if (!t)
		return err_set(err, -ENOMEM, "out of memory");
	int r = secret_from_message(message, &t->secret, err);
	if (!r) {
		t->message = copy_credential(message);
		r = t->message ? 0 : err_set(err, -ENOMEM, "out of memory");
	}
	if (r) {
		free_told(t);
		return r;
	}
	(void)pthread_mutex_lock(&all->lock);
	struct told_secret *old = find_secret(all, t->secret->namespace_, t->secret->name);
	if (old) {
		list_remove(&old->link);
		free_told(old);
	}
	list_push_back(&all->secrets, &t->link);
	use_secret(all, t->secret);
	if (!all->loading)
		save(all);
	(void)pthread_mutex_unlock(&all->lock);
	return 0;
}

/* ---- deleting ---- */

/* Drops what the cache holds of the version at the head. */
static void evict_all(struct node_dataset *d)
{
	CLEANUP(manifest_free) struct manifest *m = NULL;
	CLEANUP(mem_free) void *memory = mem_alloc(sizeof(struct manifest_found));
	struct manifest_found *f = memory;

	if (!f || !d->head.version || node_dataset_open(d, &d->head.root, &m, NULL))
		return;
	for (uint64_t i = 0; manifest_at(m, i, f) == 0; i++) {
		CLEANUP(cache_put) struct cache_object *o = NULL;
		uint64_t freed;
		if (f->e.type == MANIFEST_FILE && f->e.size && node_dataset_object(d, f, &o, NULL) == 0)
			(void)!cache_evict(o, false, &freed); /* what another dataset has open stays */
	}
}

int datasets_delete(struct datasets *all, const char *namespace_, const char *name, struct err *err)
{
	char full[DATASET_FULL_MAX];

	(void)snprintf(full, sizeof full, "%s/%s", namespace_, name);
	(void)pthread_mutex_lock(&all->lock);
	struct node_dataset *d = find_locked(all, full);
	int r = !d ? err_set(err, -ENOENT, "there is no dataset %s", full)
		: d->mounts
			? err_set(err, -EBUSY, "%s is mounted %d times; unmount it first", full, d->mounts)
			: 0;
	if (!r) {
		d->deleted = true;
		d->refs++;
		all->count--;
		save(all);
	}
	(void)pthread_mutex_unlock(&all->lock);
	if (r)
		return r;
	stop_thread(d);
	evict_all(d);
	r = catalog_dataset_delete(all->config.catalog, full, err);
	(void)datasets_unref(d);
	return r;
}

/* ---- looking ---- */

void datasets_each(struct datasets *all, void (*visit)(void *ctx, struct node_dataset *d), void *ctx)
{
	(void)pthread_mutex_lock(&all->lock);
	list_for_each (l, &all->list)
		if (!LIST_ENTRY(l, struct node_dataset, link)->deleted)
			visit(ctx, LIST_ENTRY(l, struct node_dataset, link));
	(void)pthread_mutex_unlock(&all->lock);
}

const char *node_dataset_name(const struct node_dataset *d)
{
	return d->name;
}

void node_dataset_mounted(struct node_dataset *d, int change)
{
	(void)pthread_mutex_lock(&d->all->lock);
	d->mounts += change;
	(void)pthread_mutex_unlock(&d->all->lock);
}

void node_dataset_access_get(struct node_dataset *d, struct node_dataset_access *ret)
{
	(void)pthread_mutex_lock(&d->lock);
	const struct dataset *spec = d->set->spec;
	*ret = (struct node_dataset_access){.uid = spec->access.uid,
					    .gid = spec->access.gid,
					    .mode = spec->access.mode,
					    .latest = spec->version == 0};
	(void)pthread_mutex_unlock(&d->lock);
}

/* The lock is held. */
static int head_locked(struct node_dataset *d, struct catalog_head *ret, struct err *err)
{
	uint64_t pinned = d->set->spec->version;

	if (!d->head.version)
		return err_set(err, -ENOENT, "%s",
			       d->message_text[0] ? d->message_text
						  : "its first listing is still on its way");
	if (pinned && pinned != d->head.version)
		return err_set(err, -ENOENT, "version %llu is not held here; the newest is %llu",
			       (unsigned long long)pinned, (unsigned long long)d->head.version);
	*ret = d->head;
	return 0;
}

int node_dataset_head(struct node_dataset *d, struct catalog_head *ret, struct err *err)
{
	(void)pthread_mutex_lock(&d->lock);
	int r = head_locked(d, ret, err);
	(void)pthread_mutex_unlock(&d->lock);
	return r;
}

/* Errors that waiting does not mend. */
static bool is_lasting(int r)
{
	return r && r != -ERR_UNREACHABLE && r != -ETIMEDOUT && r != -EAGAIN && r != -ERR_CONFLICT &&
	       r != -ERR_LEASE_LOST;
}

int node_dataset_wait(struct node_dataset *d, int64_t deadline_ns, bool (*stop)(void *ctx), void *ctx,
		      struct catalog_head *ret, struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&d->lock);
	while ((r = head_locked(d, ret, err)) != 0) {
		int64_t now = clock_mono_ns();
		if (d->stop || is_lasting(d->last_error)) {
			r = d->stop ? err_set(err, -ENOENT, "%s is being deleted", d->name) : d->last_error;
			break;
		}
		if (now >= deadline_ns || stop(ctx)) {
			r = now >= deadline_ns ? -ETIMEDOUT : -ECANCELED;
			break;
		}
		wait_until(d, MIN(deadline_ns, now + 200 * NS_PER_MS));
	}
	(void)pthread_mutex_unlock(&d->lock);
	return r;
}

int node_dataset_open(struct node_dataset *d, const struct hash256 *root, struct manifest **ret,
		      struct err *err)
{
	struct manifest_chunks chunks = catalog_chunks(d->all->config.catalog);

	return manifest_open(root, &chunks, ret, err);
}

static void choose_tiers(const struct dataset *spec, uint8_t tiers[CACHE_TIERS_MAX])
{
	for (size_t i = 0; i < spec->cache.tier_count; i++)
		tiers[i] = spec->cache.tiers[i] == DATASET_TIER_DRAM ? CACHE_TIER_DRAM : CACHE_TIER_DISK;
}

int node_dataset_object(struct node_dataset *d, const struct manifest_found *entry, struct cache_object **ret,
			struct err *err)
{
	size_t key_len;
	const char *key = manifest_key(entry, &key_len);

	(void)pthread_mutex_lock(&d->lock);
	struct source_set *set = d->head_set;
	size_t i = entry->e.source;
	if (i >= set->spec->source_count || !set->read[i]) {
		(void)pthread_mutex_unlock(&d->lock);
		return err_set(err, -EIO, "source %zu of %s is not there: %s", i, d->name, d->message_text);
	}
	struct cache_object_spec spec = {
		.id = cache_object_id(set->domains[i], key, key_len, &entry->e.validator, entry->e.size),
		.size = entry->e.size,
		.source = set->read[i],
		.key = key,
		.validator = entry->e.validator,
		.dataset = d->number,
		.timeout_ns = set->spec->sources[i].timeout_ns,
	};
	choose_tiers(set->spec, spec.tiers);
	int r = cache_get(d->all->config.cache, &spec, ret);
	(void)pthread_mutex_unlock(&d->lock);
	return r ? err_set(err, r, "%s", err_text(r)) : 0;
}

int node_dataset_sync(struct node_dataset *d, bool (*progress)(void *ctx, uint64_t objects), void *ctx,
		      struct err *err)
{
	int r = 0;

	(void)pthread_mutex_lock(&d->lock);
	uint64_t ticket = ++d->wanted;
	(void)pthread_cond_broadcast(&d->changed);
	while (d->finished < ticket && !r) {
		if (d->stop) {
			r = err_set(err, -ENOENT, "%s is being deleted", d->name);
			break;
		}
		if (!d->sources_ready) {
			r = err_set(err, -EAGAIN, "%s", d->message_text);
			break;
		}
		wait_until(d, clock_mono_ns() + 200 * NS_PER_MS);
		uint64_t objects = atomic_load(&d->progress.objects);
		(void)pthread_mutex_unlock(&d->lock);
		if (!progress(ctx, objects))
			r = err_set(err, -ECANCELED, "the caller went away");
		(void)pthread_mutex_lock(&d->lock);
	}
	if (!r && d->last_error)
		r = err_set(err, d->last_error, "%s", d->message_text);
	(void)pthread_mutex_unlock(&d->lock);
	return r;
}

/* ---- status ---- */

static void set_text(char **field, const char *text)
{
	char *copy = mem_strdup(text);

	if (copy)
		*field =
			copy; /* else the shared empty string stays: status without a word is better than none */
}

static void copy_list(const struct dataset_list *from, char ***items, size_t *count)
{
	*items = from->count ? mem_calloc(from->count, sizeof **items) : NULL;
	for (size_t i = 0; *items && i < from->count; i++)
		if (((*items)[*count] = mem_strdup(from->items[i])) != NULL)
			++*count;
}

static void warn(Larder__V1__DatasetStatus *s, char *text)
{
	char **more = text ? mem_resize(s->warnings, s->n_warnings + 1, sizeof *more) : NULL;

	if (more) {
		s->warnings = more;
		s->warnings[s->n_warnings++] = text;
	} else {
		(void)mem_free(text);
	}
}

static void add_warnings(const struct node_dataset *d, Larder__V1__DatasetStatus *s)
{
	if (d->stats.no_validator)
		warn(s,
		     mem_printf(
			     "%llu files have no validator: a change while they are read cannot be noticed",
			     (unsigned long long)d->stats.no_validator));
	if (d->stats.skipped)
		warn(s, mem_printf("%llu keys cannot be shown as file names and were left out",
				   (unsigned long long)d->stats.skipped));
	for (size_t i = 0; i < d->set->spec->source_count; i++) {
		struct source_stats st;
		if (!d->set->read[i])
			continue;
		if (d->set->list[i]) {
			source_stats_get(d->set->list[i], &st);
			if (st.left_out)
				warn(s, mem_printf("%llu special files or links of source %zu were left out",
						   (unsigned long long)st.left_out, i));
		}
		source_stats_get(d->set->read[i], &st);
		s->denied += st.denied;
		if (st.denied)
			warn(s,
			     d->set->spec->sources[i].kind == SOURCE_FILE
				     ? mem_printf(
					       "%llu reads of %s were denied: let uid 65532 read the files, or start "
					       "the node with --run-as of a uid that may",
					       (unsigned long long)st.denied,
					       d->set->spec->sources[i].file.path)
				     : mem_printf("%llu requests to source %zu were denied: check its Secret",
						  (unsigned long long)st.denied, i));
	}
}

int node_dataset_status(struct node_dataset *d, Larder__V1__DatasetStatus **ret)
{
	Larder__V1__DatasetStatus *s = mem_alloc(sizeof *s);
	struct cache_dataset_stats c;

	if (!s)
		return -ENOMEM;
	larder__v1__dataset_status__init(s);
	cache_dataset_stats_get(d->all->config.cache, d->number, &c);
	(void)pthread_mutex_lock(&d->lock);
	set_text(&s->namespace_, d->set->spec->namespace_);
	set_text(&s->name, d->set->spec->name);
	if (d->message_text[0])
		set_text(&s->message, d->message_text);
	s->phase = d->phase;
	s->version = d->head.version;
	s->committed_ns = d->head.committed_ns;
	s->files = d->stats.files;
	s->bytes = d->stats.bytes;
	s->cached_bytes = c.cached_bytes;
	s->source_bytes = c.source_bytes;
	s->served_bytes = c.served_bytes;
	s->sync_objects = atomic_load(&d->progress.objects);
	s->root.data = mem_dup(d->head.root.bytes, HASH256_BYTES);
	s->root.len = s->root.data ? HASH256_BYTES : 0;
	copy_list(&d->set->spec->unacted, &s->unacted, &s->n_unacted);
	add_warnings(d, s);
	(void)pthread_mutex_unlock(&d->lock);
	*ret = s;
	return 0;
}

/* ---- all of them ---- */

int datasets_new(const struct datasets_config *config, struct datasets **ret, struct err *err)
{
	struct datasets *all = mem_calloc(1, sizeof *all);

	if (!all)
		return err_set(err, -ENOMEM, "out of memory");
	all->config = *config;
	list_init(&all->list);
	list_init(&all->secrets);
	(void)pthread_mutex_init(&all->lock, NULL);
	all->loading = true;
	load(all);
	all->loading = false;
	*ret = all;
	return 0;
}

struct datasets *datasets_free(struct datasets *all)
{
	if (!all)
		return NULL;
	list_for_each (l, &all->list)
		stop_thread(LIST_ENTRY(l, struct node_dataset, link));
	list_for_each_safe (l, next, &all->list)
		destroy(LIST_ENTRY(l, struct node_dataset, link));
	list_for_each_safe (l, next, &all->secrets)
		free_told(LIST_ENTRY(l, struct told_secret, link));
	(void)pthread_mutex_destroy(&all->lock);
	return mem_free(all);
}
