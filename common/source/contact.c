#include "common/source/contact.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/source/web_fetch.h"

struct call {
	struct http_task task;
	struct http_transfer transfer;
	struct web_source *source;
	struct credential *credential;
	struct response head;
	char *url;
	int64_t sent_ns;
	struct source_contact *contact;
	struct err *err;
	int status;
	bool ended; /* guarded by lock */
	pthread_mutex_t lock;
	pthread_cond_t end;
};

static int on_request(struct http_transfer *t, struct http_request *ret)
{
	struct call *c = CONTAINER_OF(t, struct call, transfer);

	c->sent_ns = clock_wall_ns();
	*ret = (struct http_request){
		.head = true, .url = c->url, .proxy = c->source->proxy, .ca_pem = c->credential->ca_pem};
	return 0;
}

static void on_header(struct http_transfer *t, const char *name, size_t name_len, const char *value,
		      size_t value_len)
{
	struct call *c = CONTAINER_OF(t, struct call, transfer);

	response_header(&c->head, c->sent_ns, name, name_len, value, value_len);
}

static int on_head(struct http_transfer *t)
{
	(void)t;
	return 0;
}

static enum http_taken on_body(struct http_transfer *t, const uint8_t *p, size_t len, size_t *ret_used)
{
	(void)t;
	(void)p;
	(void)len;
	(void)ret_used;
	return HTTP_TAKEN; /* of a HEAD there is none */
}

static void on_done(struct http_transfer *t, int status, const char *words)
{
	struct call *c = CONTAINER_OF(t, struct call, transfer);
	int64_t now_ns = clock_wall_ns();

	(void)snprintf(c->contact->peer, sizeof c->contact->peer, "%s", t->peer);
	c->contact->stage = t->stage;
	c->contact->has_skew = status == 0 && c->head.date_ns != 0;
	/* The server's clock says whole seconds, and read them somewhere between our two looks. */
	if (c->contact->has_skew)
		c->contact->skew_ns =
			c->head.date_ns + NS_PER_S / 2 - (c->sent_ns + (now_ns - c->sent_ns) / 2);
	c->status = status < 0 ? err_set(c->err, status, "%.300s", *words ? words : err_text(status)) : 0;
	pthread_mutex_lock(&c->lock);
	c->ended = true;
	(void)pthread_cond_signal(&c->end);
	pthread_mutex_unlock(&c->lock);
}

static void on_task(struct http_task *task)
{
	static const struct http_transfer_ops ops = {.request = on_request,
						     .header = on_header,
						     .head = on_head,
						     .body = on_body,
						     .done = on_done};
	struct call *c = CONTAINER_OF(task, struct call, task);

	http_transfer_init(&c->transfer, &ops);
	http_transfer_start(c->source->pool, &c->transfer);
}

int source_contact(struct source *s, struct source_contact *ret, struct err *err)
{
	struct web_source *web = web_source_cast(s);
	struct call c = {.source = web, .contact = ret, .err = err};

	*ret = (struct source_contact){0};
	if (!web)
		return err_set(err, -ERR_UNSUPPORTED, "%.80s: no server stands behind it", s->label);
	c.url = mem_printf("%s/", web->origin);
	if (!c.url)
		return err_set(err, -ENOMEM, "out of memory");
	c.credential = web_credential_now(web);
	(void)pthread_mutex_init(&c.lock, NULL);
	(void)pthread_cond_init(&c.end, NULL);
	http_task_init(&c.task, on_task);
	http_post(s->loop->http, &c.task);
	pthread_mutex_lock(&c.lock);
	while (!c.ended)
		(void)pthread_cond_wait(&c.end, &c.lock);
	pthread_mutex_unlock(&c.lock);
	(void)pthread_cond_destroy(&c.end);
	(void)pthread_mutex_destroy(&c.lock);
	(void)credential_unref(c.credential);
	mem_free(c.url);
	return c.status;
}

void source_refusal_take(struct source *s, struct source_refusal *ret)
{
	struct web_source *web = web_source_cast(s);

	*ret = (struct source_refusal){0};
	if (!web)
		return;
	pthread_mutex_lock(&s->lock);
	*ret = web->refusal;
	web->refusal = (struct source_refusal){0};
	pthread_mutex_unlock(&s->lock);
}
