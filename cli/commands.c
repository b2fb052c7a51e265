#include "cli/commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/quantity.h"

enum {
	OPTION_INSTANCE = 1,
	OPTION_OUTPUT,
	OPTION_HELP,
	OPTION_LONG,
	OPTION_RECURSIVE,
	OPTION_FORCE,
	OPTION_OBJECTS,
	OPTION_CONFLICTS,
	OPTION_BANDWIDTH
};

const struct option_spec common_option_specs[] = {
	{OPTION_INSTANCE, 0, "instance", "NAME", "which one (the only one that runs, or \"default\")"},
	{OPTION_OUTPUT, 'o', "output", "text|json", "form of the output (text)"},
	{OPTION_HELP, 'h', "help", NULL, "this text"},
	{OPTION_LONG, 'l', "long", NULL, "mode, size, time, cached share"},
	{OPTION_RECURSIVE, 'R', "recursive", NULL, "folders below, too"},
};

const struct option_spec down_option_specs[] = {
	{OPTION_INSTANCE, 0, "instance", "NAME", "which one, as the operand says"},
	{OPTION_FORCE, 0, "force", NULL, "detach mounts although they are in use"},
	{OPTION_HELP, 'h', "help", NULL, "this text"},
};

const struct option_spec status_option_specs[] = {
	{OPTION_OBJECTS, 0, "objects", NULL,
	 "also which objects left the cache and why, and which would go next"},
	{OPTION_CONFLICTS, 0, "conflicts", NULL,
	 "also the first hundred of each kind of names that are not shown as their store has them"},
	{OPTION_INSTANCE, 0, "instance", "NAME", "which one (the only one that runs, or \"default\")"},
	{OPTION_OUTPUT, 'o', "output", "text|json", "form of the output (text)"},
	{OPTION_HELP, 'h', "help", NULL, "this text"},
};

const struct option_spec scrub_option_specs[] = {
	{OPTION_BANDWIDTH, 0, "bandwidth", "SIZE", "bytes a second at most, like 200Mi (no limit)"},
	{OPTION_INSTANCE, 0, "instance", "NAME", "which one (the only one that runs, or \"default\")"},
	{OPTION_OUTPUT, 'o', "output", "text|json", "form of the output (text)"},
	{OPTION_HELP, 'h', "help", NULL, "this text"},
};

void command_help(const struct command *c)
{
	(void)printf("usage: larder %s%s%s%s\n%s\n\noptions:\n", c->name, c->operands[0] ? " " : "",
		     c->operands, " [options]", c->summary);
	options_help(c->options, c->option_count, stdout);
}

int command_fail(int status, const struct err *err, int code)
{
	(void)fprintf(stderr, "larder: %s\n", err_words(err, code));
	return status;
}

static int take(struct common_options *o, int id, const char *value, int most, struct err *err)
{
	switch (id) {
	case OPTION_INSTANCE:
		o->instance = value;
		return 0;
	case OPTION_OUTPUT:
		o->json = strcmp(value, "json") == 0;
		return o->json || strcmp(value, "text") == 0
			       ? 0
			       : err_set(err, -EINVAL, "--output \"%.80s\" must be text or json", value);
	case OPTION_HELP:
		o->help = true;
		return 0;
	case OPTION_LONG:
		o->long_form = true;
		return 0;
	case OPTION_RECURSIVE:
		o->recursive = true;
		return 0;
	case OPTION_BANDWIDTH:
		return bytes_parse(value, &o->bandwidth)
			       ? err_set(err, -EINVAL, "--bandwidth \"%.80s\" is not a size; write 200Mi",
					 value)
			       : 0;
	case OPTION_OBJECTS:
		o->objects = true;
		return 0;
	case OPTION_CONFLICTS:
		o->conflicts = true;
		return 0;
	case OPTION_FORCE:
		o->force = true;
		return 0;
	default:
		if (o->operand_count == most)
			return err_set(err, -EINVAL, "\"%.80s\" is one word too many", value);
		if (o->operand_count == 0)
			o->operand = value;
		else
			o->more[o->operand_count - 1] = value;
		o->operand_count++;
		return 0;
	}
}

int common_options_read(const struct command *self, int argc, char **argv, int least, int most,
			struct common_options *ret)
{
	struct options words = options_over(self->options, self->option_count, argc, argv);
	struct err err = {0};
	int r = 0;

	*ret = (struct common_options){.instance = NULL};
	for (int id; !r && (id = options_next(&words, &err)) != OPTIONS_END;)
		r = id < 0 ? id : take(ret, id, words.value, most, &err);
	if (!r && ret->help) {
		command_help(self);
		return EXIT_GOOD;
	}
	if (!r && ret->operand_count < least)
		r = err_set(&err, -EINVAL, "%s needs %s; see: larder %s --help", self->name, self->operands,
			    self->name);
	return r ? command_fail(EXIT_USAGE, &err, r) : -1;
}
