#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/dataset.h"
#include "common/dataset/fields.h"
#include "common/dataset/glob.h"

#define HEAD   "apiVersion: larder.dev/v1alpha1\nkind: Dataset\n"
#define NAMED  HEAD "metadata: {name: d}\n"
#define S3     "s3: {bucket: data}, anonymous: true"
#define SPEC   NAMED "spec:\n  sources: [{" S3 "}]\n" /* 5 lines */
#define SECRET "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"

static const char full[] = HEAD
	"metadata: {name: imagenet, namespace: vision, labels: {team: a}}\n"
	"spec:\n"
	"  sources:\n"
	"    - mountPath: /\n"
	"      s3: {bucket: corp-data, prefix: imagenet, region: eu-west-1, endpoint: \"https://h:9000/\",\n"
	"           requestsPerSecond: 2000, bandwidth: 1Gi, addressing: VirtualHost, connections: 32}\n"
	"      secretRef: {name: imagenet-s3}\n"
	"      include: [\"train/**\", \"val/**\"]\n"
	"      exclude: [\"**/*.tmp\"]\n"
	"      timeout: 1m30s\n"
	"    - {mountPath: /shared, file: {path: /mnt/nfs/shared/, symlinks: Follow}}\n"
	"  version: 17\n"
	"  sync: {interval: 10m, paths: [\"train/new/**\"]}\n"
	"  retention: {versions: 4, age: 1h}\n"
	"  cache: {quota: 500Gi, floor: 20Gi, tiers: [NVMe, DRAM], placement: Auto, replicas: 1, pin: true, ttl: 168h}\n"
	"  preload: {paths: [\"train/**\"], bandwidth: 1.5Gi}\n"
	"  access: {uid: 1000, gid: 100, mode: \"0440\"}\n"
	"  volume: {create: true, profile: LargeFiles, openWait: 0s}\n";

static struct dataset_file *parsed(const char *text)
{
	struct dataset_file *f = NULL;
	struct err err = {0};
	int r = dataset_file_parse("d.yaml", text, strlen(text), &f, &err);
	if (r != 0)
		print_error("%s\n", err_words(&err, r));
	assert_int_equal(r, 0);
	return f;
}

static void assert_full(const struct dataset *d)
{
	assert_string_equal(d->namespace_, "vision");
	assert_string_equal(d->name, "imagenet");
	assert_int_equal(d->source_count, 2);
	const struct dataset_source *s = &d->sources[0], *t = &d->sources[1];
	assert_string_equal(s->mount_path, "/");
	assert_int_equal(s->kind, SOURCE_S3);
	assert_string_equal(s->s3.bucket, "corp-data");
	assert_string_equal(s->s3.prefix, "imagenet/");
	assert_string_equal(s->s3.region, "eu-west-1");
	assert_string_equal(s->s3.endpoint, "https://h:9000");
	assert_int_equal(s->s3.addressing, SOURCE_ADDRESSING_VIRTUAL);
	assert_int_equal(s->s3.connections, 32);
	assert_int_equal(s->s3.requests_per_second, 2000);
	assert_int_equal(s->s3.bandwidth, 1 << 30);
	assert_string_equal(s->secret, "imagenet-s3");
	assert_false(s->anonymous);
	assert_int_equal(s->include.count, 2);
	assert_string_equal(s->include.items[1], "val/**");
	assert_string_equal(s->exclude.items[0], "**/*.tmp");
	assert_true(s->timeout_ns == 90 * 1000000000LL);
	assert_int_equal(t->kind, SOURCE_FILE);
	assert_string_equal(t->mount_path, "/shared");
	assert_string_equal(t->file.path, "/mnt/nfs/shared");
	assert_int_equal(t->file.symlinks, SOURCE_SYMLINKS_FOLLOW);
	assert_true(t->timeout_ns == 30 * 1000000000LL);
	assert_int_equal(d->version, 17);
	assert_true(d->sync.interval_ns == 600 * 1000000000LL);
	assert_string_equal(d->sync.paths.items[0], "train/new/**");
	assert_int_equal(d->retention.versions, 4);
	assert_true(d->retention.age_ns == 3600 * 1000000000LL);
	assert_true(d->cache.quota_bytes == 500ULL << 30);
	assert_true(d->cache.floor_bytes == 20ULL << 30);
	assert_int_equal(d->cache.tier_count, 2);
	assert_int_equal(d->cache.tiers[0], DATASET_TIER_NVME);
	assert_int_equal(d->cache.tiers[1], DATASET_TIER_DRAM);
	assert_true(d->cache.pin);
	assert_true(d->preload.enabled);
	assert_string_equal(d->preload.paths.items[0], "train/**");
	assert_true(d->preload.bandwidth == 3ULL << 29);
	assert_int_equal(d->access.uid, 1000);
	assert_int_equal(d->access.gid, 100);
	assert_int_equal(d->access.mode, 0440);
	const char *const unacted[] = {"spec.cache.placement",   "spec.cache.replicas", "spec.preload.paths",
				       "spec.preload.bandwidth", "spec.volume.create",  "spec.volume.profile",
				       "spec.volume.openWait"};
	assert_int_equal(d->unacted.count, LENGTH(unacted));
	for (size_t i = 0; i < LENGTH(unacted); i++)
		assert_string_equal(d->unacted.items[i], unacted[i]);
}

static void a_full_dataset_is_read_field_by_field(void **state)
{
	struct dataset_file *f = parsed(full);
	char name[DATASET_FULL_MAX], text[64];
	assert_int_equal(f->dataset_count, 1);
	assert_full(f->datasets[0]);
	dataset_full_name(f->datasets[0], name);
	assert_string_equal(name, "vision/imagenet");
	(void)dataset_source_text(&f->datasets[0]->sources[0], text, sizeof text);
	assert_string_equal(text, "s3://corp-data/imagenet/");
	(void)dataset_source_text(&f->datasets[0]->sources[1], text, sizeof text);
	assert_string_equal(text, "file:/mnt/nfs/shared");
	(void)dataset_file_free(f);
}

static void what_is_not_given_gets_its_default(void **state)
{
	struct dataset_file *f = parsed(SPEC);
	const struct dataset *d = f->datasets[0];
	assert_string_equal(d->namespace_, "default");
	assert_string_equal(d->sources[0].mount_path, "/");
	assert_string_equal(d->sources[0].s3.prefix, "");
	assert_string_equal(d->sources[0].s3.region, "us-east-1");
	assert_null(d->sources[0].s3.endpoint);
	assert_int_equal(d->sources[0].s3.addressing, SOURCE_ADDRESSING_AUTO);
	assert_true(d->sources[0].timeout_ns == 30 * 1000000000LL);
	assert_int_equal(d->version, 0);
	assert_int_equal(d->retention.versions, 10);
	assert_true(d->retention.age_ns == 0);
	assert_int_equal(d->access.mode, 0444);
	assert_false(d->preload.enabled);
	assert_int_equal(d->cache.tier_count, 0);
	assert_int_equal(d->unacted.count, 0);
	(void)dataset_file_free(f);
}

static void several_documents_and_json_are_read(void **state)
{
	struct dataset_file *f = parsed(SPEC "---\n---\n" SECRET "data: {token: YWJj}\n");
	assert_int_equal(f->dataset_count, 1);
	assert_int_equal(f->secret_count, 1);
	assert_string_equal(f->secrets[0]->value[SECRET_TOKEN], "abc");
	(void)dataset_file_free(f);
	f = parsed(
		"{\"apiVersion\":\"larder.dev/v1alpha1\",\"kind\":\"Dataset\",\"metadata\":{\"name\":\"a\"},"
		"\"spec\":{\"sources\":[{\"file\":{\"path\":\"/a\"}}],\"cache\":{\"pin\":true}}}");
	assert_true(f->datasets[0]->cache.pin);
	(void)dataset_file_free(f);
	f = parsed("# nothing yet\n");
	assert_int_equal(f->dataset_count + f->secret_count, 0);
	(void)dataset_file_free(f);
}

static const struct mistake {
	const char *text, *words;
} mistakes[] = {
	{HEAD "metadata: {name: d}\nspec:\n  sources:\n  - s3:\n      buckt: x\n",
	 "d.yaml:7:7: unknown field \"spec.sources[0].s3.buckt\"; did you mean \"bucket\"?"},
	{NAMED "spec:\n  source: []\n",
	 "d.yaml:5:3: unknown field \"spec.source\"; did you mean \"sources\"?"},
	{NAMED "spec:\n  zzz: 1\n",
	 "d.yaml:5:3: unknown field \"spec.zzz\"; has: sources, version, sync, retention, cache, preload, access, volume"},
	{NAMED "specs: {}\n", "d.yaml:4:1: unknown field \"specs\"; did you mean \"spec\"?"},
	{NAMED "spec:\n  sources: [{http: {}}]\n", "d.yaml:5:13: spec.sources[0].http.url is missing"},
	{NAMED "spec:\n  sources: [{http: {url: \"https://u:p@x/\"}}]\n",
	 "d.yaml:5:26: spec.sources[0].http.url: \"https://u:p@x/\" is not a URL like https://host/folder/, "
	 "without a user name or a fragment"},
	{NAMED "spec:\n  sources: [{http: {url: \"https://x/a\", index: Nginx}}]\n",
	 "d.yaml:5:13: spec.sources[0].http.url must end in a slash, as index: Nginx reads folders"},
	{NAMED "spec:\n  sources: [{http: {url: \"https://x/a/\", index: Single}}]\n",
	 "d.yaml:5:13: spec.sources[0].http.url must be that of a file, as index: Single reads one"},
	{NAMED "spec:\n  sources: [{http: {url: \"https://x/\"}, file: {path: /a}}]\n",
	 "d.yaml:5:47: spec.sources[0].file: a source has exactly one store; this one has http and file"},
	{NAMED "spec:\n  sources: [{gcs: {}}]\n",
	 "d.yaml:5:14: gcs: not in this version (has: s3, http, file)"},
	{NAMED "spec:\n  sources: [{serviceAccountName: x}]\n",
	 "d.yaml:5:14: serviceAccountName: not in this version (has: secretRef, anonymous)"},
	{NAMED "spec:\n  sources: [{" S3 ", file: {path: /a}}]\n",
	 "d.yaml:5:57: spec.sources[0].file: a source has exactly one store; this one has s3 and file"},
	{NAMED "spec:\n  sources: [{mountPath: /}]\n",
	 "d.yaml:5:13: spec.sources[0] has no store; it needs exactly one of: s3, http, file"},
	{NAMED "spec:\n  sources: [{s3: {bucket: data, profile: p}, anonymous: true}]\n",
	 "d.yaml:5:13: spec.sources[0] has s3.profile beside anonymous: true; it takes one of them"},
	{NAMED "spec:\n  sources: [{s3: {bucket: data, profile: p}, secretRef: {name: x}}]\n",
	 "d.yaml:5:13: spec.sources[0] has s3.profile beside secretRef; it takes one of them"},
	{NAMED "spec:\n  sources: [{s3: {bucket: data, profile: \"a b\"}}]\n",
	 "d.yaml:5:42: spec.sources[0].s3.profile: \"a b\" is not the name of a profile: letters, digits, '-', '_', '.' and '/'"},
	{NAMED "spec:\n  sources: [{" S3 ", secretRef: {name: x}}]\n",
	 "d.yaml:5:13: spec.sources[0] has both secretRef and anonymous: true; it takes one of them"},
	{NAMED "spec:\n  sources: [{s3: {prefix: a}, anonymous: true}]\n",
	 "d.yaml:5:13: spec.sources[0].s3.bucket is missing"},
	{NAMED "spec:\n  sources:\n  - {" S3 "}\n  - {" S3 "}\n",
	 "d.yaml:7:5: spec.sources[1].mountPath \"/\" is that of spec.sources[0] too"},
	{NAMED "spec: {sources: []}\n",
	 "d.yaml:1:1: spec.sources is missing; a Dataset needs at least one source"},
	{HEAD "spec:\n  sources: [{" S3 "}]\n", "d.yaml:1:1: metadata.name is missing"},
	{HEAD "metadata: {name: Image_Net}\n",
	 "d.yaml:3:18: metadata.name: \"Image_Net\" is not a DNS label: 1 to 63 of a-z, 0-9 and '-'"},
	{HEAD "metadata: {name: 17}\n", "d.yaml:3:12: metadata.name is not a string; write \"17\" in quotes"},
	{NAMED "spec:\n  sources: {a: 1}\n", "d.yaml:5:3: spec.sources is a map; expected a list"},
	{NAMED "spec:\n", "d.yaml:4:1: spec has no value; expected a map"},
	{SPEC "  cache: {quota: 1Gi, floor: 2Gi}\n",
	 "d.yaml:1:1: spec.cache.floor is 2147483648 bytes and spec.cache.quota 1073741824; a floor is at most the quota"},
	{SPEC "  cache: {quota: lots}\n",
	 "d.yaml:6:18: spec.cache.quota: \"lots\" is not an amount of bytes like 500Gi or 2G"},
	{SPEC "  cache: {quota: 99999999Pi}\n", "d.yaml:6:18: spec.cache.quota: \"99999999Pi\" is too large"},
	{SPEC "  cache: {tiers: [SSD]}\n", "d.yaml:6:19: spec.cache.tiers: \"SSD\" is none of NVMe|DRAM"},
	{SPEC "  cache: {tiers: [DRAM, DRAM]}\n", "d.yaml:6:25: spec.cache.tiers: DRAM stands there twice"},
	{SPEC "  cache: {pin: yes}\n", "d.yaml:6:16: spec.cache.pin: \"yes\" is not true or false"},
	{SPEC "  cache: {replicas: 65}\n", "d.yaml:6:21: spec.cache.replicas: must be from 1 to 64"},
	{SPEC "  sync: {interval: 10 min}\n",
	 "d.yaml:6:20: spec.sync.interval: \"10 min\" is not a duration like 30s, 10m or 1h30m"},
	{SPEC "  access: {mode: 0999}\n",
	 "d.yaml:6:18: spec.access.mode: \"0999\" is not an octal mode like \"0444\""},
	{SPEC "  access: {mode: \"0\"}\n", "d.yaml:6:18: spec.access.mode: must be from 0001 to 7777"},
	{SPEC "  version: newest\n",
	 "d.yaml:6:12: spec.version: \"newest\" is not Latest or the number of a version"},
	{SPEC "  preload: {paths: [/train]}\n",
	 "d.yaml:6:21: spec.preload.paths: the pattern \"/train\" starts with a slash; paths in a source have none there"},
	{NAMED "spec:\n  sources: [{" S3 ", timeout: 0s}]\n",
	 "d.yaml:5:60: spec.sources[0].timeout: must be from 1ms to 1h"},
	{NAMED "spec:\n  sources: [{" S3 ", mountPath: a}]\n",
	 "d.yaml:5:62: spec.sources[0].mountPath: \"a\" is not an absolute path like / or /labels"},
	{NAMED "spec:\n  sources: [{s3: {bucket: data, endpoint: \"h:9000\"}}]\n",
	 "d.yaml:5:43: spec.sources[0].s3.endpoint: \"h:9000\" is not a URL like https://host:port, without a path"},
	{SPEC "  version: Latest\n  version: 3\n",
	 "d.yaml:7:3: \"version\" stands here a second time (first in line 6)"},
	{"apiVersion: larder.dev/v1\nkind: Dataset\n",
	 "d.yaml:1:1: apiVersion \"larder.dev/v1\" is not known; expected larder.dev/v1alpha1"},
	{"kind: Dataset\n", "d.yaml:1:1: apiVersion is missing; expected larder.dev/v1alpha1"},
	{"apiVersion: v1\n", "d.yaml:1:1: kind is missing; expected Dataset or Secret"},
	{"apiVersion: v1\nkind: Pod\n", "d.yaml:2:1: kind Pod: not in this version (has: Dataset, Secret)"},
	{"- a\n", "d.yaml:1:1: the document is a list; expected a Dataset or a Secret"},
	{"a: &x 1\n", "d.yaml:1:4: anchors (&name) are not taken; write the value out"},
	{"a: *x\n", "d.yaml:1:4: aliases (*name) are not taken; write the value out"},
	{"a: !!binary x\n", "d.yaml:1:4: tags (!name) are not taken"},
	{"a: [\n", "d.yaml:2:1: not YAML: did not find expected node content"},
	{"a: [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]\n", "d.yaml:1:19: is nested too deeply"},
	{SPEC "---\n" SPEC, "d.yaml:7:1: Dataset default/d stands in this file twice"},
	{SECRET "data: {AWS_ACCES_KEY_ID: YQ==}\n",
	 "d.yaml:4:8: data: unknown key \"AWS_ACCES_KEY_ID\"; did you mean \"AWS_ACCESS_KEY_ID\"?"},
	{SECRET "data: {token: \"not base64!\"}\n",
	 "d.yaml:4:8: data: the value of \"token\" is not base64; plain text goes into stringData"},
	{SECRET "data: {token: YWJjCg==}\n",
	 "d.yaml:4:8: data: the value of \"token\" ends in a line break; encode it with printf or echo -n"},
	{SECRET "stringData: {AWS_ACCESS_KEY_ID: a}\n",
	 "d.yaml:1:1: has \"AWS_ACCESS_KEY_ID\" without \"AWS_SECRET_ACCESS_KEY\""},
	{SECRET "datum: {}\n", "d.yaml:4:1: unknown field \"datum\"; did you mean \"data\"?"},
};

static void every_mistake_is_answered_word_for_word(void **state)
{
	size_t wrong = 0;
	for (size_t i = 0; i < LENGTH(mistakes); i++) {
		struct dataset_file *f = NULL;
		struct err err = {0};
		int r = dataset_file_parse("d.yaml", mistakes[i].text, strlen(mistakes[i].text), &f, &err);
		if (r >= 0 || strcmp(err.text, mistakes[i].words) != 0) {
			print_error("%s\n  not %s\n  but %s\n", mistakes[i].text, mistakes[i].words,
				    err.text);
			wrong++;
		}
		(void)dataset_file_free(f);
	}
	assert_int_equal(wrong, 0);
}

static void a_secret_never_shows_in_an_error(void **state)
{
	const char *text = SECRET "stringData: {tokn: \"hunter2\", token: \"hunter2\\n\"}\n";
	struct dataset_file *f = NULL;
	struct err err = {0};
	assert_int_equal(dataset_file_parse("d", text, strlen(text), &f, &err), -EINVAL);
	assert_null(strstr(err.text, "hunter2"));
	text = SECRET "stringData: {token: \"hunter2\\n\"}\n";
	assert_int_equal(dataset_file_parse("d", text, strlen(text), &f, &err), -EINVAL);
	assert_null(strstr(err.text, "hunter2"));
}

static void a_file_over_the_limit_is_refused_unread(void **state)
{
	struct dataset_file *f = NULL;
	struct err err = {0};
	char *text = calloc(1, DATASET_TEXT_MAX + 1);
	memset(text, ' ', DATASET_TEXT_MAX + 1);
	assert_int_equal(dataset_file_parse("d", text, DATASET_TEXT_MAX + 1, &f, &err), -EFBIG);
	assert_string_equal(err.text, "d: is over 4 MiB");
	for (size_t i = 1; i + 2 < DATASET_TEXT_MAX; i += 2)
		memcpy(text + i, "1,", 2);
	text[0] = '[';
	assert_int_equal(dataset_file_parse("d", text, DATASET_TEXT_MAX, &f, &err), -EFBIG);
	free(text);
}

static void numbers_are_read_as_people_write_them(void **state)
{
	static const struct {
		enum field_id id;
		const char *text;
		int64_t value; /* -1: refused */
	} cases[] = {
		{F_QUOTA, "1", 1},
		{F_QUOTA, "2G", 2000000000},
		{F_QUOTA, "1e3", 1000},
		{F_QUOTA, "500Gi", 500LL << 30},
		{F_QUOTA, "1.5Ki", 1536},
		{F_QUOTA, "0.5Gi", 1 << 29},
		{F_QUOTA, "2GB", -1},
		{F_QUOTA, "1.5", -1},
		{F_QUOTA, "-1", -1},
		{F_QUOTA, "", -1},
		{F_QUOTA, "Gi", -1},
		{F_QUOTA, "8191Pi", 8191LL << 50},
		{F_QUOTA, "8192Pi", -1},
		{F_QUOTA, "99999999999999999999", -1},
		{F_TTL, "1h30m", 5400 * FIELD_S},
		{F_TTL, "7d", 168 * FIELD_H},
		{F_TTL, "1500ms", 1500 * FIELD_MS},
		{F_TTL, "1", -1},
		{F_SYNC_INTERVAL, "0", 0},
		{F_TTL, "1m1", -1},
		{F_TTL, "m", -1},
		{F_MODE, "0444", 0444},
		{F_MODE, "0o640", 0640},
		{F_MODE, "07777", 07777},
		{F_MODE, "10000", -1},
		{F_MODE, "8", -1},
		{F_VERSION, "Latest", 0},
		{F_VERSION, "12", 12},
		{F_VERSION, "0", -1},
		{F_PIN, "true", 1},
		{F_PIN, "True", -1},
		{F_UID, "4294967294", 4294967294},
		{F_UID, "4294967295", -1},
	};
	for (size_t i = 0; i < LENGTH(cases); i++) {
		int64_t v = -1;
		int r = field_number(cases[i].id, cases[i].text, &v, NULL);
		if (r != (cases[i].value < 0 ? -EINVAL : 0) || v != cases[i].value)
			print_error("%s: %d, %lld\n", cases[i].text, r, (long long)v);
		assert_true(v == cases[i].value);
	}
}

static void every_row_of_the_table_has_a_parent_and_a_sentence(void **state)
{
	for (size_t i = 0; i < FIELD_COUNT; i++) {
		const struct field *f = field_get((enum field_id)i);
		char parent[FIELD_PATH_MAX];
		(void)strncpy(parent, f->path, sizeof parent - 1);
		char *dot = strrchr(parent, '.');
		if (dot)
			*dot = 0;
		const char *name = strrchr(f->path, '.') ? strrchr(f->path, '.') + 1 : f->path;
		assert_int_equal(field_find(dot ? parent : "", name), i);
		assert_true(strlen(f->sentence) > 4 && f->sentence[strlen(f->sentence) - 1] == '.');
		assert_true(strlen(f->path) + 4 < FIELD_PATH_MAX);
		assert_true((f->state == FIELD_REFUSED) <= (f->words != NULL));
	}
}

/* ---- globs ---- */

static void globs_match_whole_paths(void **state)
{
	static const struct {
		const char *pattern, *path;
		bool matches;
	} cases[] = {
		{"a", "a", true},
		{"a", "b", false},
		{"*", "a", true},
		{"*", "a/b", false},
		{"**", "a/b", true},
		{"**/b", "b", true},
		{"**/b", "a/b", true},
		{"**/b", "a/c/b", true},
		{"**/b", "a/bc", false},
		{"a/**", "a/b/c", true},
		{"a/**", "a", false},
		{"a/**/b", "a/b", true},
		{"a/**/b", "a/x/y/b", true},
		{"a/**/b", "a/x/y", false},
		{"**/a/**/b", "a/a/x/b", true},
		{"**/*.tmp", "x.tmp", true},
		{"**/*.tmp", "a/b/x.tmp", true},
		{"*.tmp", "a/x.tmp", false},
		{"a?c", "abc", true},
		{"a?c", "a/c", false},
		{"[a-c]x", "bx", true},
		{"[!a-c]x", "bx", false},
		{"[^a-c]x", "dx", true},
		{"[]]", "]", true},
		{"[a-]", "-", true},
		{"\\*", "*", true},
		{"\\*", "a", false},
		{"[\\]]", "]", true},
		{"a**b", "axxb", true},
		{"a**b", "a/b", false},
		{"*a*b*c", "xxaxxbxxc", true},
		{"*a*b*c", "xxaxxbxx", false},
		{"a*", "a", true},
		{"**/**/a", "a", true},
		{"x/**/y/**", "x/q/y/z", true},
		{"x/**/y/**", "x/q/y", false},
		{"", "", false},
	};
	for (size_t i = 0; i < LENGTH(cases); i++) {
		if (glob_match(cases[i].pattern, cases[i].path, strlen(cases[i].path)) != cases[i].matches)
			print_error("%s on %s\n", cases[i].pattern, cases[i].path);
		assert_int_equal(glob_match(cases[i].pattern, cases[i].path, strlen(cases[i].path)),
				 cases[i].matches);
	}
}

static void a_hostile_glob_takes_no_exponential_time(void **state)
{
	char pattern[1024] = "", path[2048] = "";
	size_t n = 0;
	for (int i = 0; i < 120; i++)
		n += (size_t)snprintf(pattern + n, sizeof pattern - n, i < 60 ? "**/*a*/" : "**/");
	(void)snprintf(pattern + n, sizeof pattern - n, "b");
	for (n = 0; n < 1800; n += 2)
		(void)snprintf(path + n, sizeof path - n, "a/");
	(void)snprintf(path + n, sizeof path - n, "a");
	assert_null(glob_error(pattern));
	assert_false(glob_match(pattern, path, strlen(path)));
}

static void broken_globs_are_named(void **state)
{
	assert_string_equal(glob_error(""), "is empty");
	assert_string_equal(glob_error("[a"), "has a '[' without its ']'");
	assert_string_equal(glob_error("[a/b]"), "has a '[' without its ']'");
	assert_string_equal(glob_error("a\\"), "ends in a backslash");
	assert_string_equal(glob_error("a//b"), "has an empty component");
	assert_string_equal(glob_error("a\\/b"), "has a backslash before a slash");
	assert_null(glob_error("[]a]"));
	assert_null(glob_error("\\[a"));
	assert_true(glob_match("\\[a", "[a", 2));
}

/* The escaped '[' was taken for the start of a class that hid the broken one, and matching read past the pattern. */
static void a_broken_class_behind_an_escaped_bracket_is_refused(void **state)
{
	assert_string_equal(glob_error("\\[\\\\\\\\[]"), "has a '[' without its ']'");
}

static void exclude_wins_over_include(void **state)
{
	struct dataset_file *f = parsed(full);
	const struct dataset_source *s = &f->datasets[0]->sources[0];
	assert_true(dataset_source_takes(s, "train/x.jpg", 11));
	assert_false(dataset_source_takes(s, "train/x.tmp", 11));
	assert_false(dataset_source_takes(s, "test/x.jpg", 10));
	assert_true(dataset_source_takes(&f->datasets[0]->sources[1], "anything", 8));
	(void)dataset_file_free(f);
}

/* ---- messages ---- */

static void a_dataset_survives_the_way_through_a_message(void **state)
{
	struct dataset_file *f = parsed(full);
	Larder__V1__Dataset *m;
	struct dataset *d;
	struct err err = {0};
	f->datasets[0]->generation = 5;
	assert_int_equal(dataset_to_message(f->datasets[0], &m), 0);
	size_t len = larder__v1__dataset__get_packed_size(m);
	uint8_t *packed = malloc(len);
	(void)larder__v1__dataset__pack(m, packed);
	larder__v1__dataset__free_unpacked(m, NULL);
	m = larder__v1__dataset__unpack(NULL, len, packed);
	free(packed);
	assert_non_null(m);
	assert_int_equal(dataset_from_message(m, &d, &err), 0);
	assert_full(d);
	assert_int_equal(d->generation, 5);
	assert_true(dataset_config_hash(d) == dataset_config_hash(f->datasets[0]));
	larder__v1__dataset__free_unpacked(m, NULL);
	(void)dataset_free(d);
	(void)dataset_file_free(f);
}

static void refused(const Larder__V1__Dataset *m, const char *words)
{
	struct dataset *d = NULL;
	struct err err = {0};
	assert_true(dataset_from_message(m, &d, &err) < 0);
	assert_string_equal(err.text, words);
}

static void a_message_is_trusted_no_more_than_a_file(void **state)
{
	struct dataset_file *f = parsed(full);
	Larder__V1__Dataset *m;
	assert_int_equal(dataset_to_message(f->datasets[0], &m), 0);
	char *kept = m->name;
	m->name = (char *)"../x";
	refused(m, "metadata.name: \"../x\" is not a DNS label: 1 to 63 of a-z, 0-9 and '-'");
	m->name = (char *)"";
	refused(m, "metadata.name is missing");
	m->name = kept;
	kept = m->sources[1]->mount_path;
	m->sources[1]->mount_path = (char *)"/../etc";
	refused(m, "spec.sources[1].mountPath: \"/../etc\" is not an absolute path like / or /labels");
	m->sources[1]->mount_path = kept;
	m->sources[0]->timeout_ns = -1;
	refused(m, "spec.sources[0].timeout: must be from 1ms to 1h");
	m->sources[0]->timeout_ns = 0;
	m->sources[0]->s3->addressing = (Larder__V1__S3Source__Addressing)-1;
	refused(m, "spec.sources[0].s3.addressing: must be from 0 to 2");
	m->sources[0]->s3->addressing = 0;
	m->cache->tiers[0] = (Larder__V1__Tier)9;
	refused(m, "spec.cache.tiers: 9 is no tier");
	m->cache->tiers[0] = LARDER__V1__TIER__TIER_DRAM;
	refused(m, "spec.cache.tiers: DRAM stands there twice");
	m->cache->tiers[0] = LARDER__V1__TIER__TIER_NVME;
	m->access->mode = 070000;
	refused(m, "spec.access.mode: must be from 0001 to 7777");
	larder__v1__dataset__free_unpacked(m, NULL);
	(void)dataset_file_free(f);
}

static void a_source_without_a_store_is_refused_in_a_message_too(void **state)
{
	Larder__V1__Dataset m = LARDER__V1__DATASET__INIT;
	Larder__V1__Source s = LARDER__V1__SOURCE__INIT, *sources[] = {&s};
	m.name = (char *)"a";
	m.n_sources = 1;
	m.sources = sources;
	refused(&m, "spec.sources[0] has no store; it needs exactly one of: s3, http, file");
}

static void an_http_source_survives_the_way_through_a_message(void **state)
{
	struct dataset_file *f = parsed(
		NAMED
		"spec:\n  sources: [{http: {url: \"https://h:1/l?t=x\", index: List}, secretRef: {name: s}}]\n");
	Larder__V1__Dataset *m = NULL;
	struct dataset *d = NULL;
	char text[64];

	assert_int_equal(dataset_to_message(f->datasets[0], &m), 0);
	assert_int_equal(dataset_from_message(m, &d, NULL), 0);
	assert_int_equal(d->sources[0].kind, SOURCE_HTTP);
	assert_string_equal(d->sources[0].http.url, "https://h:1/l?t=x");
	assert_int_equal(d->sources[0].http.index, SOURCE_INDEX_LIST);
	assert_int_equal(dataset_config_hash(d), dataset_config_hash(f->datasets[0]));
	d->sources[0].http.index = SOURCE_INDEX_SINGLE;
	assert_int_not_equal(dataset_config_hash(d), dataset_config_hash(f->datasets[0]));
	(void)dataset_source_text(&d->sources[0], text, sizeof text);
	assert_string_equal(text, "https://h:1/l");
	CLEANUP(free_str) char *domain = dataset_trust_domain(d, 0);
	assert_string_equal(domain, "http|https://h:1/l?t=x|secret|default|s");
	m->sources[0]->http->index = (Larder__V1__HttpSource__Index)9;
	refused(m, "spec.sources[0].http.index: must be from 0 to 3");
	larder__v1__dataset__free_unpacked(m, NULL);
	(void)dataset_free(d);
	(void)dataset_file_free(f);
}

static void how_a_bucket_is_reached_survives_the_way_through_a_message(void **state)
{
	struct dataset_file *f = parsed(NAMED "spec:\n  sources: [{s3: {bucket: data, profile: team-a, "
					      "caSecretRef: {name: ca}, proxy: \"http://p:3128/\"}}]\n");
	Larder__V1__Dataset *m = NULL;
	struct dataset *d = NULL;

	assert_int_equal(dataset_to_message(f->datasets[0], &m), 0);
	assert_int_equal(dataset_from_message(m, &d, NULL), 0);
	assert_string_equal(d->sources[0].s3.profile, "team-a");
	assert_string_equal(d->sources[0].s3.ca_secret, "ca");
	assert_string_equal(d->sources[0].s3.proxy, "http://p:3128/");
	CLEANUP(free_str) char *domain = dataset_trust_domain(d, 0);
	assert_string_equal(domain, "s3||us-east-1|data|node|team-a");
	larder__v1__dataset__free_unpacked(m, NULL);
	(void)dataset_free(d);
	(void)dataset_file_free(f);
}

static void a_secret_survives_the_way_through_a_message(void **state)
{
	struct dataset_file *f = parsed(
		SECRET
		"data: {AWS_ACCESS_KEY_ID: QUtJQQ==, token: eA==}\n"
		"stringData: {AWS_SECRET_ACCESS_KEY: geheim, token: wins, ca.crt: \"-----BEGIN\\n\"}\n");
	Larder__V1__Credential *m;
	struct secret *s;
	struct err err = {0};
	struct source_credential c;
	assert_int_equal(secret_to_message(f->secrets[0], &m), 0);
	assert_int_equal(secret_from_message(m, &s, &err), 0);
	(void)secret_message_free(m);
	secret_credential(s, &c);
	assert_string_equal(s->namespace_, "default");
	assert_string_equal(c.access_key, "AKIA");
	assert_string_equal(c.secret_key, "geheim");
	assert_string_equal(c.token, "wins");
	assert_string_equal(c.ca_pem, "-----BEGIN\n");
	assert_null(c.username);
	secret_credential(NULL, &c);
	assert_null(c.access_key);
	(void)secret_free(s);
	(void)dataset_file_free(f);
}

static void identity_is_that_of_store_and_principal(void **state)
{
	struct dataset_file *f = parsed(full), *g = parsed(SPEC);
	char *a = dataset_trust_domain(f->datasets[0], 0), *b = dataset_trust_domain(g->datasets[0], 0);
	char *c = dataset_trust_domain(f->datasets[0], 1);
	assert_string_equal(a, "s3|https://h:9000||corp-data|secret|vision|imagenet-s3");
	assert_string_equal(b, "s3||us-east-1|data|anonymous");
	assert_string_equal(c, "file|/mnt/nfs/shared");
	(void)mem_free(a);
	(void)mem_free(b);
	(void)mem_free(c);
	uint64_t before = dataset_config_hash(g->datasets[0]);
	g->datasets[0]->cache.pin = true;
	assert_true(dataset_config_hash(g->datasets[0]) == before);
	g->datasets[0]->sources[0].s3.bucket[0] = 'b';
	assert_true(dataset_config_hash(g->datasets[0]) != before);
	(void)dataset_file_free(f);
	(void)dataset_file_free(g);
}

static void running_out_of_memory_anywhere_is_answered_with_enomem(void **state)
{
	char text[sizeof full + 300];
	(void)snprintf(text, sizeof text, "%s---\n%s", full, SECRET "data: {token: YWJj}\n");
	int r = -ENOMEM;
	for (int64_t n = 0; r != 0; n++) {
		struct dataset_file *f = NULL;
		struct dataset *d = NULL;
		struct secret *s = NULL;
		Larder__V1__Dataset *m = NULL;
		Larder__V1__Credential *c = NULL;
		struct err err = {0};
		mem_fail_after(n, 0);
		r = dataset_file_parse("d", text, strlen(text), &f, &err);
		if (r == 0)
			r = dataset_to_message(f->datasets[0], &m);
		if (r == 0)
			r = dataset_from_message(m, &d, &err);
		if (r == 0)
			r = secret_to_message(f->secrets[0], &c);
		if (r == 0)
			r = secret_from_message(c, &s, &err);
		mem_fail_after(-1, 0);
		assert_true(r == 0 || r == -ENOMEM);
		assert_true(n < 5000);
		if (m)
			larder__v1__dataset__free_unpacked(m, NULL);
		(void)secret_message_free(c);
		(void)dataset_free(d);
		(void)secret_free(s);
		(void)dataset_file_free(f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_dataset_is_read_field_by_field),
		cmocka_unit_test(what_is_not_given_gets_its_default),
		cmocka_unit_test(several_documents_and_json_are_read),
		cmocka_unit_test(every_mistake_is_answered_word_for_word),
		cmocka_unit_test(a_secret_never_shows_in_an_error),
		cmocka_unit_test(a_file_over_the_limit_is_refused_unread),
		cmocka_unit_test(numbers_are_read_as_people_write_them),
		cmocka_unit_test(every_row_of_the_table_has_a_parent_and_a_sentence),
		cmocka_unit_test(globs_match_whole_paths),
		cmocka_unit_test(a_hostile_glob_takes_no_exponential_time),
		cmocka_unit_test(broken_globs_are_named),
		cmocka_unit_test(a_broken_class_behind_an_escaped_bracket_is_refused),
		cmocka_unit_test(exclude_wins_over_include),
		cmocka_unit_test(a_dataset_survives_the_way_through_a_message),
		cmocka_unit_test(a_message_is_trusted_no_more_than_a_file),
		cmocka_unit_test(a_source_without_a_store_is_refused_in_a_message_too),
		cmocka_unit_test(how_a_bucket_is_reached_survives_the_way_through_a_message),
		cmocka_unit_test(an_http_source_survives_the_way_through_a_message),
		cmocka_unit_test(a_secret_survives_the_way_through_a_message),
		cmocka_unit_test(identity_is_that_of_store_and_principal),
		cmocka_unit_test(running_out_of_memory_anywhere_is_answered_with_enomem),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
