#include "common/base/err.h"

#undef err_set /* see err.h */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int code, const char *fmt, ...)
{
	va_list args;

	CHECK(code < 0);
	if (!err)
		return code;
	char text[sizeof err->text];
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt,
			args); /* through a copy: an argument may be err->text itself */
	va_end(args);
	memcpy(err->text, text, sizeof text);
	err->code = code;
	return code;
}

int err_wrap(struct err *err, int code, const char *fmt, ...)
{
	va_list args;

	if (!err)
		return code;
	char text[sizeof err->text];
	va_start(args, fmt);
	int used = vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	if (used >= 0 && (size_t)used < sizeof text)
		(void)snprintf(text + used, sizeof text - (size_t)used, ": %s", err_words(err, code));
	memcpy(err->text, text, sizeof text);
	err->code = code;
	return code;
}

const char *err_text(int code)
{
	switch (code < 0 ? -code : code) {
#define X(name, value, text, eno, grpc, retry) \
	case ERR_##name:                       \
		return text;
		ERR_TABLE(X)
#undef X
	default: {
		const char *text = strerrordesc_np(code < 0 ? -code : code);
		return text ? text : "unknown error";
	}
	}
}

const char *err_words(const struct err *err, int code)
{
	return err && err->text[0] ? err->text : err_text(code);
}

int err_to_errno(int code)
{
	int c = code < 0 ? -code : code;

	switch (c) {
#define X(name, value, text, eno, grpc, retry) \
	case ERR_##name:                       \
		return eno;
		ERR_TABLE(X)
#undef X
	default:
		return c > 0 && c < 4096 ? c : EIO;
	}
}

/* errno <-> gRPC; the first row of a status is what it means on the way back. */
static const struct {
	int eno, grpc;
} grpc_codes[] = {
	{ECANCELED, 1}, {EINVAL, 3},     {ETIMEDOUT, 4},     {ENOENT, 5},   {EEXIST, 6},
	{EACCES, 7},    {EPERM, 7},      {ENOSPC, 8},        {ENOMEM, 8},   {EBUSY, 9},
	{ENOTEMPTY, 9}, {EAGAIN, 10},    {ERANGE, 11},       {ENOSYS, 12},  {EOPNOTSUPP, 12},
	{EIO, 13},      {ESHUTDOWN, 14}, {ECONNREFUSED, 14}, {EBADMSG, 15},
};

int err_to_grpc(int code)
{
	int c = code < 0 ? -code : code;

	if (c == 0)
		return 0;
	switch (c) {
#define X(name, value, text, eno, grpc, retry) \
	case ERR_##name:                       \
		return grpc;
		ERR_TABLE(X)
#undef X
	default:
		break;
	}
	for (size_t i = 0; i < LENGTH(grpc_codes); i++)
		if (grpc_codes[i].eno == c)
			return grpc_codes[i].grpc;
	return 2;
}

int err_from_grpc(int status)
{
	for (size_t i = 0; i < LENGTH(grpc_codes); i++)
		if (grpc_codes[i].grpc == status)
			return -grpc_codes[i].eno;
	return status == 0 ? 0 : -EIO;
}
