#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/larder/v1/node.pb-c.h"
#include "cli/human.h"
#include "cli/json.h"
#include "cli/secret_file.h"
#include "cli/terminal.h"
#include "cli/up_options.h"
#include "common/base/mem.h"

static void a_message_becomes_json_with_every_field(void **state)
{
	Larder__V1__StatusReply s = LARDER__V1__STATUS_REPLY__INIT;
	Larder__V1__DatasetStatus d = LARDER__V1__DATASET_STATUS__INIT, *list[] = {&d};
	char *unacted[] = {(char *)"spec.x", (char *)"a\"b\n"}, *text;
	uint8_t root[] = {0xab, 0x01};
	size_t len;

	d.name = (char *)"one";
	d.phase = LARDER__V1__DATASET_STATUS__PHASE__READY;
	d.files = 1ULL << 40;
	d.unacted = unacted;
	d.n_unacted = 2;
	d.root.data = root;
	d.root.len = sizeof root;
	s.datasets = list;
	s.n_datasets = 1;
	FILE *f = open_memstream(&text, &len);
	json_message(f, &s.base);
	(void)fclose(f);
	cJSON *j = cJSON_Parse(text);
	assert_non_null(j);
	const cJSON *first = cJSON_GetArrayItem(cJSON_GetObjectItem(j, "datasets"), 0);
	assert_string_equal(cJSON_GetObjectItem(first, "phase")->valuestring, "READY");
	assert_string_equal(cJSON_GetObjectItem(first, "name")->valuestring, "one");
	assert_string_equal(cJSON_GetObjectItem(first, "root")->valuestring, "ab01");
	assert_string_equal(cJSON_GetArrayItem(cJSON_GetObjectItem(first, "unacted"), 1)->valuestring,
			    "a\"b\n");
	assert_true(cJSON_GetObjectItem(first, "files")->valuedouble == 1099511627776.0);
	assert_true(cJSON_IsNull(cJSON_GetObjectItem(j, "node")));
	assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(j, "mounts")), 0);
	cJSON_Delete(j);
	free(text);
}

static void a_file_name_cannot_steer_the_terminal(void **state)
{
	static const char name[] = "a\033[31m\xff\xc2\x9b"
				   "\xc3\xa4\x7f";
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	term_text(f, name, sizeof name - 1);
	(void)fclose(f);
	assert_string_equal(text, "a?[31m??\xc3\xa4?");
	free(text);
	f = open_memstream(&text, &len);
	json_string(f, "\xff\xed\xa0\x80\"\x01", 6);
	(void)fclose(f);
	assert_string_equal(text, "\"\\ufffd\\ufffd\\ufffd\\ufffd\\\"\\u0001\"");
	free(text);
}

static void plain_progress_comes_every_few_seconds(void **state)
{
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	struct progress_line p = {.out = f, .told_ns = -TERMINAL_PLAIN_NS};

	progress_line_show(&p, "one", 0);
	progress_line_show(&p, "two", TERMINAL_PLAIN_NS - 1);
	progress_line_show(&p, "three", TERMINAL_PLAIN_NS);
	progress_line_clear(&p);
	(void)fclose(f);
	assert_string_equal(text, "one\nthree\n");
	free(text);
	f = open_memstream(&text, &len);
	p = (struct progress_line){.out = f, .terminal = true};
	progress_line_show(&p, "one", 0);
	progress_line_show(&p, "two", 1);
	progress_line_clear(&p);
	progress_line_clear(&p);
	(void)fclose(f);
	assert_string_equal(text, "\rone\033[K\rtwo\033[K\r\033[K");
	free(text);
}

static void a_secret_file_becomes_a_secret(void **state)
{
	const struct dataset_ref name = {.namespace_ = "v", .name = "keys"};
	static const char text[] =
		"# mine\n\nexport AWS_ACCESS_KEY_ID = AK\r\nAWS_SECRET_ACCESS_KEY=\"a=b#c\"\ntoken='x'";
	char *document;
	struct err err;

	assert_int_equal(secret_file_convert(&name, "f", text, &document, &err), 0);
	cJSON *j = cJSON_Parse(document);
	const cJSON *data = cJSON_GetObjectItem(j, "stringData");
	assert_string_equal(cJSON_GetObjectItem(j, "kind")->valuestring, "Secret");
	assert_string_equal(cJSON_GetObjectItem(cJSON_GetObjectItem(j, "metadata"), "namespace")->valuestring,
			    "v");
	assert_string_equal(cJSON_GetObjectItem(data, "AWS_ACCESS_KEY_ID")->valuestring, "AK");
	assert_string_equal(cJSON_GetObjectItem(data, "AWS_SECRET_ACCESS_KEY")->valuestring, "a=b#c");
	assert_string_equal(cJSON_GetObjectItem(data, "token")->valuestring, "x");
	cJSON_Delete(j);
	(void)mem_free(document);
}

static void a_wrong_secret_file_is_told_without_its_values(void **state)
{
	static const struct {
		const char *text, *sentence;
	} rows[] = {
		{"geheim\n", "f:1: must be KEY=VALUE or KEY=@FILE"},
		{"\n=geheim\n", "f:2: must be KEY=VALUE or KEY=@FILE"},
		{"token=geheim\ntoken=geheim", "f:2: token is given twice"},
		{"# nothing\n", "f holds no KEY=VALUE line"},
		{"ca.crt=@/nonexistent", "f: the file of ca.crt: No such file or directory"},
	};
	const struct dataset_ref name = {.namespace_ = "v", .name = "keys"};
	char *document;
	struct err err;

	for (size_t i = 0; i < LENGTH(rows); i++) {
		assert_true(secret_file_convert(&name, "f", rows[i].text, &document, &err) < 0);
		assert_string_equal(err.text, rows[i].sentence);
		assert_null(strstr(err.text, "geheim"));
	}
}

static void a_listing_on_its_way_says_how_far_it_is(void **state)
{
	const struct human_progress known = {.objects_done = 12000,
					     .objects_total = 40000,
					     .bytes_done = 1 << 30},
				    unknown = {.objects_done = 5};
	char line[256];

	human_sync_line(&known, 4000000000, line, sizeof line);
	assert_string_equal(line, "12,000 of about 40,000 objects, 1.0 GiB in files, 3,000/s, 9s left");
	human_sync_line(&unknown, 1000, line, sizeof line);
	assert_string_equal(line, "5 objects, 0 B in files");
}

static int parse(const char *line, struct up_options **o, struct err *err)
{
	char copy[512], *argv[32], *rest;
	int argc = 0;

	(void)snprintf(copy, sizeof copy, "up %s", line);
	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		argv[argc++] = word;
	return up_options_parse(argc, argv, o, err);
}

static void the_options_of_up_are_read(void **state)
{
	struct up_options *o;

	assert_int_equal(
		parse("-f /a.yaml -f /b.yaml --mount /tmp/m --name x --disk /tmp/d:1:5Gi --dram 64Mi --port-base 9000 "
		      "--run-as 7:8 --secret v/k=/s --without=passthrough --daemon --log-format json",
		      &o, NULL),
		0);
	assert_int_equal(o->file_count, 2);
	assert_string_equal(o->files[1], "/b.yaml");
	assert_string_equal(o->mount, "/tmp/m");
	assert_string_equal(o->state, "/var/lib/larder/x");
	assert_string_equal(o->disks[0].path, "/tmp/d:1");
	assert_true(o->disks[0].bytes_max == 5ULL << 30);
	assert_int_equal(o->uid, 7);
	assert_int_equal(o->gid, 8);
	assert_string_equal(o->secrets[0].name.namespace_, "v");
	assert_true(o->daemon && o->json_log);
	(void)mem_free(o);
}

static void wrong_options_of_up_are_refused_word_for_word(void **state)
{
	static const struct {
		const char *line, *sentence;
	} rows[] = {
		{"--mount /tmp/m", "up needs a Dataset: -f dataset.yaml"},
		{"-f /a", "up needs a folder to mount on: --mount DIR"},
		{"--mount /", "/ cannot be a mount point"},
		{"--name Big", "--name \"Big\" must be lower-case letters, digits and \"-\", at most 63"},
		{"--disk /x", "--disk \"/x\" must be a folder and a size, like /var/cache/larder:100Gi"},
		{"--dram 1", "--dram 1 is too little; 16Mi is the least"},
		{"--dram x", "--dram \"x\" is not a size; write 512Mi or 8G"},
		{"--run-as 0", "--run-as \"0\" must be a number other than 0, or UID:GID"},
		{"--without passthru", "--without \"passthru\": did you mean \"passthrough\"?"},
		{"--secret x", "--secret \"x\" must be [NAMESPACE/]NAME=FILE"},
		{"--port-base 99999", "--port-base \"99999\" must be a port from 1 to 65500"},
		{"x", "\"x\" is not expected here; files are given with -f"},
	};
	struct up_options *o;
	struct err err;

	for (size_t i = 0; i < LENGTH(rows); i++) {
		assert_int_equal(parse(rows[i].line, &o, &err), -EINVAL);
		assert_string_equal(err.text, rows[i].sentence);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_becomes_json_with_every_field),
		cmocka_unit_test(a_file_name_cannot_steer_the_terminal),
		cmocka_unit_test(plain_progress_comes_every_few_seconds),
		cmocka_unit_test(a_listing_on_its_way_says_how_far_it_is),
		cmocka_unit_test(a_secret_file_becomes_a_secret),
		cmocka_unit_test(a_wrong_secret_file_is_told_without_its_values),
		cmocka_unit_test(the_options_of_up_are_read),
		cmocka_unit_test(wrong_options_of_up_are_refused_word_for_word),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
