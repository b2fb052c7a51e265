#include <string.h>

#include "csi-driver/mounter/state.h"

struct session *session_find(struct mounter *m, size_t client, const uint8_t *id)
{
	for (size_t i = 0; i < MOUNTER_SESSIONS_MAX; i++) {
		struct session *s = &m->sessions[i];
		if (s->used && s->client == client && memcmp(s->id, id, sizeof s->id) == 0)
			return s;
	}
	return NULL;
}

bool session_id_taken(const struct mounter *m, const uint8_t *id)
{
	for (size_t i = 0; i < MOUNTER_SESSIONS_MAX; i++)
		if (m->sessions[i].used && memcmp(m->sessions[i].id, id, sizeof m->sessions[i].id) == 0)
			return true;
	return false;
}

bool session_above(const struct mounter *m, const char *path)
{
	for (size_t i = 0; i < MOUNTER_SESSIONS_MAX; i++) {
		const char *rest = m->sessions[i].used ? path_below(m->sessions[i].path, path) : NULL;
		if (rest && *rest)
			return true;
	}
	return false;
}

struct session *session_free_slot(struct mounter *m)
{
	for (size_t i = 0; i < MOUNTER_SESSIONS_MAX; i++)
		if (!m->sessions[i].used)
			return &m->sessions[i];
	return NULL;
}

void session_release(struct session *s)
{
	(void)fd_close(s->dev_fd);
	(void)fd_close(s->memory_fd);
	memset(s, 0, sizeof *s);
	s->dev_fd = s->memory_fd = -1;
}

size_t session_list(const struct mounter *m, size_t client, size_t first,
		    uint8_t ids[MOUNTER_LIST_MAX][MOUNTER_SESSION_BYTES])
{
	size_t n = 0;

	for (size_t i = 0; i < MOUNTER_SESSIONS_MAX; i++) {
		const struct session *s = &m->sessions[i];
		if (!s->used || s->client != client)
			continue;
		if (n >= first && n - first < MOUNTER_LIST_MAX)
			memcpy(ids[n - first], s->id, sizeof s->id);
		n++;
	}
	return n;
}
