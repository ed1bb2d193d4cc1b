/*
 * Print the rate of this machine's time-stamp counter in kHz, which is what a guest under emulation reads as its own.
 * The guest measures it too, while it boots; where the machine is busy it measures wrongly, and its clocks then run
 * several times too fast. Where there is no such counter, 0: the guest is left to itself.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#ifdef __x86_64__
struct reading {
	uint64_t ns;
	uint64_t ticks;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The closest of many: between the two clocks' readings the process may have been off its core. */
static struct reading read_both(void)
{
	struct reading best = { 0 };
	uint64_t closest = UINT64_MAX;

	for (int i = 0; i < 1000; i++) {
		uint64_t before = now_ns();
		uint64_t ticks = __builtin_ia32_rdtsc();
		uint64_t after = now_ns();

		if (after - before < closest) {
			closest = after - before;
			best = (struct reading){ before + closest / 2, ticks };
		}
	}
	return best;
}

int main(void)
{
	struct reading begin = read_both();
	struct reading end;

	nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	end = read_both();
	return printf("%llu\n", (unsigned long long)((end.ticks - begin.ticks) * 1000000 /
						     (end.ns - begin.ns))) < 0;
}
#else
int main(void)
{
	return puts("0") < 0;
}
#endif
