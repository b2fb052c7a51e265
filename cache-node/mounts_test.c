/* Mounts of a worker: published, followed, ended, taken over. The supervisor and the kernel are played by the test. */
#include "cache-node/test_supervisor.h"

struct fixture {
	struct test_node *node;
	struct test_supervisor *supervisor;
	struct mounts *mounts;
};

static void moved(void *ctx, struct node_dataset *d)
{
	struct fixture *f = ctx;

	mounts_follow(f->mounts, d);
}

static void start_mounts(struct fixture *f)
{
	struct mounts_config c = {.control = &f->supervisor->control, .mounter = f->node->client};

	assert_int_equal(mounts_new(&c, &f->mounts), 0);
	f->node->moved = moved;
	f->node->moved_ctx = f;
	test_datasets_start(f->node);
	mounts_attach(f->mounts, f->node->datasets);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	f->node = test_node_new();
	f->supervisor = test_supervisor_new();
	start_mounts(f);
	test_file(f->node, "data/f", "1", 1);
	test_put_folder(f->node, "x", "data", 1);
	*state = f;
	return 0;
}

struct seen {
	size_t count;
	struct session_stats stats;
};

static void see(void *ctx, const struct session_stats *stats)
{
	struct seen *s = ctx;

	s->count++;
	s->stats = *stats;
}

static size_t count_mounts(struct fixture *f)
{
	struct seen s = {0};

	mounts_each(f->mounts, see, &s);
	return s.count;
}

/* Every test ends its mounts. */
static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(count_mounts(f), 0);
	f->node->datasets = datasets_free(f->node->datasets); /* no sync tells of a version any more */
	mounts_free(f->mounts);
	test_node_free(f->node);
	test_supervisor_free(f->supervisor);
	free(f);
	return 0;
}

static int publish(struct fixture *f, const char *target, struct err *err)
{
	CLEANUP(datasets_unref) struct node_dataset *d = test_find(f->node, "default/x");
	struct catalog_head head = test_head(d);

	return mounts_publish(f->mounts, d, target, &head, err);
}

static void what_is_published_is_shown_until_it_is_unpublished(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};
	struct seen s = {0};

	assert_int_equal(publish(f, "/mnt/a", NULL), 0);
	assert_int_equal(publish(f, "/mnt/a", NULL), 0); /* again: no error, no second mount */
	mounts_each(f->mounts, see, &s);
	assert_int_equal(s.count, 1);
	assert_string_equal(s.stats.target, "/mnt/a");
	assert_string_equal(s.stats.dataset, "default/x");
	assert_int_equal(s.stats.version, 1);
	assert_int_equal(datasets_delete(f->node->datasets, "default", "x", &err), -EBUSY);
	assert_int_equal(mounts_unpublish(f->mounts, "/mnt/b", false, &err), -ENOENT);
	assert_int_equal(mounts_unpublish(f->mounts, "/mnt/a", false, &err), 0);
	assert_int_equal(mounts_unpublish(f->mounts, "/mnt/a", false, &err), -ENOENT);
	assert_int_equal(datasets_delete(f->node->datasets, "default", "x", &err), 0);
}

static void another_dataset_at_the_same_place_is_refused(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};

	test_put_folder(f->node, "y", "other", 1);
	assert_int_equal(publish(f, "/mnt/a", NULL), 0);
	CLEANUP(datasets_unref) struct node_dataset *d = test_find(f->node, "default/y");
	struct catalog_head head = test_head(d);
	assert_int_equal(mounts_publish(f->mounts, d, "/mnt/a", &head, &err), -EBUSY);
	assert_string_equal(err.text, "/mnt/a is mounted already, with default/x");
	assert_int_equal(mounts_unpublish(f->mounts, "/mnt/a", false, NULL), 0);
}

static void a_mount_that_the_supervisor_refuses_is_not_listed(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};

	f->supervisor->fail = -EXDEV; /* nobody asks it at this moment */
	assert_int_equal(publish(f, "/mnt/a", &err), -EXDEV);
	assert_int_equal(count_mounts(f), 0);
	f->supervisor->fail = 0;
	assert_int_equal(publish(f, "/mnt/a", &err), 0);
	assert_int_equal(mounts_unpublish(f->mounts, "/mnt/a", false, NULL), 0);
}

static void a_busy_mount_stays_unless_it_is_ended_lazily(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};

	assert_int_equal(publish(f, "/mnt/a", NULL), 0);
	f->supervisor->busy = true;
	assert_int_equal(mounts_unpublish(f->mounts, "/mnt/a", false, &err), -EBUSY);
	assert_int_equal(count_mounts(f), 1);
	assert_int_equal(mounts_unpublish(f->mounts, "/mnt/a", true, &err), 0);
}

static void a_mount_follows_the_head(void **state)
{
	struct fixture *f = *state;
	struct seen s = {0};

	assert_int_equal(publish(f, "/mnt/a", NULL), 0);
	CLEANUP(datasets_unref) struct node_dataset *d = test_find(f->node, "default/x");
	test_file(f->node, "data/g", "2", 1);
	struct catalog_head head = test_sync(d);
	assert_int_equal(head.version, 2);
	while (atomic_load(&f->node->moves) < 2)
		(void)usleep(1000);
	mounts_each(f->mounts, see, &s);
	assert_int_equal(s.stats.version, 2);
	assert_int_equal(mounts_unpublish(f->mounts, "/mnt/a", false, NULL), 0);
}

static void a_mount_taken_away_from_outside_is_given_up(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(publish(f, "/mnt/a", NULL), 0);
	(void)shutdown(f->supervisor->mounts[0].kernel, SHUT_RDWR);
	while (count_mounts(f))
		(void)usleep(1000);
}

struct publishing {
	struct fixture *f;
	int result;
};

static void *publish_main(void *arg)
{
	struct publishing *p = arg;

	p->result = publish(p->f, "/mnt/a", NULL);
	return NULL;
}

static void a_delete_while_a_publish_is_on_its_way_leaves_no_mount_of_a_deleted_dataset(void **state)
{
	struct fixture *f = *state;
	struct publishing p = {.f = f};
	struct err err = {0};
	pthread_t thread;

	test_supervisor_hold(f->supervisor, true);
	assert_int_equal(pthread_create(&thread, NULL, publish_main, &p), 0);
	test_supervisor_asked(f->supervisor, 1);
	int deleted = datasets_delete(f->node->datasets, "default", "x", &err);
	test_supervisor_hold(f->supervisor, false);
	pthread_join(thread, NULL);
	assert_int_equal(deleted, -EBUSY);
	assert_int_equal(p.result, 0);
	assert_int_equal(mounts_unpublish(f->mounts, "/mnt/a", false, NULL), 0);
	assert_int_equal(datasets_delete(f->node->datasets, "default", "x", &err), 0);
}

static void a_publish_of_what_was_deleted_makes_no_mount(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};
	CLEANUP(datasets_unref) struct node_dataset *d = test_find(f->node, "default/x");
	struct catalog_head head = test_head(d);

	assert_int_equal(datasets_delete(f->node->datasets, "default", "x", &err), 0);
	assert_int_equal(mounts_publish(f->mounts, d, "/mnt/a", &head, &err), -ENOENT);
	test_put_folder(f->node, "x", "data",
			2); /* another one of that name is not the one that was asked for */
	assert_int_equal(mounts_publish(f->mounts, d, "/mnt/a", &head, &err), -ENOENT);
	assert_int_equal(f->supervisor->mounting, 0);
}

static void a_mount_of_a_dataset_nobody_knows_is_ended_and_not_taken_over(void **state)
{
	struct fixture *f = *state;
	int pair[2];
	static const struct fuse_init_in offered = {.major = 7, .minor = 38};
	struct kept_session kept = {.id = {77}};
	struct shm_config c = {.session = kept.id,
			       .dataset = "default/unknown",
			       .target = "/mnt/u",
			       .offered = &offered,
			       .max_read = 1 << 20};

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(shm_create(&c, &kept.memory_fd), 0);
	kept.dev_fd = pair[0];
	mounts_adopt(f->mounts, &kept, 1);
	assert_int_equal(count_mounts(f), 0);
	fd_close(pair[0]);
	fd_close(pair[1]);
	fd_close(kept.memory_fd);
}

static void a_kept_mount_is_taken_over_at_the_head(void **state)
{
	struct fixture *f = *state;
	static const struct fuse_init_in offered = {.major = 7, .minor = 38};
	struct seen s = {0};
	struct test_mount *m = &f->supervisor->mounts[0];
	int pair[2];

	m->kept.id[0] = 5;
	struct shm_config c = {.session = m->kept.id,
			       .dataset = "default/x",
			       .target = "/mnt/kept",
			       .offered = &offered,
			       .max_read = 1 << 20};
	CLEANUP(datasets_unref) struct node_dataset *d = test_find(f->node, "default/x");
	(void)test_head(d);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(shm_create(&c, &m->kept.memory_fd), 0);
	m->kept.dev_fd = pair[0];
	m->kernel = pair[1];
	f->supervisor->count = 1;
	mounts_adopt(f->mounts, &m->kept, 1);
	mounts_each(f->mounts, see, &s);
	assert_int_equal(s.count, 1);
	assert_string_equal(s.stats.target, "/mnt/kept");
	assert_int_equal(s.stats.version, 1);
	assert_int_equal(mounts_unpublish(f->mounts, "/mnt/kept", false, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(what_is_published_is_shown_until_it_is_unpublished),
		T(another_dataset_at_the_same_place_is_refused),
		T(a_mount_that_the_supervisor_refuses_is_not_listed),
		T(a_busy_mount_stays_unless_it_is_ended_lazily),
		T(a_mount_follows_the_head),
		T(a_mount_taken_away_from_outside_is_given_up),
		T(a_delete_while_a_publish_is_on_its_way_leaves_no_mount_of_a_deleted_dataset),
		T(a_publish_of_what_was_deleted_makes_no_mount),
		T(a_mount_of_a_dataset_nobody_knows_is_ended_and_not_taken_over),
		T(a_kept_mount_is_taken_over_at_the_head),
#undef T
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
