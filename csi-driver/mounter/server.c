#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/log.h"
#include "csi-driver/mounter/state.h"

/* A connection: its socket, and which client's directory it came through. */
struct peer {
	int fd;
	size_t client;
};

struct server {
	struct mounter *m;
	struct peer peers[MOUNTER_PEERS_MAX];
	size_t peer_count;
	int signal_fd;
};

static int listen_at(struct client *c)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(c->socket) >= sizeof address.sun_path)
		return -ENAMETOOLONG;
	memcpy(address.sun_path, c->socket, strlen(c->socket) + 1);
	CLEANUP(fd_close) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	(void)unlink(c->socket); /* a former mounter's; its directory is this client's alone */
	if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
	    chown(c->socket, c->uid, c->gid) < 0 || listen(fd, 16) < 0)
		return -errno;
	c->listener = fd_take(&fd);
	return 0;
}

/* The directory decides who the caller is; the uid must be the one it was made for (or root, who could anyway). */
static bool is_expected_peer(int fd, const struct client *c)
{
	struct ucred cred;
	socklen_t len = sizeof cred;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
	       (cred.uid == c->uid || cred.uid == 0);
}

/* NULL when the caller may be heard. */
static const char *peer_refusal(const struct server *s, int fd, size_t client)
{
	const struct client *c = &s->m->clients[client];

	if (s->peer_count == MOUNTER_PEERS_MAX)
		return "too many connections";
	if (!is_expected_peer(fd, c))
		return "wrong uid";
	return client_is_stuck(c) ? "closing what it sent hangs" : NULL;
}

static void accept_peer(struct server *s, size_t client)
{
	CLEANUP(fd_close)
	int fd = accept4(s->m->clients[client].listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	const char *why = peer_refusal(s, fd, client);
	if (why) {
		log_write(LOG_WARN, "connection refused", LOG_STR("socket", s->m->clients[client].socket),
			  LOG_STR("why", why), NULL);
		return;
	}
	s->peers[s->peer_count++] = (struct peer){.fd = fd_take(&fd), .client = client};
}

static void close_all(const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		(void)fd_close(fds[i]);
}

static void log_refusal(const struct exchange *x)
{
	bool nothing_kept =
		x->request->op == MOUNTER_FETCH && x->reply.status == -ENOENT; /* a client's first start */

	if (x->reply.status && !nothing_kept)
		log_write(LOG_WARN, "request refused", LOG_INT("client", x->client),
			  LOG_INT("op", x->request->op), LOG_INT("status", x->reply.status),
			  LOG_STR("why", x->reply.text), NULL);
}

/* What hangs waits for a server of FUSE files, most likely one of the client's own mounts: those end, and with them the waiting. */
static void abort_sessions(struct mounter *m, size_t client, struct mounter_request *request,
			   struct exchange *x)
{
	log_write(LOG_ERROR, "connection dropped and mounts aborted: closing what it sent hangs",
		  LOG_INT("client", client), NULL);
	for (size_t i = 0; i < MOUNTER_SESSIONS_MAX; i++) {
		if (!m->sessions[i].used || m->sessions[i].client != client)
			continue;
		memcpy(request->session, m->sessions[i].id, sizeof request->session);
		x->request = request;
		(void)unmount_session(m, x, true); /* a reply nobody waits for */
	}
}

/* One request of one peer; false: the peer is gone or broke the protocol. */
static bool serve_peer(struct server *s, const struct peer *p, struct mounter_request *request,
		       struct exchange *x)
{
	int fds[FD_PASS_MAX];
	size_t count;
	ssize_t n = fd_recv_raw(p->fd, request, sizeof *request, fds, &count);

	if (n == -EAGAIN)
		return true;
	if (n != (ssize_t)sizeof *request) {
		close_received(s->m, p->client, fds, count);
		if (n != 0 && n != -ECONNRESET)
			log_write(LOG_WARN, "connection dropped: not a request of this protocol",
				  LOG_INT("client", p->client), LOG_INT("length", n), NULL);
		return false;
	}
	memset(x, 0, sizeof *x);
	x->client = p->client;
	x->request = request;
	x->fds = fds;
	x->fd_count = count;
	exchange_run(s->m, x);
	log_refusal(x);
	int r = fd_send(p->fd, &x->reply, sizeof x->reply, x->reply_fds, x->reply_fd_count);
	if (r)
		exchange_undo(s->m, x);
	close_received(s->m, p->client, fds, count);
	if (x->reply_close)
		close_all(x->reply_fds, x->reply_fd_count);
	if (client_is_stuck(&s->m->clients[p->client])) {
		abort_sessions(s->m, p->client, request, x);
		return false;
	}
	return r == 0;
}

static size_t fill_polls(const struct server *s, struct pollfd *polls)
{
	size_t n = 0;

	polls[n++] = (struct pollfd){.fd = s->signal_fd, .events = POLLIN};
	for (size_t i = 0; i < s->m->client_count; i++)
		polls[n++] = (struct pollfd){.fd = s->m->clients[i].listener, .events = POLLIN};
	for (size_t i = 0; i < s->peer_count; i++)
		polls[n++] = (struct pollfd){.fd = s->peers[i].fd, .events = POLLIN};
	return n;
}

static void serve_ready(struct server *s, const struct pollfd *polls, struct mounter_request *request,
			struct exchange *x)
{
	const struct pollfd *peers = polls + 1 + s->m->client_count;
	size_t kept = 0, polled = s->peer_count;

	for (size_t i = 0; i < polled; i++) {
		struct peer p = s->peers[i];
		if (peers[i].revents && !serve_peer(s, &p, request, x))
			(void)fd_close(p.fd);
		else
			s->peers[kept++] = p;
	}
	s->peer_count = kept;
	for (size_t i = 0; i < s->m->client_count; i++)
		if (polls[1 + i].revents)
			accept_peer(s, i);
}

static int loop(struct server *s)
{
	struct pollfd polls[1 + MOUNTER_CLIENTS_MAX + MOUNTER_PEERS_MAX];
	struct mounter_request *request = malloc(sizeof *request);
	struct exchange *x = malloc(sizeof *x);
	int r = request && x ? 0 : -ENOMEM;

	while (!r) {
		size_t n = fill_polls(s, polls);
		if (poll(polls, n, -1) < 0 && errno != EINTR)
			r = -errno;
		else if (polls[0].revents)
			break;
		else
			serve_ready(s, polls, request, x);
	}
	free(request);
	free(x);
	return r;
}

int server_run(struct mounter *m)
{
	struct server s = {.m = m};
	sigset_t signals;

	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGINT);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
		return -errno;
	s.signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	int r = s.signal_fd < 0 ? -errno : 0;
	if (!r)
		adopt_marked_mounts(m);
	for (size_t i = 0; i < m->client_count && !r; i++) {
		r = listen_at(&m->clients[i]);
		if (r)
			log_write(LOG_ERROR, "cannot listen", LOG_STR("socket", m->clients[i].socket),
				  LOG_STR("error", strerrordesc_np(-r)), NULL);
	}
	if (!r) {
		log_write(LOG_INFO, "mounter ready", LOG_INT("clients", m->client_count), NULL);
		r = loop(&s);
	}
	for (size_t i = 0; i < m->client_count; i++) {
		if (m->clients[i].listener >= 0)
			(void)unlink(m->clients[i].socket); /* the next start would remove it too */
	}
	return r;
}
