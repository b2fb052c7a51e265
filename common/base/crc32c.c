/*
 * CRC32C. The instruction has a latency of three cycles and a throughput of one, so three independent streams keep it
 * busy; their results are joined by multiplying with x^n mod P (table of shifts for the fixed stream length), the way of
 * Gopal et al., "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction", Intel 2011.
 */
#include "common/base/hash.h"

#include <pthread.h>
#include <string.h>

#define POLY   0x82f63b78u /* reflected */
#define STREAM 2048u       /* bytes of each of the three streams of a round */

static uint32_t byte_table[256];
static uint32_t shift_table[4][256]; /* advances a CRC over STREAM zero bytes */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint32_t step_byte(uint32_t crc, uint8_t b)
{
	return byte_table[(crc ^ b) & 255] ^ crc >> 8;
}

static void tables_init(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;
		for (int k = 0; k < 8; k++)
			c = c & 1 ? c >> 1 ^ POLY : c >> 1;
		byte_table[i] = c;
	}
	/* The shift is linear: apply it to each single bit, then combine. */
	uint32_t bit[32];
	for (uint32_t i = 0; i < 32; i++) {
		uint32_t c = 1u << i;
		for (uint32_t k = 0; k < STREAM; k++)
			c = step_byte(c, 0);
		bit[i] = c;
	}
	for (uint32_t t = 0; t < 4; t++)
		for (uint32_t i = 0; i < 256; i++) {
			uint32_t c = 0;
			for (uint32_t k = 0; k < 8; k++)
				if (i >> k & 1)
					c ^= bit[8 * t + k];
			shift_table[t][i] = c;
		}
}

static uint32_t shift_stream(uint32_t crc)
{
	return shift_table[0][crc & 255] ^ shift_table[1][crc >> 8 & 255] ^ shift_table[2][crc >> 16 & 255] ^
	       shift_table[3][crc >> 24];
}

static uint32_t crc_portable(uint32_t crc, const uint8_t *p, size_t len)
{
	while (len--)
		crc = step_byte(crc, *p++);
	return crc;
}

#if defined(__x86_64__)
static uint64_t load64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t crc, const uint8_t *p, size_t len)
{
	uint64_t a = crc;

	for (; len >= 3u * STREAM; len -= 3u * STREAM, p += 3u * STREAM) {
		uint64_t b = 0, c = 0;
		for (size_t i = 0; i < STREAM; i += 8) {
			a = __builtin_ia32_crc32di(a, load64(p + i));
			b = __builtin_ia32_crc32di(b, load64(p + STREAM + i));
			c = __builtin_ia32_crc32di(c, load64(p + 2u * STREAM + i));
		}
		a = shift_stream((uint32_t)a) ^ (uint32_t)b;
		a = shift_stream((uint32_t)a) ^ (uint32_t)c;
	}
	for (; len >= 8; len -= 8, p += 8)
		a = __builtin_ia32_crc32di(a, load64(p));
	for (; len; len--)
		a = __builtin_ia32_crc32qi((uint32_t)a, *p++);
	return (uint32_t)a;
}
#endif

uint32_t crc32c(uint32_t crc, const void *p, size_t len)
{
	(void)pthread_once(&once, tables_init); /* cannot fail with a static once */
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return ~crc_sse42(~crc, p, len);
#endif
	return ~crc_portable(~crc, p, len);
}
