#include "agent/image/platform.h"

#include <string.h>

/* Berth runs where it was built for. The variants are what a missing one means. */
struct platform platform_of_host(void)
{
#if defined(__x86_64__)
	return (struct platform){ "linux", "amd64", "v1" };
#elif defined(__aarch64__)
	return (struct platform){ "linux", "arm64", "v8" };
#elif defined(__riscv) && __riscv_xlen == 64
	return (struct platform){ "linux", "riscv64", "" };
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
	return (struct platform){ "linux", "ppc64le", "" };
#elif defined(__s390x__)
	return (struct platform){ "linux", "s390x", "" };
#else
#error "which architecture do images call this?"
#endif
}

int platform_fit(const struct platform *host, const struct platform *offered)
{
	const char *want = host->variant ? host->variant : "";
	const char *have = offered->variant ? offered->variant : "";

	if (!offered->os || !offered->architecture || strcmp(host->os, offered->os) != 0 ||
	    strcmp(host->architecture, offered->architecture) != 0)
		return 0;
	if (strcmp(want, have) == 0)
		return 2;
	return have[0] == '\0' ? 1 : 0;
}
