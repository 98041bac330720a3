/* A libnvidia-ml.so.1 for tests: GPUs that exist only in a file.
 *
 * The unmodified Python bindings load it in place of NVIDIA's library and see a host whose power limits can be
 * set, whose draw follows them, and which fails on command. All state is in one file shared by every process
 * that maps it (FAKE_NVML_STATE); without that variable nvmlInit refuses, so that a copy left on the library
 * path of a GPU host cannot pass for the real library for long.
 *
 * Symbols nvml* are NVML's interface (nvml.h of driver 570 and later). Symbols fake_nvml_* are the control side,
 * used by tests/fake_nvml/__init__.py. Build with -DFAKE_NVML_OLD_DRIVER for a library without the functions that
 * old drivers lack.
 */
#include "fake_host.h"

/* ---- one process's view: nvmlInit, nvmlShutdown, handles ---- */

static pthread_mutex_t process_lock = PTHREAD_MUTEX_INITIALIZER;
static struct host *host; /* never unmapped: a hung call may still be using it */
static char host_path[4096];
static int references;
static int device = -1; /* open as /dev/nvidiactl is: from the first nvmlInit to the last nvmlShutdown */
static int64_t opened_generation;
static int64_t first_generation = -1; /* of the driver whose library this process has loaded */
static uint64_t opens; /* part of every handle, so that one from before a shutdown is recognised */

EXPORT int nvmlInitWithFlags(unsigned int flags)
{
    (void)flags;
    const char *path = getenv("FAKE_NVML_STATE");
    int result = SUCCESS;
    pthread_mutex_lock(&process_lock);
    if (!path || !*path) {
        fprintf(stderr, "fake libnvidia-ml.so.1: for tests only; set FAKE_NVML_STATE to the file of its GPUs\n");
        result = DRIVER_NOT_LOADED;
    } else if (!host || strcmp(path, host_path)) {
        host = fake_nvml_map(path);
        snprintf(host_path, sizeof host_path, "%s", path);
        references = 0;
        result = host ? SUCCESS : UNKNOWN;
    }
    if (result == SUCCESS && !host->loaded)
        result = DRIVER_NOT_LOADED;
    if (result == SUCCESS && first_generation < 0)
        first_generation = host->generation;
    if (result == SUCCESS && host->generation != first_generation && host->stale_error == VERSION_MISMATCH)
        result = VERSION_MISMATCH;
    if (result == SUCCESS) {
        if (references++ == 0) {
            opens++;
            device = open(path, O_RDONLY | O_CLOEXEC);
        }
        opened_generation = host->generation;
    }
    pthread_mutex_unlock(&process_lock);
    return result;
}

EXPORT int nvmlShutdown(void)
{
    pthread_mutex_lock(&process_lock);
    int result = references ? SUCCESS : UNINITIALIZED;
    if (references && --references == 0)
        close(device);
    pthread_mutex_unlock(&process_lock);
    return result;
}

static int host_status(void)
{
    if (!host || !references)
        return UNINITIALIZED;
    if (!host->loaded)
        return DRIVER_NOT_LOADED;
    return host->generation == opened_generation ? SUCCESS : (int)host->stale_error;
}

static void *handle_of(int64_t index)
{
    return (void *)(uintptr_t)((opens << 8) + (uint64_t)index + 1);
}

static int find(void *handle, struct gpu **gpu)
{
    int status = host_status();
    if (status)
        return status;
    uint64_t value = (uint64_t)(uintptr_t)handle - 1;
    if (value >> 8 != opens || (int64_t)(value & 255) >= host->count)
        return INVALID_ARGUMENT;
    *gpu = &host->gpus[value & 255];
    return SUCCESS;
}

/* Everything a call suffers before it has an effect. `volatile`: another process changes these fields. */
static int endure(struct gpu *g, int is_set)
{
    volatile int64_t *hangs = is_set ? &g->set_hangs : &g->get_hangs;
    int64_t latency_ns = is_set ? g->set_latency_ns : g->get_latency_ns;
    __atomic_fetch_add(is_set ? &g->set_calls : &g->get_calls, 1, __ATOMIC_RELAXED);
    if (latency_ns > 0)
        sleep_ns(latency_ns);
    while (*hangs)
        sleep_ns(POLL_NS);
    int status = host_status(); /* the driver may have gone meanwhile */
    if (status)
        return status;
    return (int)(is_set && g->set_error ? g->set_error : g->get_error);
}

/* Copy a GPU as it is now, unless it does not answer this kind of question. */
static int look(void *handle, int64_t question, struct gpu *copy)
{
    struct gpu *g;
    int status = find(handle, &g);
    if (status || (status = endure(g, 0)))
        return status;
    if (g->missing & question)
        return NOT_SUPPORTED;
    lock(host);
    advance(host, g);
    *copy = *g;
    fake_nvml_unlock(host);
    return SUCCESS;
}

static int set_limit(void *handle, int64_t mw)
{
    struct gpu *g;
    int status = find(handle, &g);
    if (status || (status = endure(g, 1)))
        return status;
    if (mw < g->min_mw || mw > g->max_mw)
        return INVALID_ARGUMENT;
    lock(host);
    advance(host, g);
    if (!g->ignores_writes)
        g->requested_mw = mw;
    fake_nvml_log(host, g - host->gpus, BY_NVML);
    fake_nvml_unlock(host);
    return SUCCESS;
}

/* ---- NVML ---- */

EXPORT const char *nvmlErrorString(int code)
{
    static __thread char text[48];
    snprintf(text, sizeof text, "fake NVML error %d", code);
    return text;
}

EXPORT int nvmlDeviceGetCount_v2(unsigned int *count)
{
    int status = host_status();
    if (!status)
        *count = (unsigned int)host->count;
    return status;
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **handle)
{
    int status = host_status();
    if (status)
        return status;
    if (index >= host->count)
        return INVALID_ARGUMENT;
    *handle = handle_of(index);
    return SUCCESS;
}

static int copy_text(void *handle, char *out, unsigned int size, size_t offset)
{
    struct gpu g;
    int status = look(handle, 0, &g);
    if (status)
        return status;
    const char *text = (const char *)&g + offset;
    if (strlen(text) >= size)
        return INSUFFICIENT_SIZE;
    strcpy(out, text);
    return SUCCESS;
}

EXPORT int nvmlDeviceGetUUID(void *handle, char *out, unsigned int size)
{
    return copy_text(handle, out, size, offsetof(struct gpu, uuid));
}

EXPORT int nvmlDeviceGetName(void *handle, char *out, unsigned int size)
{
    return copy_text(handle, out, size, offsetof(struct gpu, name));
}

/* A 32-bit reading: the number, or the value with which the driver says "blank". */
static unsigned int reading(const struct gpu *g, double value)
{
    return g->blank ? 0x7ffffff0u : (unsigned int)llround(value);
}

#define GETTER(function, question, type, expression)     \
    EXPORT int function(void *handle, type *out)         \
    {                                                    \
        struct gpu g;                                    \
        int status = look(handle, question, &g);         \
        if (!status)                                     \
            *out = (expression);                         \
        return status;                                   \
    }

GETTER(nvmlDeviceGetPersistenceMode, PERSISTENCE, unsigned int, (unsigned int)g.persistence)
GETTER(nvmlDeviceGetPowerManagementDefaultLimit, DEFAULT_LIMIT, unsigned int, (unsigned int)g.default_mw)
GETTER(nvmlDeviceGetPowerManagementLimit, REQUESTED, unsigned int, reading(&g, (double)g.requested_mw))
GETTER(nvmlDeviceGetEnforcedPowerLimit, ENFORCED, unsigned int, reading(&g, (double)enforced_mw(&g)))
GETTER(nvmlDeviceGetPowerUsage, POWER, unsigned int, reading(&g, g.draw_mw))
GETTER(nvmlDeviceGetTotalEnergyConsumption, ENERGY, unsigned long long,
       g.blank ? ~0ULL : (unsigned long long)g.energy_mj)

/* Dynamic power goes with the cube of the clock; the memory and video clocks (types 2 and 3) are not known. */
static unsigned int clock_mhz(const struct gpu *g)
{
    double natural = fmax(1.0, (double)(g->demand_mw - g->idle_mw));
    double share = fmax(0.0, fmin(1.0, (double)(enforced_mw(g) - g->idle_mw) / natural));
    return reading(g, g->demand_mw <= g->idle_mw ? 210 : MAX_CLOCK_MHZ * cbrt(share));
}

static int clock_of(void *handle, unsigned int type, unsigned int *mhz, int is_max)
{
    struct gpu g;
    int status = look(handle, CLOCK, &g);
    if (!status && type > 1)
        status = INVALID_ARGUMENT;
    if (!status)
        *mhz = is_max ? MAX_CLOCK_MHZ : clock_mhz(&g);
    return status;
}

EXPORT int nvmlDeviceGetClockInfo(void *handle, unsigned int type, unsigned int *mhz)
{
    return clock_of(handle, type, mhz, 0);
}

EXPORT int nvmlDeviceGetMaxClockInfo(void *handle, unsigned int type, unsigned int *mhz)
{
    return clock_of(handle, type, mhz, 1);
}

EXPORT int nvmlDeviceGetPowerManagementLimitConstraints(void *handle, unsigned int *min_mw, unsigned int *max_mw)
{
    struct gpu g;
    int status = look(handle, CONSTRAINTS, &g);
    if (!status) {
        *min_mw = (unsigned int)g.min_mw;
        *max_mw = (unsigned int)g.max_mw;
    }
    return status;
}

EXPORT int nvmlDeviceSetPowerManagementLimit(void *handle, unsigned int mw)
{
    return set_limit(handle, mw);
}

struct power_value { unsigned int version; unsigned char scope; unsigned int mw; };

EXPORT int nvmlDeviceSetPowerManagementLimit_v2(void *handle, struct power_value *value)
{
    struct gpu *g;
    if (!find(handle, &g))
        g->set_v2_calls++;
    return set_limit(handle, value->mw);
}

#ifndef FAKE_NVML_OLD_DRIVER

EXPORT int nvmlDeviceGetCurrentClocksEventReasons(void *handle, unsigned long long *reasons)
{
    struct gpu g;
    int status = look(handle, REASONS, &g);
    if (!status) /* 1: GPU idle, 4: software power cap */
        *reasons = (unsigned long long)g.extra_reasons | (g.demand_mw <= g.idle_mw ? 1 : 0)
                   | (g.demand_mw > enforced_mw(&g) ? 4 : 0);
    return status;
}

struct field_value {
    uint32_t field, scope;
    int64_t timestamp_us, latency_us;
    uint32_t type; /* 1 = unsigned int, 3 = unsigned long long */
    uint32_t status;
    union { unsigned int u; unsigned long long ull; } value;
};

static void put(struct field_value *f, int is_missing, uint32_t type, double value, int blank)
{
    f->status = is_missing ? NOT_SUPPORTED : SUCCESS;
    f->type = type;
    if (type == 1)
        f->value.u = blank ? 0x7ffffff0u : (unsigned int)llround(value);
    else
        f->value.ull = blank ? 0x7ffffffffffffff0ULL : (unsigned long long)value;
}

EXPORT int nvmlDeviceGetFieldValues(void *handle, int count, struct field_value *fields)
{
    struct gpu g;
    int status = look(handle, 0, &g);
    if (status)
        return status;
    int all = (g.missing & FIELDS) != 0, blank = g.blank != 0;
    for (int i = 0; i < count; i++) {
        struct field_value *f = &fields[i];
        int no = all || f->scope != 0; /* scope 0 is the GPU itself */
        f->timestamp_us = boot_ns() / 1000;
        f->value.ull = 0;
        switch (f->field) {
        case 74: put(f, no, 3, (double)g.capped_ns, blank); break;
        case 83: put(f, no || (g.missing & ENERGY), 3, g.energy_mj, blank); break;
        case 186: put(f, no || (g.missing & POWER), 1, g.draw_mw, blank); break;
        case 190: put(f, no || (g.missing & ENFORCED), 1, (double)enforced_mw(&g), blank); break;
        case 192: put(f, no || (g.missing & REQUESTED), 1, (double)g.requested_mw, blank); break;
        default: f->status = NOT_SUPPORTED;
        }
        if (f->status == SUCCESS)
            f->status = (uint32_t)g.field_error;
    }
    return SUCCESS;
}

#endif
