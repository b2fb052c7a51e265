#include "cli/secret_file.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "common/base/fd.h"
#include "common/base/mem.h"

#define SECRET_MAX (4u << 20)

#define LINE_MAX_BYTES (1u << 20)

static int add_value(cJSON *data, const char *key, char *value, const char *file, struct err *err)
{
	char *content = NULL;
	size_t len;

	if (value[0] == '@') {
		int r = fd_read_file(AT_FDCWD, value + 1, LINE_MAX_BYTES, &content, &len);
		if (r)
			return err_set(err, r, "%s: the file of %.60s: %s", file, key, err_text(r));
	}
	bool added = cJSON_AddStringToObject(data, key, content ? content : value);
	if (content)
		explicit_bzero(content, len);
	(void)mem_free(content);
	return added ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static void strip(char **text)
{
	*text += strspn(*text, " \t");
	size_t len = strlen(*text);
	while (len && strchr(" \t\r", (*text)[len - 1]))
		(*text)[--len] = 0;
}

static int add_line(cJSON *data, char *line, size_t number, const char *file, struct err *err)
{
	strip(&line);
	if (!line[0] || line[0] == '#')
		return 0;
	if (strncmp(line, "export ", 7) == 0)
		line += 7;
	char *value = strchr(line, '=');
	if (!value || value == line)
		return err_set(err, -EINVAL, "%s:%zu: must be KEY=VALUE or KEY=@FILE", file, number);
	*value++ = 0;
	strip(&line);
	strip(&value);
	size_t len = strlen(value);
	if (len >= 2 && (value[0] == '"' || value[0] == '\'') && value[len - 1] == value[0]) {
		value[len - 1] = 0;
		value++;
	}
	if (cJSON_HasObjectItem(data, line))
		return err_set(err, -EINVAL, "%s:%zu: %.60s is given twice", file, number, line);
	return add_value(data, line, value, file, err);
}

static int add_lines(cJSON *data, char *text, const char *file, struct err *err)
{
	size_t number = 1;
	int r = 0;

	for (char *line = text, *end; !r && *line; line = end, number++) {
		end = line + strcspn(line, "\n");
		if (*end)
			*end++ = 0;
		r = add_line(data, line, number, file, err);
	}
	return r;
}

static void wipe_object(cJSON *data)
{
	cJSON *item;

	cJSON_ArrayForEach(item, data) if (item->valuestring)
		explicit_bzero(item->valuestring, strlen(item->valuestring));
}

static char *print(const struct dataset_ref *name, cJSON *root, cJSON *metadata)
{
	bool good = cJSON_AddStringToObject(root, "apiVersion", "v1") &&
		    cJSON_AddStringToObject(root, "kind", "Secret") &&
		    cJSON_AddStringToObject(metadata, "name", name->name) &&
		    cJSON_AddStringToObject(metadata, "namespace", name->namespace_);
	char *text = good ? cJSON_Print(root) : NULL;
	char *copy = text ? mem_strdup(text) : NULL;

	if (text)
		explicit_bzero(text, strlen(text));
	cJSON_free(text);
	return copy;
}

int secret_file_convert(const struct dataset_ref *name, const char *file, const char *text, char **ret,
			struct err *err)
{
	cJSON *root = cJSON_CreateObject();
	cJSON *metadata = cJSON_AddObjectToObject(root, "metadata"),
	      *data = cJSON_AddObjectToObject(root, "stringData");
	char *copy = mem_strdup(text), *document = NULL;

	int r = metadata && data && copy ? add_lines(data, copy, file, err)
					 : err_set(err, -ENOMEM, "out of memory");
	if (!r && !data->child)
		r = err_set(err, -EINVAL, "%s holds no KEY=VALUE line", file);
	if (!r) {
		document = print(name, root, metadata);
		r = document ? 0 : err_set(err, -ENOMEM, "out of memory");
	}
	if (!r)
		*ret = document;
	if (copy)
		explicit_bzero(copy, strlen(text));
	(void)mem_free(copy);
	wipe_object(data);
	cJSON_Delete(root);
	return r;
}

int secret_file_read(const struct dataset_ref *name, const char *file, char **ret, struct err *err)
{
	char *text = NULL;
	size_t len = 0;
	int r = fd_read_file(AT_FDCWD, file, SECRET_MAX, &text, &len);

	if (r)
		return err_set(err, r, "--secret %s: %s: %s", name->name, file, err_text(r));
	r = secret_file_convert(name, file, text, ret, err);
	explicit_bzero(text, len);
	(void)mem_free(text);
	return r;
}
