/* Moves the wall clock of the processes that preload it, by what is in a file: for tests only.
 *
 * WALL_CLOCK_FILE names a file that holds nanoseconds as one int64_t, and as another whether a time service
 * keeps the clock; both may change while they run. All other clocks are the kernel's.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000LL

struct wall_clock {
    int64_t offset_ns;
    int64_t is_synced;
};

static volatile struct wall_clock *wall_clock;

__attribute__((constructor)) static void map_offset(void)
{
    const char *path = getenv("WALL_CLOCK_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof *wall_clock, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED)
        wall_clock = mapped;
}

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *t)
{
    int result = (int)syscall(SYS_clock_gettime, clock, t);
    if (result == 0 && clock == CLOCK_REALTIME && wall_clock) {
        int64_t ns = t->tv_sec * NS_PER_S + t->tv_nsec + wall_clock->offset_ns;
        t->tv_sec = ns / NS_PER_S;
        t->tv_nsec = ns % NS_PER_S;
    }
    return result;
}

/* All that is asked of it here is whether the clock is kept. */
__attribute__((visibility("default"))) int adjtimex(struct timex *t)
{
    (void)t;
    return wall_clock && wall_clock->is_synced ? TIME_OK : TIME_ERROR;
}
