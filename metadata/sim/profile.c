#include <string.h>

#include "metadata/sim/sim.h"

static const struct profile profiles[] = {
	{.name = "calm"},
	{.name = "network",
	 .drop = 50,
	 .dup = 30,
	 .slow = 100,
	 .partition = 10,
	 .one_way = 10,
	 .ambush = 200},
	{.name = "crash", .drop = 10, .slow = 20, .kill = 15, .power = 15, .ambush = 200},
	{.name = "disk",
	 .drop = 5,
	 .slow = 10,
	 .power = 10,
	 .kill = 5,
	 .disk_slow = 10,
	 .full = 5,
	 .wound = 150},
	{.name = "churn",
	 .drop = 10,
	 .slow = 20,
	 .partition = 4,
	 .kill = 5,
	 .power = 5,
	 .churn = 60,
	 .transfer = 20},
	{.name = "clock", .drop = 10, .slow = 50, .kill = 5, .clock = 40, .transfer = 5},
	/* The most of each; a seed draws some of them, each up to that. */
	{.name = "mixed",
	 .drop = 150,
	 .dup = 60,
	 .slow = 250,
	 .partition = 20,
	 .one_way = 20,
	 .kill = 25,
	 .power = 25,
	 .disk_slow = 15,
	 .full = 6,
	 .wound = 300,
	 .churn = 80,
	 .transfer = 40,
	 .clock = 30,
	 .ambush = 900},
};

const struct profile *profile_find(const char *name)
{
	for (uint32_t i = 0; i < LENGTH(profiles); i++)
		if (strcmp(profiles[i].name, name) == 0)
			return &profiles[i];
	return NULL;
}

const char *profile_names(void)
{
	return "calm network crash disk churn clock mixed";
}

static uint32_t draw(uint32_t most, struct rng *rng)
{
	return rng_below(rng, 3) == 0 ? 0 : (uint32_t)rng_below(rng, most + 1);
}

struct profile profile_draw(const struct profile *p, struct rng *rng)
{
	if (strcmp(p->name, "mixed") != 0)
		return *p;
	return (struct profile){
		.name = p->name,
		.drop = draw(p->drop, rng),
		.dup = draw(p->dup, rng),
		.slow = draw(p->slow, rng),
		.partition = draw(p->partition, rng),
		.one_way = draw(p->one_way, rng),
		.kill = draw(p->kill, rng),
		.power = draw(p->power, rng),
		.disk_slow = draw(p->disk_slow, rng),
		.full = draw(p->full, rng),
		.wound = draw(p->wound, rng),
		.churn = draw(p->churn, rng),
		.transfer = draw(p->transfer, rng),
		.clock = draw(p->clock, rng),
		.ambush = p->ambush * (uint32_t)rng_below(rng, 3) / 2,
	};
}
