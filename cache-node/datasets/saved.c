/*
 * What was told, as one blob in the node memory (docs/formats/node-memory.md): a new worker knows it without asking.
 */
#include <errno.h>
#include <string.h>

#include "cache-node/datasets/internal.h"
#include "common/base/bytes.h"
#include "common/base/log.h"
#include "common/base/mem.h"

#define OLDER_MAX 32 /* replaced specs of one dataset: as many versions as a mount can hold open */

enum saved_kind {
	SAVED_DATASET = 1,
	SAVED_CREDENTIAL = 2,
	SAVED_OLDER = 3 /* a spec that was replaced; before the one that replaced it */
};

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

/* The replaced specs whose versions may still be open, oldest first: one for each list of sources, not that of the newest.
 * The locks are held. */
static int append_older(uint8_t **buf, size_t *len, struct node_dataset *d)
{
	const struct source_set *sets[OLDER_MAX];
	size_t count = 0;
	int r = 0;

	for (struct source_set *set = d->set->older; set && count < OLDER_MAX; set = set->older)
		if (sources_of_config(d, set->config) == set)
			sets[count++] = set;
	while (count-- > 0 && !r)
		r = append(buf, len, SAVED_OLDER, &sets[count]->message->base);
	return r;
}

static int append_dataset(uint8_t **buf, size_t *len, struct node_dataset *d, bool older)
{
	(void)pthread_mutex_lock(&d->lock);
	int r = older ? append_older(buf, len, d) : 0;
	if (!r)
		r = append(buf, len, SAVED_DATASET, &d->set->message->base);
	(void)pthread_mutex_unlock(&d->lock);
	return r;
}

static int write_all(struct datasets *all, bool older)
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
			r = append_dataset(&buf, &len, d, older);
	}
	if (!r)
		r = node_memory_save(all->config.memory, buf, len);
	if (buf)
		explicit_bzero(buf, len);
	(void)mem_free(buf);
	return r;
}

/* datasets.lock is held. */
void saved_write(struct datasets *all)
{
	int r = write_all(all, true);

	if (r == -EFBIG) /* what is open of replaced specs is worth less than knowing all datasets */
		r = write_all(all, false);
	if (r)
		log_write(LOG_ERROR, "datasets are not saved: a new worker would not know them",
			  LOG_STR("error", err_text(r)), NULL);
}

static int load_one(struct datasets *all, uint32_t kind, const uint8_t *bytes, uint32_t len, struct err *err)
{
	int r = 0;

	if (kind == SAVED_CREDENTIAL) {
		Larder__V1__Credential *m = larder__v1__credential__unpack(NULL, len, bytes);
		r = m ? datasets_put_credential(all, m, err)
		      : err_set(err, -ERR_CORRUPT, "a saved credential");
		(void)secret_message_free(m);
	} else if (kind == SAVED_DATASET || kind == SAVED_OLDER) {
		Larder__V1__Dataset *m = larder__v1__dataset__unpack(NULL, len, bytes);
		r = !m                    ? err_set(err, -ERR_CORRUPT, "a saved dataset")
		    : kind == SAVED_OLDER ? sources_add_older(all, m, err)
					  : datasets_put(all, m, err);
		if (m)
			larder__v1__dataset__free_unpacked(m, NULL);
	}
	return r;
}

/* Puts the records that are, or are not, of replaced specs: those need their datasets. */
static void load_records(struct datasets *all, struct reader r, bool older)
{
	while (reader_left(&r) >= 8) {
		struct err err = {0};
		uint32_t kind = read_le32(&r), size = read_le32(&r);
		const uint8_t *bytes = read_bytes(&r, size);
		if (!bytes)
			break;
		if ((kind == SAVED_OLDER) == older && load_one(all, kind, bytes, size, &err))
			log_write(LOG_ERROR, "a saved dataset is not taken over", LOG_STR("error", err.text),
				  NULL);
	}
}

void saved_read(struct datasets *all)
{
	size_t len;
	const uint8_t *saved = node_memory_load(all->config.memory, &len);
	uint8_t *copy = len ? mem_dup(saved, len) : NULL; /* each put saves again */
	struct reader r = reader_over(copy, copy ? len : 0);

	load_records(all, r, false);
	load_records(all, r, true);
	if (copy)
		explicit_bzero(copy, len);
	(void)mem_free(copy);
}
