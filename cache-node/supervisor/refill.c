#include "cache-node/supervisor/refill.h"

#include <errno.h>

#include "cache-node/supervisor/mounter_client.h"
#include "common/base/fd.h"
#include "common/base/log.h"

int refill_open_tiers(struct mounter_client *c, const struct node_config *config, int fds[NODE_DISKS_MAX + 1],
		      size_t *ret_count, struct err *err)
{
	*ret_count = 0;
	for (size_t i = 0; i < config->disk_count; i++) {
		int r = mounter_tier_open(c, config->disks[i].path, 0, &fds[*ret_count], err);
		if (r)
			return r;
		++*ret_count;
	}
	if (!config->dram_bytes)
		return 0;
	int r = mounter_tier_open(c, NULL, config->dram_bytes, &fds[*ret_count], err);
	*ret_count += r == 0;
	return r;
}

/* Whoever asks for a file to be passed through must have opened the tier it lies on. */
static int open_tiers_again(struct mounter_client *c, const struct node_config *config, struct err *err)
{
	int fds[NODE_DISKS_MAX + 1];
	size_t count;
	int r = refill_open_tiers(c, config, fds, &count, err);

	for (size_t i = 0; i < count; i++)
		(void)fd_close(fds[i]);
	return r;
}

/* A session the mounter does not know was ended meanwhile, or lies where it does not look: its mount is served all the same. */
static int give_sessions(struct mounter_client *c, const struct kept_session *sessions, size_t count,
			 struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		int r = mounter_give(c, sessions[i].id, sessions[i].dev_fd, sessions[i].memory_fd, err);
		if (r == -EEXIST)
			continue;
		if (r == -ENOENT || r == -EACCES)
			log_write(LOG_WARN, "a mount is served without the mounter's help",
				  LOG_STR("why", err_words(err, r)), NULL);
		else if (r)
			return r;
	}
	return 0;
}

int refill_mounter(const struct node_config *config, int memory_fd, const struct kept_session *sessions,
		   size_t count)
{
	CLEANUP(mounter_client_free) struct mounter_client *c = NULL;
	struct err err = {0};

	int r = mounter_client_new(config->mounter, &c);
	if (!r)
		r = mounter_keep(c, NULL, memory_fd, &err);
	if (!r)
		r = open_tiers_again(c, config, &err);
	if (!r)
		r = give_sessions(c, sessions, count, &err);
	if (r)
		log_write(LOG_WARN, "a new mounter is not given all of what the former one held",
			  LOG_STR("error", err_words(&err, r)), NULL);
	else
		log_write(LOG_INFO, "the mounter was given what the former one held",
			  LOG_INT("sessions", count), NULL);
	return r;
}
