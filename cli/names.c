#include "cli/names.h"

#include <errno.h>
#include <string.h>

bool name_label_valid(const char *text)
{
	size_t len = strlen(text);

	if (!len || len > NAME_LABEL_MAX || text[0] == '-' || text[len - 1] == '-')
		return false;
	return strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

bool path_is_glob(const char *path)
{
	return strpbrk(path, "*?[{") != NULL;
}

static bool copy_label(const char *text, size_t len, char out[NAME_LABEL_MAX + 1])
{
	if (len > NAME_LABEL_MAX)
		return false;
	memcpy(out, text, len);
	out[len] = 0;
	return name_label_valid(out);
}

int dataset_ref_parse(const char *text, struct dataset_ref *ret, struct err *err)
{
	struct dataset_ref ref = {.namespace_ = "default", .path = ""};
	size_t len = strcspn(text, ":");
	const char *slash = memchr(text, '/', len), *name = text;

	if (slash) {
		if (!copy_label(text, (size_t)(slash - text), ref.namespace_))
			return err_set(err, -EINVAL,
				       "\"%.150s\": the namespace before \"/\" must be lower-case letters, "
				       "digits and \"-\"",
				       text);
		name = slash + 1;
	}
	if (!copy_label(name, len - (size_t)(name - text), ref.name)) {
		bool glob = strcspn(text, "*?[{") < len;
		return err_set(err, -EINVAL,
			       glob ? "\"%.150s\": a glob stands only after the colon, as in NAME:/dir/*.jpg"
				    : "\"%.150s\" is no dataset; write [NAMESPACE/]NAME[:/PATH], names in "
				      "lower-case letters, digits and \"-\"",
			       text);
	}
	ref.has_path = text[len] == ':';
	if (ref.has_path)
		ref.path = text + len + 1 + strspn(text + len + 1, "/");
	*ret = ref;
	return 0;
}

int dataset_ref_parse_name(const char *text, struct dataset_ref *ret, struct err *err)
{
	if (strchr(text, ':'))
		return err_set(err, -EINVAL, "\"%.150s\" must be a name alone, without a path", text);
	return dataset_ref_parse(text, ret, err);
}
