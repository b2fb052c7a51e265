/*
 * Credentials as told. A new one is given to the sources that use it, of replaced specs too.
 */
#include <errno.h>
#include <string.h>

#include "cache-node/datasets/internal.h"
#include "common/base/log.h"
#include "common/base/mem.h"

/* datasets.lock is held. */
struct told_secret *secrets_find(struct datasets *all, const char *namespace_, const char *name)
{
	list_for_each (l, &all->secrets) {
		struct told_secret *s = LIST_ENTRY(l, struct told_secret, link);
		if (strcmp(s->secret->namespace_, namespace_) == 0 && strcmp(s->secret->name, name) == 0)
			return s;
	}
	return NULL;
}

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

static bool is_named(const char *name, const struct source_set *set, const struct secret *secret)
{
	return name && strcmp(name, secret->name) == 0 &&
	       strcmp(set->spec->namespace_, secret->namespace_) == 0;
}

/* Whether a source of @set uses @secret, for its keys or its authority; those that exist sign with it from here on. Both locks
 * are held. */
static bool give_secret(struct datasets *all, const struct source_set *set, const struct secret *secret)
{
	bool used = false;

	for (size_t i = 0; i < set->spec->source_count; i++) {
		const struct dataset_source *s = &set->spec->sources[i];
		struct source_credential c;
		if (!is_named(s->secret, set, secret) && !is_named(s->s3.ca_secret, set, secret))
			continue;
		used = true;
		if (sources_credential(all, set, i, &c, NULL))
			continue; /* its other secret was not told yet: no source is made */
		if ((set->read[i] && source_set_credential(set->read[i], &c)) ||
		    (set->list[i] && source_set_credential(set->list[i], &c)))
			log_write(LOG_ERROR, "a new credential is not used: out of memory",
				  LOG_STR("dataset", set->spec->name), NULL);
	}
	return used;
}

/* Gives a secret to the sources that use it: new ones are made, live ones sign with it from here on. datasets.lock is
 * held. */
static void use_secret(struct datasets *all, const struct secret *secret)
{
	list_for_each (l, &all->list) {
		struct node_dataset *d = LIST_ENTRY(l, struct node_dataset, link);
		bool used = false;
		(void)pthread_mutex_lock(&d->lock);
		/* Open files read from the sources of replaced specs: these sign anew as well. */
		for (const struct source_set *set = d->set; set; set = set->older)
			used |= give_secret(all, set, secret);
		if (used && (!d->sources_ready || d->last_error))
			sources_make(d); /* also asks for a sync: what failed may work now */
		(void)pthread_mutex_unlock(&d->lock);
	}
}

void told_secret_free(struct told_secret *t)
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
		told_secret_free(t);
		return r;
	}
	(void)pthread_mutex_lock(&all->lock);
	struct told_secret *old = secrets_find(all, t->secret->namespace_, t->secret->name);
	if (old) {
		list_remove(&old->link);
		told_secret_free(old);
	}
	list_push_back(&all->secrets, &t->link);
	use_secret(all, t->secret);
	if (!all->loading)
		saved_write(all);
	(void)pthread_mutex_unlock(&all->lock);
	return 0;
}
