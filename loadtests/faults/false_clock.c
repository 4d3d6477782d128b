/* A wall clock that is off by what stands in the file $FALSE_CLOCK: two int64, seconds to add and, unless 0, the second
   at which it stands still. The monotonic clocks are left alone, as when somebody sets the time. For LD_PRELOAD. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *wanted;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("FALSE_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *seen = mmap(0, 16, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (seen != MAP_FAILED) wanted = seen;
}

int clock_gettime(clockid_t clock, struct timespec *found) {
  int failed = (int)syscall(SYS_clock_gettime, clock, found);
  if (failed || !wanted || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return failed;
  if (wanted[1]) {
    found->tv_sec = wanted[1];
    found->tv_nsec = 0;
  } else {
    found->tv_sec += wanted[0];
  }
  return 0;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  found->tv_sec = now.tv_sec;
  found->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *found) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (found) *found = now.tv_sec;
  return now.tv_sec;
}
