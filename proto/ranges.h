/*
 * What the numbers of a workload's resources, and of a terminal, may be. berthd refuses what is outside and
 * names the field; berth-sandboxd, which believes nobody, checks the same again.
 */
#pragma once

#define RANGE_CPU_MILLIS_MIN    10 /* the kernel's smallest quota is 1 ms, of a period of 100 ms */
#define RANGE_CPU_MILLIS_MAX    10000000    /* ten thousand cores: more is a mistake of units */
#define RANGE_WEIGHT_MAX        10000       /* of cpu and io, from 1 */
#define RANGE_PIDS_MAX          4194304     /* PID_MAX_LIMIT, proc(5) */
#define RANGE_CPUSET_LENGTH_MAX 255         /* characters of "0-3,7" */
#define RANGE_IO_LIMITS_MAX     16          /* devices */
#define RANGE_IO_OPS_MAX        0xffffffffu /* a second; v1 keeps it in 32 bits */
#define RANGE_TERMINAL_MAX      10000       /* rows, and columns */
