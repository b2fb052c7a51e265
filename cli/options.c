#include "cli/options.h"

#include <errno.h>
#include <string.h>

#include "cli/nearest.h"

#define SPECS_MAX 32

struct options options_over(const struct option_spec *specs, size_t count, int argc, char **argv)
{
	CHECK(count <= SPECS_MAX);
	return (struct options){.specs = specs, .spec_count = count, .argc = argc, .argv = argv, .at = 1};
}

static int take_value(struct options *o, const struct option_spec *s, const char *attached, struct err *err)
{
	o->value = attached;
	if (!s->value)
		return attached ? err_set(err, -EINVAL, "--%s takes no value", s->name) : s->id;
	if (!attached && o->at < o->argc)
		o->value = o->argv[o->at++];
	return o->value ? s->id
			: err_set(err, -EINVAL, "--%s needs a value: --%s %s", s->name, s->name, s->value);
}

static int unknown(const struct options *o, const char *name, struct err *err)
{
	const char *names[SPECS_MAX];

	for (size_t i = 0; i < o->spec_count; i++)
		names[i] = o->specs[i].name;
	const char *meant = nearest_word(name, names, o->spec_count);
	return meant ? err_set(err, -EINVAL, "unknown option \"--%.80s\"; did you mean \"--%s\"?", name,
			       meant)
		     : err_set(err, -EINVAL, "unknown option \"--%.80s\"", name);
}

static int read_long(struct options *o, const char *word, struct err *err)
{
	size_t len = strcspn(word, "=");
	char name[64];

	for (size_t i = 0; i < o->spec_count; i++)
		if (strlen(o->specs[i].name) == len && strncmp(o->specs[i].name, word, len) == 0)
			return take_value(o, &o->specs[i], word[len] ? word + len + 1 : NULL, err);
	(void)snprintf(name, sizeof name, "%.*s", (int)MIN(len, sizeof name - 1), word);
	return unknown(o, name, err);
}

static int read_short(struct options *o, const char *word, struct err *err)
{
	o->cluster = NULL;
	for (size_t i = 0; i < o->spec_count; i++) {
		if (o->specs[i].letter != word[0])
			continue;
		if (o->specs[i].value)
			return take_value(o, &o->specs[i], word[1] ? word + 1 : NULL, err);
		o->cluster = word[1] ? word + 1 : NULL;
		return o->specs[i].id;
	}
	return err_set(err, -EINVAL, "unknown option \"-%.1s\"", word);
}

int options_next(struct options *o, struct err *err)
{
	o->value = NULL;
	if (o->cluster)
		return read_short(o, o->cluster, err);
	if (o->at >= o->argc)
		return OPTIONS_END;
	const char *word = o->argv[o->at++];
	if (!o->operands_only && strcmp(word, "--") == 0) {
		o->operands_only = 1;
		return options_next(o, err);
	}
	if (o->operands_only || word[0] != '-' || !word[1]) {
		o->value = word;
		return OPTIONS_OPERAND;
	}
	return word[1] == '-' ? read_long(o, word + 2, err) : read_short(o, word + 1, err);
}

void options_help(const struct option_spec *specs, size_t count, FILE *out)
{
	for (size_t i = 0; i < count; i++) {
		char left[64], letter[8] = "    ";
		if (specs[i].letter)
			(void)snprintf(letter, sizeof letter, "-%c, ", specs[i].letter);
		(void)snprintf(left, sizeof left, "%s--%s%s%s", letter, specs[i].name,
			       specs[i].value ? " " : "", specs[i].value ? specs[i].value : "");
		(void)fprintf(out, "  %-32s %s\n", left, specs[i].help);
	}
}
