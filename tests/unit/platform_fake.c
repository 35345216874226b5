/* SPDX-License-Identifier: BSD-2-Clause */
/* The fake platform: see platform_fake.h. */
#include "platform_fake.h"
#include <chalk/device.h>
#include <chalk/error.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KIB(n) ((size_t)(n) << 10)

struct fake fake;
jmp_buf fake_exit_place;
bool fake_exit_armed;

struct mapping {
    struct mapping *next;
    char *va;
    uint64_t iova;
    size_t size;
    unsigned protection, count;
};

struct chalk_domain {
    unsigned devices;
    struct mapping *mappings;
};

struct chalk_device {
    struct fake_device *model;
};

static struct chalk_device handles[4];

static struct chalk_span spans[64];
static unsigned span_count;
static pthread_mutex_t span_lock = PTHREAD_MUTEX_INITIALIZER;

static struct {
    const char *call;
    unsigned after;
    int error;
} fault;

/* 0, or the error that the test wants this call to end with. */
static int fault_of(const char *call)
{
    if (!fault.call || strcmp(fault.call, call) != 0 || fault.after-- > 0)
        return 0;
    fault.call = NULL;
    return fault.error;
}

/* For mistakes of a test or a driver that no test waits for: the test that is running has failed. */
static _Noreturn void die(const char *what)
{
    fail_msg("fake platform: %s%s%s", what, fake.console_size ? "; the console has:\n" : "", fake.console);
    abort();
}

static void interrupts_forget(void);

void fake_reset(void)
{
    while (span_count > 0)
        fake_span_remove(span_count - 1);
    fault.call = NULL;
    for (unsigned i = 0; i < fake.device_count; i++)
        if (fake.devices[i].open)
            die("a device was left open by the test before");
    if (fake.mappings)
        die("memory was left mapped by the test before");
    interrupts_forget();
    memset(&fake, 0, sizeof fake);
    fake.now = 1000;
    fake.step = 100;
    fake.clock = (struct chalk_clock){.hertz = 1000000000, .ns_mult = 1ull << 32, .ticks_mult = 1ull << 32};
    fake.next_iova = 0x10000000;
    fake.grow_limit = KIB(64 * 1024);
    fake.grow_page = KIB(2048);
}

void fake_fail(const char *call, unsigned after, int error)
{
    fault.call = call;
    fault.after = after;
    fault.error = error;
}

/* ---- memory --------------------------------------------------------------------------------------- */

static struct chalk_span *span_new(enum chalk_span_kind kind, size_t size, size_t page, uint64_t iova,
                                   unsigned node)
{
    if (span_count == sizeof spans / sizeof spans[0])
        die("too many spans");
    struct chalk_span *span = &spans[span_count++];
    memset(span, 0, sizeof *span);
    span->books = calloc(1, sizeof *span->books);
    span->kind = kind;
    span->size = (size + page - 1) & ~(page - 1);
    span->page = page;
    span->node = node;
    span->apart = fake.apart;
    /* So far aligned that how its addresses and its iovas differ does not depend on the day. */
    if (!span->books || posix_memalign(&span->va, page > KIB(64) ? page : KIB(64), span->size) != 0)
        die("out of memory");
    memset(span->va, 0xa5, span->size);
    if (!iova) {
        iova = (fake.next_iova + page - 1) & ~(uint64_t)(page - 1);
        fake.next_iova = iova + span->size;
    }
    span->iova = iova;
    return span;
}

void *fake_span_add(enum chalk_span_kind kind, size_t size, size_t page, uint64_t iova, unsigned node)
{
    return span_new(kind, size, page, iova, node)->va;
}

void fake_span_remove(unsigned i)
{
    free(spans[i].va);
    free(spans[i].books);
    memmove(spans + i, spans + i + 1, (--span_count - i) * sizeof *spans);
}

int chalk_span_get(unsigned i, struct chalk_span *span)
{
    pthread_mutex_lock(&span_lock);
    int error = i < span_count ? 0 : -ENOENT;
    if (!error)
        *span = spans[i];
    pthread_mutex_unlock(&span_lock);
    return error;
}

int chalk_span_grow(size_t size, size_t page, unsigned node, uint64_t max_address, struct chalk_span *span)
{
    page = page ? page : fake.grow_page;
    pthread_mutex_lock(&span_lock);
    int error = fault_of(__func__);
    size_t whole = (size + page - 1) & ~(page - 1);
    uint64_t iova = (fake.next_iova + page - 1) & ~(uint64_t)(page - 1);

    if (!error && (whole < size || whole > fake.grow_limit))
        error = -ENOMEM;
    if (!error && iova + whole - 1 > max_address)
        error = -ERANGE;
    if (!error) {
        *span = *span_new(CHALK_SPAN_RAM, whole, page, 0, node);
        fake.grow_limit -= whole;
        fake.grows++;
    }
    pthread_mutex_unlock(&span_lock);
    return error;
}

int chalk_page_guard(void *page, const char *name)
{
    int error = fault_of(__func__);

    (void)name;
    return error ? error : (uintptr_t)page % 4096 ? -EINVAL : 0;
}

/* ---- devices -------------------------------------------------------------------------------------- */

static void config_put(struct fake_device *device, unsigned offset, unsigned width, uint32_t value)
{
    for (unsigned i = 0; i < width; i++)
        device->config[offset + i] = (uint8_t)(value >> 8 * i);
}

static uint32_t config_get(const struct fake_device *device, unsigned offset, unsigned width)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < width; i++)
        value |= (uint32_t)device->config[offset + i] << 8 * i;
    return value;
}

struct fake_device *fake_device_add(const char *name, uint16_t vendor, uint16_t device, uint32_t class_code)
{
    if (fake.device_count == sizeof fake.devices / sizeof fake.devices[0])
        die("too many devices");
    struct fake_device *new = &fake.devices[fake.device_count++];

    snprintf(new->info.name, sizeof new->info.name, "%s", name);
    new->info.vendor = vendor;
    new->info.device = device;
    new->info.class_code = class_code;
    new->vector_count = FAKE_VECTORS;
    config_put(new, 0, 2, vendor);
    config_put(new, 2, 2, device);
    config_put(new, 9, 2, class_code);
    config_put(new, 11, 1, class_code >> 16);
    return new;
}

int chalk_bus_next(struct chalk_bus_info *info)
{
    int error = fault_of(__func__);
    if (error)
        return error;
    if (info->cursor >= fake.device_count)
        return -ENOENT;
    unsigned next = info->cursor + 1;
    *info = fake.devices[info->cursor].info;
    info->cursor = next;
    return 0;
}

struct chalk_domain *fake_domain_add(void)
{
    struct chalk_domain *domain = calloc(1, sizeof *domain);

    if (!domain)
        die("out of memory");
    domain->devices = 1;
    return domain;
}

void fake_domain_remove(struct chalk_domain *domain)
{
    if (--domain->devices != 0)
        return;
    if (domain->mappings)
        die("a domain ended with memory still mapped");
    free(domain);
}

int chalk_device_open(const char *name, struct chalk_domain **domain, struct chalk_device **device)
{
    int error = fault_of(__func__);
    if (error)
        return error;
    for (unsigned i = 0; i < fake.device_count; i++) {
        struct fake_device *model = &fake.devices[i];
        if (strcmp(model->info.name, name) != 0)
            continue;
        if (model->open)
            return -EBUSY;
        if (model->held)
            return model->held;
        if (!*domain)
            *domain = fake_domain_add();
        else
            (*domain)->devices++;
        model->open = true;
        model->opens++;
        model->domain = *domain;
        config_put(model, CHALK_PCI_COMMAND, 2,
                   config_get(model, CHALK_PCI_COMMAND, 2) & ~(uint32_t)CHALK_PCI_COMMAND_MASTER);
        handles[i].model = model;
        *device = &handles[i];
        return 0;
    }
    return -ENODEV;
}

void chalk_device_close(struct chalk_device *device)
{
    struct fake_device *model = device->model;

    if (!model || !model->open)
        die("a device was closed that is not open");
    config_put(model, CHALK_PCI_COMMAND, 2,
               config_get(model, CHALK_PCI_COMMAND, 2) & ~(uint32_t)CHALK_PCI_COMMAND_MASTER);
    memset(model->vectors, 0, sizeof model->vectors);
    fake_domain_remove(model->domain);
    model->domain = NULL;
    model->open = false;
    device->model = NULL;
}

int chalk_device_reset(struct chalk_device *device, uint64_t deadline)
{
    (void)deadline;
    int error = fault_of(__func__);
    if (error)
        return error;
    if (device->model->gone)
        return -ENODEV;
    if (!device->model->reset)
        return -ENOTSUP;
    device->model->resets++;
    config_put(device->model, CHALK_PCI_COMMAND, 2, 0);
    return device->model->reset(device->model);
}

static bool config_valid(unsigned offset, unsigned width)
{
    return (width == 1 || width == 2 || width == 4) && offset % width == 0 && offset + width <= 4096;
}

int chalk_config_read(struct chalk_device *device, unsigned offset, unsigned width, uint32_t *value)
{
    int error = fault_of(__func__);
    if (error)
        return error;
    if (!config_valid(offset, width))
        return -EINVAL;
    *value = device->model->gone ? UINT32_MAX >> (32 - 8 * width) : config_get(device->model, offset, width);
    return 0;
}

int chalk_config_write(struct chalk_device *device, unsigned offset, unsigned width, uint32_t value)
{
    int error = fault_of(__func__);
    if (error)
        return error;
    if (!config_valid(offset, width))
        return -EINVAL;
    device->model->config_writes++;
    if (!device->model->gone)
        config_put(device->model, offset, width, value);
    return 0;
}

int chalk_window_map(struct chalk_device *device, unsigned bar, uint64_t offset, size_t size,
                     enum chalk_attribute attribute, struct chalk_mmio *window)
{
    struct fake_device *model = device->model;

    (void)attribute;
    int error = fault_of(__func__);
    if (error)
        return error;
    if (bar >= 6 || !model->bars[bar].size)
        return -ENODEV;
    if (offset > model->bars[bar].size || size > model->bars[bar].size - offset)
        return -ERANGE;
    memset(window, 0, sizeof *window);
    window->size = size;
    window->ops = model->bars[bar].ops;
    window->owner = model->model;
    window->origin = offset;
    window->lost = model->tells ? &model->lost : NULL;
    if (!window->ops)
        window->base = (uintptr_t)model->bars[bar].memory + (uintptr_t)offset;
    return 0;
}

/* ---- what a device may touch ---------------------------------------------------------------------- */

static bool in_a_span(const char *va, size_t size)
{
    for (unsigned i = 0; i < span_count; i++) {
        char *start = spans[i].va;
        if (va >= start && va < start + spans[i].size && size <= (size_t)(start + spans[i].size - va))
            return true;
    }
    return false;
}

int chalk_dma_map(struct chalk_domain *domain, void *va, size_t size, uint64_t iova, unsigned protection)
{
    int error = fault_of(__func__);
    if (error)
        return error;
    if (!size || (((uintptr_t)va | iova | size) & 4095) || !in_a_span(va, size))
        return -EINVAL;
    for (struct mapping *m = domain->mappings; m; m = m->next) {
        if (m->va == va && m->iova == iova && m->size == size && m->protection == protection) {
            m->count++;
            return 0;
        }
        if (iova < m->iova + m->size && m->iova < iova + size)
            return -EEXIST;
    }
    struct mapping *new = malloc(sizeof *new);
    if (!new)
        die("out of memory");
    *new = (struct mapping){domain->mappings, va, iova, size, protection, 1};
    domain->mappings = new;
    fake.mappings++;
    return 0;
}

int chalk_dma_unmap(struct chalk_domain *domain, uint64_t iova, size_t size)
{
    int error = fault_of(__func__);
    if (error)
        return error;
    for (struct mapping **link = &domain->mappings; *link; link = &(*link)->next) {
        struct mapping *m = *link;
        if (m->iova != iova || m->size != size)
            continue;
        if (--m->count == 0) {
            *link = m->next;
            free(m);
            fake.mappings--;
        }
        return 0;
    }
    return -ENOENT;
}

void *fake_dma(const struct chalk_domain *domain, uint64_t iova, size_t size, unsigned protection)
{
    for (const struct mapping *m = domain->mappings; m; m = m->next)
        if (iova >= m->iova && iova - m->iova < m->size && size <= m->size - (iova - m->iova) &&
            (m->protection & protection) == protection)
            return m->va + (iova - m->iova);
    return NULL;
}

void *fake_device_dma(const struct fake_device *device, uint64_t iova, size_t size, unsigned protection)
{
    if (!device->domain || device->gone ||
        !(config_get(device, CHALK_PCI_COMMAND, 2) & CHALK_PCI_COMMAND_MASTER))
        return NULL;
    return fake_dma(device->domain, iova, size, protection);
}

/* ---- interrupts and cores ------------------------------------------------------------------------- */

#define CORES 2

static _Atomic(uint32_t) events[CORES];
static struct {
    unsigned core, times;
    _Atomic(uint32_t) *counter;
} pending[256];
static unsigned pending_count;

static void interrupts_forget(void)
{
    pending_count = 0;
}

int chalk_vector_attach(struct chalk_device *device, unsigned vector, unsigned core,
                        _Atomic(uint32_t) *counter)
{
    int error = fault_of(__func__);
    if (error)
        return error;
    if (!device->model->vector_count)
        return -ENOTSUP;
    if (vector >= device->model->vector_count)
        return -ERANGE;
    if (core >= CORES)
        return -EINVAL;
    unsigned kept = 0;
    for (unsigned i = 0; i < pending_count; i++)
        if (pending[i].counter != device->model->vectors[vector].counter)
            pending[kept++] = pending[i];
    pending_count = kept;
    device->model->vectors[vector].core = core;
    device->model->vectors[vector].counter = counter;
    return 0;
}

int chalk_vector_rearm(struct chalk_device *device, unsigned vector)
{
    int error = fault_of(__func__);
    if (error == 0 && device->model->vector_count == 0)
        error = -ENOTSUP;
    return error ? error : vector < device->model->vector_count ? 0 : -ERANGE;
}

void fake_interrupt(struct fake_device *device, unsigned vector)
{
    if (vector >= FAKE_VECTORS)
        die("no such vector");
    if (!device->vectors[vector].counter) {
        device->lost_interrupts++;
        return;
    }
    atomic_fetch_add(&events[device->vectors[vector].core], 1);
    for (unsigned i = 0; i < pending_count; i++)
        if (pending[i].counter == device->vectors[vector].counter) {
            pending[i].times++;
            return;
        }
    if (pending_count == sizeof pending / sizeof pending[0])
        die("too many pending interrupts");
    pending[pending_count].core = device->vectors[vector].core;
    pending[pending_count].times = 1;
    pending[pending_count++].counter = device->vectors[vector].counter;
}

int chalk_core_get_info(unsigned core, struct chalk_core_info *info)
{
    if (core >= CORES)
        return -ENOENT;
    *info = (struct chalk_core_info){.core = core, .running = core == 0, .events = &events[core]};
    return 0;
}

int chalk_core_start(unsigned core, void (*entry)(unsigned core, void *argument), void *argument)
{
    (void)entry;
    (void)argument;
    return core >= CORES ? -ENOENT : core == 0 ? -EBUSY : -ENOTSUP;
}

/* The model's turn, and then time has passed. */
static void pass_time(uint64_t ticks)
{
    static bool inside;

    if (fake.idle && !inside) {
        inside = true;
        fake.idle(fake.idle_argument);
        inside = false;
    }
    fake.now += ticks;
}

void chalk_core_wait(unsigned core, uint32_t seen, uint64_t deadline)
{
    fake.waits++;
    pass_time(fake.step);
    if (atomic_load(&events[core]) == seen && deadline != 0) {
        if (deadline == CHALK_FOREVER)
            die("a core waits for ever for an event that nobody sends");
        if (deadline > fake.now)
            fake.now = deadline;
    }
    unsigned kept = 0;
    for (unsigned i = 0; i < pending_count; i++) {
        if (pending[i].core == core)
            atomic_fetch_add(pending[i].counter, pending[i].times);
        else
            pending[kept++] = pending[i];
    }
    pending_count = kept;
}

void chalk_core_wake(unsigned core)
{
    if (core < CORES)
        atomic_fetch_add(&events[core], 1);
}

/* ---- time, console, end --------------------------------------------------------------------------- */

unsigned long long fake_ticks(void);
unsigned long long fake_ticks(void)
{
    pass_time(fake.step);
    return fake.now;
}

const struct chalk_clock *chalk_clock_info(void)
{
    return &fake.clock;
}

long chalk_console(void *bytes, size_t size, bool write)
{
    int error = fault_of(__func__);
    if (error)
        return error;
    if (!write) {
        size_t there = fake.input ? strlen(fake.input) : 0;
        size = size < there ? size : there;
        memcpy(bytes, fake.input ? fake.input : "", size);
        fake.input = size < there ? fake.input + size : NULL;
        return (long)size;
    }
    if (fake.console_chunk && size > fake.console_chunk)
        size = fake.console_chunk;
    size_t room = sizeof fake.console - 1 - fake.console_size;
    memcpy(fake.console + fake.console_size, bytes, size < room ? size : room);
    fake.console_size += size < room ? size : room;
    return (long)size;
}

bool fake_console_has(const char *text)
{
    return strstr(fake.console, text) != NULL;
}

void fake_console_clear(void)
{
    memset(fake.console, 0, sizeof fake.console);
    fake.console_size = 0;
}

bool chalk_exit_requested(void)
{
    return fake.exit_requested;
}

void chalk_exit(int status)
{
    fake.exit_status = status;
    if (!fake_exit_armed)
        die("the program ended, and no test expected it");
    longjmp(fake_exit_place, 1);
}
