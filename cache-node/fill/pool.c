#include "cache-node/fill/pool.h"

#include <string.h>
#include <sys/mman.h>

static void unmap_warm(struct pool *p, size_t count)
{
	while (count--) {
		void *buf = p->first_warm;
		CHECK(buf);
		memcpy(&p->first_warm, buf, sizeof p->first_warm);
		p->warm--;
		(void)munmap(buf, p->bytes); /* our own mapping: cannot fail */
	}
}

void pool_done(struct pool *p)
{
	CHECK(p->used == 0);
	unmap_warm(p, p->warm);
}

uint8_t *pool_take(struct pool *p, size_t limit)
{
	if (p->used >= limit)
		return NULL;
	void *buf = p->first_warm;
	if (buf) {
		memcpy(&p->first_warm, buf, sizeof p->first_warm);
		p->warm--;
		p->warm_least = MIN(p->warm_least, p->warm);
	} else {
		buf = mmap(NULL, p->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (buf == MAP_FAILED)
			return NULL;
	}
	p->used++;
	return buf;
}

void pool_give(struct pool *p, uint8_t *buf)
{
	CHECK(p->used > 0);
	p->used--;
	memcpy(buf, &p->first_warm, sizeof p->first_warm);
	p->first_warm = buf;
	p->warm++;
}

bool pool_trim(struct pool *p)
{
	unmap_warm(p, MIN(p->warm_least, p->warm));
	p->warm_least = p->warm;
	return p->warm + p->used > 0;
}
