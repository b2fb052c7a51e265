#include "common/base/bytes.h"

#include <errno.h>

size_t put_varint(uint8_t *p, uint64_t v)
{
	size_t n = 0;

	for (; v >= 128; v >>= 7)
		p[n++] = (uint8_t)(v | 128);
	p[n++] = (uint8_t)v;
	return n;
}

uint16_t read_le16(struct reader *r)
{
	const uint8_t *p = read_bytes(r, 2);
	return p ? get_le16(p) : 0;
}

uint32_t read_le32(struct reader *r)
{
	const uint8_t *p = read_bytes(r, 4);
	return p ? get_le32(p) : 0;
}

uint64_t read_le64(struct reader *r)
{
	const uint8_t *p = read_bytes(r, 8);
	return p ? get_le64(p) : 0;
}

/* Over eight bytes, near the end or not in its shortest form: byte by byte. */
static const uint8_t *decode_slowly(const uint8_t *p, const uint8_t *end, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64 && p < end; shift += 7) {
		uint8_t b = *p++;
		if (shift == 63 && b > 1)
			return NULL;
		v |= (uint64_t)(b & 127) << shift;
		if (b & 128)
			continue;
		if (shift && !b) /* not the shortest form: two encodings of one number are one too many */
			return NULL;
		*ret = v;
		return p;
	}
	return NULL;
}

const uint8_t *varint_decode(const uint8_t *p, const uint8_t *end, uint64_t *ret)
{
	const uint8_t *after = end - p >= 8 ? varint_decode8(p, ret) : NULL;
	return after ? after : decode_slowly(p, end, ret);
}

size_t put_utf8(uint32_t c, char out[4])
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	for (size_t i = len; i-- > 1; c >>= 6)
		out[i] = (char)(0x80 | (c & 0x3f));
	out[0] = (char)((0xf00u >> len) | c);
	return len;
}

void hex_encode(const uint8_t *bytes, size_t len, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[bytes[i] >> 4];
		out[2 * i + 1] = digits[bytes[i] & 15];
	}
	out[2 * len] = 0;
}

int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int hex_decode(const char *hex, uint8_t *ret, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		int high = hex_digit(hex[2 * i]);
		int low = high < 0 ? -1 : hex_digit(hex[2 * i + 1]);
		if (low < 0)
			return -EINVAL;
		ret[i] = (uint8_t)(high << 4 | low);
	}
	return hex[2 * len] ? -EINVAL : 0;
}
