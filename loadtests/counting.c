/* Marks what callgrind is to count, for loadtests/instructions.py. Outside valgrind these calls do nothing. */

#include <valgrind/callgrind.h>

/* From here on every instruction is translated anew, so that it can be counted: slow at first. */
void start(void)
{
    CALLGRIND_START_INSTRUMENTATION;
}

void begin(void)
{
    CALLGRIND_ZERO_STATS;
}

/* Writes down under this name what was counted since `begin`. */
void end(const char *name)
{
    CALLGRIND_DUMP_STATS_AT(name);
}
