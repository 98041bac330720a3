/* Moves the wall clock of the processes that preload it, by what is in a file: for tests only.
 *
 * WALL_CLOCK_OFFSET names a file that holds nanoseconds as one int64_t; it may change while they run. All other
 * clocks are the kernel's.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000LL

static volatile int64_t *offset_ns;

__attribute__((constructor)) static void map_offset(void)
{
    const char *path = getenv("WALL_CLOCK_OFFSET");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof *offset_ns, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED)
        offset_ns = mapped;
}

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *t)
{
    int result = (int)syscall(SYS_clock_gettime, clock, t);
    if (result == 0 && clock == CLOCK_REALTIME && offset_ns) {
        int64_t ns = t->tv_sec * NS_PER_S + t->tv_nsec + *offset_ns;
        t->tv_sec = ns / NS_PER_S;
        t->tv_nsec = ns % NS_PER_S;
    }
    return result;
}
