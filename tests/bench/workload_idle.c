/* Does nothing until it is killed: what a container costs beyond it is Berth's. */
#include <stddef.h>

#include "tests/bench/workload.h"

ENTRY
{
	for (;;)
		(void)syscall(SYS_ppoll, NULL, 0, NULL, NULL, 0);
}
