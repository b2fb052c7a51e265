/*
 * An item is a dataset or a secret that a file names or that the node knows. It goes when neither is so any more; a secret
 * that no file names is forgotten at once, since the node lets it go with its last dataset.
 */
#include "operator-shim/reconcile.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

struct item {
	bool is_secret;
	char *namespace_, *name; /* owned */
	/* What a file says; NULL and NULL: no file names it. Borrowed from the file. */
	struct dataset *dataset;
	struct secret *secret;
	struct hash256 wanted, told_hash; /* of the content */
	bool told;                        /* told_hash counts: the node knows it */
	bool tried;                       /* in this round */
	uint64_t generation;              /* the last one given */
};

struct source_file {
	char *name;
	struct dataset_file *content;
};

struct reconcile {
	struct item *items;
	size_t item_count;
	struct source_file *files;
	size_t file_count;
};

int reconcile_new(struct reconcile **ret)
{
	struct reconcile *r = mem_calloc(1, sizeof *r);
	if (!r)
		return -ENOMEM;
	*ret = r;
	return 0;
}

static void item_done(struct item *it)
{
	(void)mem_free(it->namespace_);
	(void)mem_free(it->name);
}

struct reconcile *reconcile_free(struct reconcile *r)
{
	if (!r)
		return NULL;
	for (size_t i = 0; i < r->item_count; i++)
		item_done(&r->items[i]);
	for (size_t i = 0; i < r->file_count; i++) {
		(void)mem_free(r->files[i].name);
		(void)dataset_file_free(r->files[i].content);
	}
	(void)mem_free(r->items);
	(void)mem_free(r->files);
	return mem_free(r);
}

static struct item *find_item(struct reconcile *r, bool is_secret, const char *namespace_, const char *name)
{
	for (size_t i = 0; i < r->item_count; i++) {
		struct item *it = &r->items[i];
		if (it->is_secret == is_secret && strcmp(it->name, name) == 0 &&
		    strcmp(it->namespace_, namespace_) == 0)
			return it;
	}
	return NULL;
}

/* Finds or makes. There must be room for one more. */
static struct item *need_item(struct reconcile *r, bool is_secret, const char *namespace_, const char *name)
{
	struct item *it = find_item(r, is_secret, namespace_, name);
	if (it)
		return it;
	struct item fresh = {
		.is_secret = is_secret, .namespace_ = mem_strdup(namespace_), .name = mem_strdup(name)};
	if (!fresh.namespace_ || !fresh.name) {
		item_done(&fresh);
		return NULL;
	}
	r->items[r->item_count] = fresh;
	return &r->items[r->item_count++];
}

/* ---- hashes of content: the message without its generation ---- */

static int hash_message(const ProtobufCMessage *m, struct hash256 *ret)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	uint8_t *bytes = mem_alloc(len);
	if (!bytes)
		return -ENOMEM;
	(void)protobuf_c_message_pack(m, bytes);
	*ret = hash256_of(bytes, len);
	explicit_bzero(bytes, len); /* may be a secret */
	(void)mem_free(bytes);
	return 0;
}

static int hash_dataset(const struct dataset *d, struct hash256 *ret)
{
	Larder__V1__Dataset *m;
	int r = dataset_to_message(d, &m);
	if (r != 0)
		return r;
	m->generation = 0;
	r = hash_message(&m->base, ret);
	larder__v1__dataset__free_unpacked(m, NULL);
	return r;
}

static int hash_secret(const struct secret *s, struct hash256 *ret)
{
	Larder__V1__Credential *m;
	int r = secret_to_message(s, &m);
	if (r != 0)
		return r;
	r = hash_message(&m->base, ret);
	(void)secret_message_free(m);
	return r;
}

/* ---- files ---- */

static struct source_file *find_file(struct reconcile *r, const char *name)
{
	for (size_t i = 0; i < r->file_count; i++)
		if (strcmp(r->files[i].name, name) == 0)
			return &r->files[i];
	return NULL;
}

static bool holds(const struct dataset_file *f, const struct item *it)
{
	for (size_t i = 0; f && i < f->dataset_count; i++)
		if (f->datasets[i] == it->dataset)
			return true;
	for (size_t i = 0; f && i < f->secret_count; i++)
		if (f->secrets[i] == it->secret)
			return true;
	return false;
}

/* Whether a name of @content is another file's already. */
static int check_owner(struct reconcile *r, bool is_secret, const char *namespace_, const char *name,
		       const struct dataset_file *own, struct err *err)
{
	const struct item *it = find_item(r, is_secret, namespace_, name);
	if (!it || (!it->dataset && !it->secret) || holds(own, it))
		return 0;
	const char *other = "another file";
	for (size_t i = 0; i < r->file_count; i++)
		if (holds(r->files[i].content, it))
			other = r->files[i].name;
	return err_set(err, -EEXIST, "%s %s/%s stands in %s too; only one file may name it",
		       is_secret ? "Secret" : "Dataset", namespace_, name, other);
}

static int check_owners(struct reconcile *r, const struct dataset_file *content,
			const struct dataset_file *own, struct err *err)
{
	int s = 0;

	for (size_t i = 0; i < content->dataset_count && s == 0; i++)
		s = check_owner(r, false, content->datasets[i]->namespace_, content->datasets[i]->name, own,
				err);
	for (size_t i = 0; i < content->secret_count && s == 0; i++)
		s = check_owner(r, true, content->secrets[i]->namespace_, content->secrets[i]->name, own,
				err);
	return s;
}

/* Drops items that neither a file nor the node knows. */
static void sweep(struct reconcile *r)
{
	size_t kept = 0;

	for (size_t i = 0; i < r->item_count; i++) {
		struct item *it = &r->items[i];
		bool wanted = it->dataset || it->secret;
		if (wanted || (it->told && !it->is_secret))
			r->items[kept++] = *it;
		else
			item_done(it);
	}
	r->item_count = kept;
}

/* Everything that may fail: room, items and hashes for all of @content. Hashes go to @hashes, datasets first. */
static int prepare(struct reconcile *r, const struct dataset_file *content, struct hash256 *hashes)
{
	size_t more = content->dataset_count + content->secret_count;

	if (r->item_count + more > RECONCILE_ITEMS_MAX)
		return -EFBIG;
	struct item *items = mem_resize(r->items, r->item_count + more, sizeof *items);
	if (!items)
		return -ENOMEM;
	r->items = items;
	int s = 0;
	for (size_t i = 0; i < content->dataset_count && s == 0; i++) {
		const struct dataset *d = content->datasets[i];
		s = need_item(r, false, d->namespace_, d->name) ? hash_dataset(d, hashes++) : -ENOMEM;
	}
	for (size_t i = 0; i < content->secret_count && s == 0; i++) {
		const struct secret *d = content->secrets[i];
		s = need_item(r, true, d->namespace_, d->name) ? hash_secret(d, hashes++) : -ENOMEM;
	}
	return s;
}

static void unset_content(struct reconcile *r, const struct dataset_file *old)
{
	for (size_t i = 0; i < r->item_count; i++)
		if (holds(old, &r->items[i])) {
			r->items[i].dataset = NULL;
			r->items[i].secret = NULL;
		}
}

static void set_content(struct reconcile *r, struct dataset_file *content, const struct hash256 *hashes,
			uint64_t now)
{
	for (size_t i = 0; i < content->dataset_count; i++) {
		struct dataset *d = content->datasets[i];
		struct item *it = find_item(r, false, d->namespace_, d->name);
		CHECK(it);
		if (it->generation == 0 || hash256_compare(&it->wanted, hashes) != 0)
			it->generation = MAX(it->generation + 1, now);
		it->wanted = *hashes++;
		it->dataset = d;
		d->generation = it->generation;
	}
	for (size_t i = 0; i < content->secret_count; i++) {
		struct secret *d = content->secrets[i];
		struct item *it = find_item(r, true, d->namespace_, d->name);
		CHECK(it);
		it->wanted = *hashes++;
		it->secret = d;
	}
}

static void remove_file(struct reconcile *r, struct source_file *f)
{
	unset_content(r, f->content);
	(void)mem_free(f->name);
	(void)dataset_file_free(f->content);
	*f = r->files[--r->file_count];
	sweep(r);
}

/* The file's place; made empty where there is none. */
static struct source_file *need_file(struct reconcile *r, const char *name)
{
	struct source_file *f = find_file(r, name);
	if (f)
		return f;
	struct source_file *files = mem_resize(r->files, r->file_count + 1, sizeof *files);
	if (!files)
		return NULL;
	r->files = files;
	f = &files[r->file_count];
	*f = (struct source_file){.name = mem_strdup(name)};
	if (!f->name)
		return NULL;
	r->file_count++;
	return f;
}

int reconcile_file(struct reconcile *r, const char *name, struct dataset_file *content, uint64_t now,
		   struct err *err)
{
	struct source_file *f = find_file(r, name);

	if (!content) {
		if (f)
			remove_file(r, f);
		return 0;
	}
	int s = check_owners(r, content, f ? f->content : NULL, err);
	if (s != 0)
		return s;
	f = need_file(r, name);
	struct hash256 *hashes = mem_calloc(content->dataset_count + content->secret_count, sizeof *hashes);
	s = f && hashes ? prepare(r, content, hashes) : -ENOMEM;
	if (s == 0) {
		unset_content(r, f->content);
		set_content(r, content, hashes, now);
		(void)dataset_file_free(f->content);
		f->content = content;
	}
	sweep(r);
	(void)mem_free(hashes);
	return s == 0 ? 0 : err_set(err, s, "%s: %s", name, err_text(s));
}

/* ---- actions ---- */

void reconcile_forget(struct reconcile *r)
{
	for (size_t i = 0; i < r->item_count; i++)
		r->items[i].told = false;
	sweep(r);
}

void reconcile_round(struct reconcile *r)
{
	for (size_t i = 0; i < r->item_count; i++)
		r->items[i].tried = false;
}

/* What is to be done about the item; 0: nothing. */
static int kind_of(const struct item *it)
{
	if (!it->dataset && !it->secret)
		return RECONCILE_DELETE_DATASET; /* sweep() keeps only those that the node knows */
	if (it->told && hash256_compare(&it->told_hash, &it->wanted) == 0)
		return 0;
	return it->is_secret ? RECONCILE_PUT_SECRET : RECONCILE_PUT_DATASET;
}

bool reconcile_next(struct reconcile *r, struct reconcile_action *ret)
{
	for (int kind = RECONCILE_PUT_SECRET; kind <= RECONCILE_PUT_DATASET; kind++) {
		for (size_t i = 0; i < r->item_count; i++) {
			struct item *it = &r->items[i];
			if (it->tried || kind_of(it) != kind)
				continue;
			it->tried = true;
			*ret = (struct reconcile_action){.kind = (enum reconcile_kind)kind,
							 .secret = it->secret,
							 .dataset = it->dataset,
							 .namespace_ = it->namespace_,
							 .name = it->name,
							 .item = i};
			return true;
		}
	}
	return false;
}

void reconcile_told(struct reconcile *r, const struct reconcile_action *a, bool well)
{
	CHECK(a->item < r->item_count);
	struct item *it = &r->items[a->item];

	if (!well)
		return;
	if (a->kind == RECONCILE_DELETE_DATASET) {
		it->told = false;
		sweep(r);
		return;
	}
	it->told = true;
	it->told_hash = it->wanted;
}

bool reconcile_pending(const struct reconcile *r)
{
	for (size_t i = 0; i < r->item_count; i++)
		if (kind_of(&r->items[i]) != 0)
			return true;
	return false;
}
