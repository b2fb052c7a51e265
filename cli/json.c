#include "cli/json.h"

#include <string.h>

#include "cli/utf8.h"

void json_string(FILE *out, const void *text, size_t len)
{
	const uint8_t *p = text;

	(void)fputc('"', out);
	for (size_t i = 0; i < len;) {
		size_t n = utf8_length(p + i, len - i);
		if (!n)
			(void)fputs("\\ufffd", out);
		else if (p[i] == '"' || p[i] == '\\')
			(void)fprintf(out, "\\%c", p[i]);
		else if (p[i] < 0x20 || p[i] == 0x7f)
			(void)fprintf(out, "\\u%04x", (unsigned)p[i]);
		else
			(void)fwrite(p + i, 1, n, out);
		i += n ? n : 1;
	}
	(void)fputc('"', out);
}

static void write_hex(FILE *out, const ProtobufCBinaryData *b)
{
	(void)fputc('"', out);
	for (size_t i = 0; i < b->len; i++)
		(void)fprintf(out, "%02x", (unsigned)b->data[i]);
	(void)fputc('"', out);
}

static void write_enum(FILE *out, const ProtobufCEnumDescriptor *d, int value)
{
	const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(d, value);

	if (v)
		json_string(out, v->name, strlen(v->name));
	else
		(void)fprintf(out, "%d", value);
}

static void write_value(FILE *out, const ProtobufCFieldDescriptor *f, const void *at)
{
	const ProtobufCBinaryData *b = at;
	const char *text;

	switch (f->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		(void)fprintf(out, "%d", *(const int32_t *)at);
		break;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		(void)fprintf(out, "%u", *(const uint32_t *)at);
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		(void)fprintf(out, "%lld", (long long)*(const int64_t *)at);
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		(void)fprintf(out, "%llu", (unsigned long long)*(const uint64_t *)at);
		break;
	case PROTOBUF_C_TYPE_FLOAT:
		(void)fprintf(out, "%.9g", (double)*(const float *)at);
		break;
	case PROTOBUF_C_TYPE_DOUBLE:
		(void)fprintf(out, "%.17g", *(const double *)at);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		(void)fputs(*(const protobuf_c_boolean *)at ? "true" : "false", out);
		break;
	case PROTOBUF_C_TYPE_ENUM:
		write_enum(out, f->descriptor, *(const int *)at);
		break;
	case PROTOBUF_C_TYPE_STRING:
		text = *(const char *const *)at;
		json_string(out, text ? text : "", text ? strlen(text) : 0);
		break;
	case PROTOBUF_C_TYPE_BYTES:
		if (strcmp(f->name, "root") == 0)
			write_hex(out, b);
		else
			json_string(out, b->data, b->len);
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		if (*(const ProtobufCMessage *const *)at)
			json_message(out, *(const ProtobufCMessage *const *)at);
		else
			(void)fputs("null", out);
		break;
	}
}

static size_t size_of(const ProtobufCFieldDescriptor *f)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	default:
		return 4;
	}
}

static void write_list(FILE *out, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	const char *base = (const char *)m;
	size_t count = *(const size_t *)(const void *)(base + f->quantifier_offset);
	const char *items = *(const char *const *)(const void *)(base + f->offset);

	(void)fputc('[', out);
	for (size_t i = 0; i < count; i++) {
		if (i)
			(void)fputs(", ", out);
		write_value(out, f, items + i * size_of(f));
	}
	(void)fputc(']', out);
}

void json_message(FILE *out, const ProtobufCMessage *m)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;

	(void)fputc('{', out);
	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		(void)fprintf(out, "%s\"%s\": ", i ? ", " : "", f->name);
		if (f->label == PROTOBUF_C_LABEL_REPEATED)
			write_list(out, m, f);
		else
			write_value(out, f, (const char *)m + f->offset);
	}
	(void)fputc('}', out);
}
