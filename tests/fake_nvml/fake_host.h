/* The host behind the fake NVML: its GPUs, their physics, and the file that holds them.
 *
 * Everything is in `struct host`, mapped shared by every process involved; tests/fake_nvml/__init__.py mirrors the
 * structs field by field. Locking: one process-shared mutex, held for arithmetic only, never while a call is
 * delayed or hung.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define MAX_GPUS 128
#define LOG_SIZE 32768
#define LAYOUT 2
#define NS_PER_S 1000000000LL
#define POLL_NS 1000000LL
#define MAX_CLOCK_MHZ 1980

/* NVML return codes (nvml.h). */
enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7,
       DRIVER_NOT_LOADED = 9, VERSION_MISMATCH = 18, UNKNOWN = 999 };

/* What a GPU may be told not to answer: the bits of gpu.missing. */
enum { FIELDS = 1, CONSTRAINTS = 2, ENFORCED = 4, REQUESTED = 8, ENERGY = 16, REASONS = 32, PERSISTENCE = 64,
       POWER = 128, DEFAULT_LIMIT = 256, CLOCK = 512 };

/* Who changed a limit: log_entry.source. */
enum { BY_NVML = 0 }; /* the others are used by the control side only */

struct gpu {
    char uuid[48];
    char name[48];
    double draw_mw;
    double energy_mj;
    int64_t capped_ns;
    int64_t updated_ns;
    int64_t min_mw, default_mw, max_mw;
    int64_t requested_mw;
    int64_t out_of_band_mw; /* a limiter outside NVML; 0 = none */
    int64_t demand_mw;      /* what the work would draw without a limit */
    int64_t idle_mw;
    int64_t lag_ns;         /* time constant of the draw */
    int64_t persistence;
    int64_t extra_reasons;  /* event reasons besides those that follow from the physics */
    int64_t get_latency_ns, set_latency_ns;
    int64_t get_hangs, set_hangs;
    int64_t get_error, set_error; /* an NVML return code; 0 = none */
    int64_t field_error;    /* return code of each field; the call itself succeeds */
    int64_t ignores_writes; /* a write succeeds and changes nothing */
    int64_t missing;
    int64_t blank;          /* readings are sentinels instead of numbers */
    int64_t get_calls, set_calls, set_v2_calls;
};

struct log_entry {
    int64_t boot_ns;
    int64_t gpu;
    int64_t source;
    int64_t requested_mw;
    int64_t enforced_mw;
};

struct host {
    union { pthread_mutex_t mutex; char space[64]; } lock;
    int64_t layout;
    int64_t count;
    int64_t loaded;       /* 0: no driver */
    int64_t generation;   /* of the driver: a process that has not initialised since sees stale_error */
    int64_t stale_error;
    int64_t time_shift_ns; /* how far tests have moved the physics ahead of the boot clock */
    int64_t log_count;
    struct gpu gpus[MAX_GPUS];
    struct log_entry log[LOG_SIZE];
};

/* ---- time and physics ---- */

static int64_t boot_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void sleep_ns(int64_t ns)
{
    struct timespec t = { ns / NS_PER_S, ns % NS_PER_S };
    while (nanosleep(&t, &t) == -1 && errno == EINTR) { }
}

static int64_t enforced_mw(const struct gpu *g)
{
    return g->out_of_band_mw && g->out_of_band_mw < g->requested_mw ? g->out_of_band_mw : g->requested_mw;
}

static void lock(struct host *h)
{
    if (pthread_mutex_lock(&h->lock.mutex) == EOWNERDEAD) /* a process was killed while it held the lock */
        pthread_mutex_consistent(&h->lock.mutex);
}

/* First-order response, integrated exactly over the time since the last look. Caller holds the lock. */
static void advance(struct host *h, struct gpu *g)
{
    int64_t now_ns = boot_ns() + h->time_shift_ns;
    double dt_ns = (double)(now_ns - g->updated_ns);
    if (dt_ns <= 0)
        return;
    double target = fmax((double)g->idle_mw, fmin((double)g->demand_mw, (double)enforced_mw(g)));
    double lag = fmax(1.0, (double)g->lag_ns);
    double decay = exp(-dt_ns / lag);
    double above = g->draw_mw - target;
    g->energy_mj += (target * dt_ns + above * lag * (1 - decay)) / NS_PER_S;
    g->draw_mw = target + above * decay;
    if (g->demand_mw > enforced_mw(g))
        g->capped_ns += now_ns - g->updated_ns;
    g->updated_ns = now_ns;
}

/* ---- control side ---- */

/* Bring all GPUs to the present and keep them there: what changes a GPU's physics does so in between. */
EXPORT void fake_nvml_lock(struct host *h)
{
    lock(h);
    for (int64_t i = 0; i < h->count; i++)
        advance(h, &h->gpus[i]);
}

EXPORT void fake_nvml_unlock(struct host *h)
{
    pthread_mutex_unlock(&h->lock.mutex);
}

/* Caller holds the lock. */
EXPORT void fake_nvml_log(struct host *h, int64_t gpu, int64_t source)
{
    struct log_entry *entry = &h->log[h->log_count % LOG_SIZE];
    *entry = (struct log_entry){ boot_ns(), gpu, source, h->gpus[gpu].requested_mw, enforced_mw(&h->gpus[gpu]) };
    h->log_count++;
}

EXPORT int64_t fake_nvml_size(void)
{
    return sizeof(struct host);
}

static int64_t number(const char *variable, int64_t otherwise)
{
    const char *text = getenv(variable);
    return text && *text ? atoll(text) : otherwise;
}

static void create(struct host *h)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&h->lock.mutex, &attributes);
    h->count = number("FAKE_NVML_GPUS", 8);
    if (h->count > MAX_GPUS)
        h->count = MAX_GPUS;
    h->loaded = 1;
    h->generation = 1;
    h->stale_error = UNINITIALIZED;
    for (int64_t i = 0; i < h->count; i++) {
        struct gpu *g = &h->gpus[i];
        snprintf(g->uuid, sizeof g->uuid, "GPU-00000000-0000-4000-8000-%012d", (int)i);
        snprintf(g->name, sizeof g->name, "Fake NVIDIA GPU");
        g->min_mw = number("FAKE_NVML_MIN_MW", 100000);
        g->default_mw = number("FAKE_NVML_DEFAULT_MW", 400000);
        g->max_mw = number("FAKE_NVML_MAX_MW", 400000);
        g->requested_mw = g->default_mw;
        g->idle_mw = g->demand_mw = 60000;
        g->draw_mw = (double)g->idle_mw;
        g->lag_ns = 50 * 1000000LL;
        g->persistence = 1;
        g->updated_ns = boot_ns();
    }
    h->layout = LAYOUT;
}

/* Map the host in a file, and create it there first if the file is new. */
EXPORT struct host *fake_nvml_map(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return NULL;
    flock(fd, LOCK_EX);
    struct stat status;
    int is_new = fstat(fd, &status) == 0 && status.st_size == 0;
    struct host *h = MAP_FAILED;
    if (!is_new || ftruncate(fd, sizeof *h) == 0)
        h = mmap(NULL, sizeof *h, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (h != MAP_FAILED && is_new)
        create(h);
    flock(fd, LOCK_UN); /* closing does not: the mapping keeps the open file */
    close(fd);
    return h == MAP_FAILED || h->layout != LAYOUT ? NULL : h;
}
