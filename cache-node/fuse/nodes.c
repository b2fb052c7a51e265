/*
 * Life of a record: free (id 0) -> written, then published by its id -> detached or not -> free again, generation + 1.
 * A process killed in between leaves either a free place or a whole record: the id is stored last and cleared first.
 */
#include "cache-node/fuse/nodes.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "cache-node/fuse/ino.h"
#include "common/base/mem.h"

#define ROOT_PLACE       1u
#define INDEX_EMPTY      0u
#define INDEX_DELETED    UINT32_MAX
#define INDEX_SIZE_FIRST 1024u

struct nodes {
	struct shm *shm;
	pthread_mutex_t lock;            /* guards all below, and the places of the table */
	uint32_t *index;                 /* open addressing by ino -> place */
	uint32_t index_size, index_used; /* size is a power of two; used counts deleted marks too */
	uint32_t *free_places;
	uint32_t free_count, free_size;
	uint32_t live;
};

static struct shm_node *place_node(struct nodes *n, uint32_t place)
{
	return &n->shm->nodes[place];
}

static uint32_t place_of(const struct nodes *n, const struct shm_node *node)
{
	return (uint32_t)(node - n->shm->nodes);
}

static uint32_t slot_of(const struct nodes *n, uint64_t ino)
{
	return (uint32_t)((ino * 0x9e3779b97f4a7c15ULL) >> 32) & (n->index_size - 1);
}

static bool is_attached(const struct shm_node *node)
{
	return atomic_load(&node->id) && !(node->flags & SHM_NODE_DETACHED);
}

static void index_put(struct nodes *n, uint64_t ino, uint32_t place)
{
	uint32_t i = slot_of(n, ino);

	while (n->index[i] != INDEX_EMPTY && n->index[i] != INDEX_DELETED)
		i = (i + 1) & (n->index_size - 1);
	n->index_used += n->index[i] == INDEX_EMPTY;
	n->index[i] = place;
}

/* Where @ino stands in the index, or UINT32_MAX. */
static uint32_t index_at(struct nodes *n, uint64_t ino)
{
	for (uint32_t i = slot_of(n, ino); n->index[i] != INDEX_EMPTY; i = (i + 1) & (n->index_size - 1))
		if (n->index[i] != INDEX_DELETED && place_node(n, n->index[i])->ino == ino)
			return i;
	return UINT32_MAX;
}

static int index_rebuild(struct nodes *n, uint32_t size)
{
	uint32_t *fresh = mem_calloc(size, sizeof *fresh);
	uint32_t *old = n->index, old_size = n->index_size;

	if (!fresh)
		return -ENOMEM;
	n->index = fresh;
	n->index_size = size;
	n->index_used = 0;
	for (uint32_t i = 0; i < old_size; i++)
		if (old[i] != INDEX_EMPTY && old[i] != INDEX_DELETED)
			index_put(n, place_node(n, old[i])->ino, old[i]);
	(void)mem_free(old);
	return 0;
}

static int index_add(struct nodes *n, uint64_t ino, uint32_t place)
{
	if ((n->index_used + 1) * 4ULL > n->index_size * 3ULL) {
		uint32_t size = n->index_size;
		while (n->live * 2ULL + 2 > size)
			size *= 2;
		int r = index_rebuild(n, size);
		if (r)
			return r;
	}
	index_put(n, ino, place);
	return 0;
}

static void index_remove(struct nodes *n, uint64_t ino)
{
	uint32_t i = index_at(n, ino);

	if (i != UINT32_MAX)
		n->index[i] = INDEX_DELETED;
}

static int free_push(struct nodes *n, uint32_t place)
{
	if (n->free_count == n->free_size) {
		uint32_t size = n->free_size ? n->free_size * 2 : 256;
		uint32_t *more = mem_resize(n->free_places, size, sizeof *more);
		if (!more)
			return -ENOMEM; /* the place is lost until the next worker starts; nothing else */
		n->free_places = more;
		n->free_size = size;
	}
	n->free_places[n->free_count++] = place;
	return 0;
}

static void root_init(struct nodes *n)
{
	struct shm_node *root = place_node(n, ROOT_PLACE);

	if (atomic_load(&root->id) == FUSE_ROOT_ID)
		return;
	root->ino = FUSE_ROOT_ID;
	root->parent = FUSE_ROOT_ID;
	atomic_store(&root->lookups, 1);
	atomic_store(&root->id, FUSE_ROOT_ID);
}

static int adopt(struct nodes *n)
{
	uint32_t high = atomic_load(&n->shm->h->nodes_high);

	for (uint32_t place = ROOT_PLACE; place < high; place++) {
		const struct shm_node *node = place_node(n, place);
		int r = 0;
		if (!atomic_load(&node->id)) {
			r = free_push(n, place);
		} else {
			n->live++;
			if (is_attached(node))
				r = index_add(n, node->ino, place);
		}
		if (r)
			return r;
	}
	return 0;
}

int nodes_new(struct shm *shm, struct nodes **ret)
{
	CLEANUP(nodes_free) struct nodes *n = mem_calloc(1, sizeof *n);
	if (!n)
		return -ENOMEM;
	n->shm = shm;
	(void)pthread_mutex_init(&n->lock, NULL);
	int r = index_rebuild(n, INDEX_SIZE_FIRST);
	if (r)
		return r;
	root_init(n);
	r = adopt(n);
	if (r)
		return r;
	*ret = TAKE(n);
	return 0;
}

struct nodes *nodes_free(struct nodes *n)
{
	if (!n)
		return NULL;
	(void)pthread_mutex_destroy(&n->lock);
	(void)mem_free(n->index);
	(void)mem_free(n->free_places);
	return mem_free(n);
}

uint64_t nodes_ino(const struct nodes *n, const char *path, size_t len)
{
	return ino_of_path(n->shm->h->ino_key, path, len);
}

struct shm_node *nodes_get(struct nodes *n, uint64_t id)
{
	uint32_t place = (uint32_t)id;

	if (place < ROOT_PLACE || place >= atomic_load(&n->shm->h->nodes_high))
		return NULL;
	struct shm_node *node = place_node(n, place);
	return atomic_load(&node->id) == id ? node : NULL;
}

struct shm_node *nodes_root(struct nodes *n)
{
	return place_node(n, ROOT_PLACE);
}

struct shm_node *nodes_find(struct nodes *n, uint64_t ino)
{
	(void)pthread_mutex_lock(&n->lock);
	uint32_t i = index_at(n, ino);
	struct shm_node *node = i == UINT32_MAX ? NULL : place_node(n, n->index[i]);
	(void)pthread_mutex_unlock(&n->lock);
	return node;
}

static uint32_t take_place(struct nodes *n)
{
	if (n->free_count)
		return n->free_places[--n->free_count];
	uint32_t high = atomic_load(&n->shm->h->nodes_high);
	if (high == n->shm->h->node_max)
		return 0;
	atomic_store(&n->shm->h->nodes_high, high + 1);
	return high;
}

static struct shm_node *make(struct nodes *n, const struct nodes_key *key, uint64_t ino)
{
	uint32_t place = take_place(n);

	if (!place)
		return NULL;
	struct shm_node *node = place_node(n, place);
	uint32_t generation = node->generation ? node->generation : 1;
	node->ino = ino;
	node->parent = key->parent;
	node->ordinal = key->ordinal;
	node->version = key->version;
	node->flags = key->attached ? 0 : SHM_NODE_DETACHED;
	node->generation = generation;
	atomic_store(&node->opens_cached, 0);
	atomic_store(&node->opens_passthrough, 0);
	atomic_store(&node->backing_id, 0);
	atomic_store(&node->lookups, 1);
	if (key->attached && index_add(n, ino, place)) {
		(void)free_push(n, place);
		return NULL;
	}
	n->live++;
	atomic_store(&node->id, (uint64_t)generation << 32 | place);
	return node;
}

struct shm_node *nodes_intern(struct nodes *n, const struct nodes_key *key)
{
	uint64_t ino = key->ino;
	struct shm_node *node = NULL;

	(void)pthread_mutex_lock(&n->lock);
	while (key->attached) {
		uint32_t i = index_at(n, ino);
		if (i == UINT32_MAX)
			break;
		struct shm_node *known = place_node(n, n->index[i]);
		if (known->version == key->version && known->ordinal == key->ordinal) {
			atomic_fetch_add(&known->lookups, 1);
			node = known;
			break;
		}
		ino = ino + 1 < INT64_MAX ? ino + 1 : 2; /* another path has this number */
	}
	if (!node)
		node = make(n, key, ino);
	(void)pthread_mutex_unlock(&n->lock);
	return node;
}

bool nodes_crowded(struct nodes *n)
{
	(void)pthread_mutex_lock(&n->lock);
	bool crowded = n->live >= n->shm->h->node_max / 4 * 3;
	(void)pthread_mutex_unlock(&n->lock);
	return crowded;
}

static void release(struct nodes *n, struct shm_node *node)
{
	uint32_t place = place_of(n, node);

	if (is_attached(node))
		index_remove(n, node->ino);
	node->generation = node->generation == INT32_MAX ? 1 : node->generation + 1;
	atomic_store(&node->id, 0);
	n->live--;
	(void)free_push(n, place); /* without memory the place stays unused until the next start */
}

void nodes_forget(struct nodes *n, uint64_t id, uint64_t count)
{
	(void)pthread_mutex_lock(&n->lock);
	struct shm_node *node = nodes_get(n, id);
	if (node && id != FUSE_ROOT_ID) {
		uint64_t held = atomic_load(&node->lookups);
		atomic_store(&node->lookups, held > count ? held - count : 0);
		if (held <= count)
			release(n, node);
	}
	(void)pthread_mutex_unlock(&n->lock);
}

void nodes_detach(struct nodes *n, struct shm_node *node)
{
	(void)pthread_mutex_lock(&n->lock);
	if (is_attached(node) && atomic_load(&node->id) != FUSE_ROOT_ID) {
		index_remove(n, node->ino);
		node->flags |= SHM_NODE_DETACHED;
	}
	(void)pthread_mutex_unlock(&n->lock);
}

void nodes_each(struct nodes *n, void (*visit)(void *ctx, struct shm_node *node), void *ctx)
{
	uint32_t high = atomic_load(&n->shm->h->nodes_high);

	for (uint32_t place = ROOT_PLACE; place < high; place++)
		if (atomic_load(&place_node(n, place)->id))
			visit(ctx, place_node(n, place));
}

struct totals {
	uint32_t nodes, opens;
};

static void add_total(void *ctx, struct shm_node *node)
{
	struct totals *t = ctx;

	t->nodes++;
	t->opens += atomic_load(&node->opens_cached) + atomic_load(&node->opens_passthrough);
}

void nodes_count(struct nodes *n, uint32_t *ret_nodes, uint32_t *ret_opens)
{
	struct totals t = {0};

	nodes_each(n, add_total, &t);
	*ret_nodes = t.nodes;
	*ret_opens = t.opens;
}

void nodes_check(struct nodes *n)
{
	uint32_t high = atomic_load(&n->shm->h->nodes_high), live = 0, attached = 0, indexed = 0;

	for (uint32_t place = ROOT_PLACE; place < high; place++) {
		const struct shm_node *node = place_node(n, place);
		uint64_t id = atomic_load(&node->id);
		if (!id)
			continue;
		live++;
		attached += is_attached(node);
		CHECK((uint32_t)id == place);
		if (is_attached(node))
			CHECK(index_at(n, node->ino) != UINT32_MAX &&
			      n->index[index_at(n, node->ino)] == place);
	}
	for (uint32_t i = 0; i < n->index_size; i++)
		indexed += n->index[i] != INDEX_EMPTY && n->index[i] != INDEX_DELETED;
	CHECK(live == n->live);
	CHECK(attached == indexed);
	CHECK(n->free_count + live <= high - ROOT_PLACE);
}
