/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Admin commands: several under way, from any core, each until its deadline.
 *
 * A command under way is a struct nvme_admin_call, in memory of whoever asked. Any core that polls takes the
 * completions of all, and notices each deadline that has passed. The lock is held for a few instructions,
 * never while a call is told of its end. A command that gets no answer may still be under way, and may still
 * write into our memory: there is no way to know, so the controller is stopped, and every call ends.
 */
#include "nvme.h"
#include <string.h>

int chalk_nvme_admin_open(struct chalk_nvme *nvme)
{
    struct nvme_admin_queue *admin = &nvme->admin;
    size_t page = nvme->info.page_size;
    int error;

    error =
        chalk_dma_get(nvme->memory, NVME_ADMIN_ENTRIES * sizeof(struct nvme_command), page, &admin->commands);
    if (error == 0)
        error = chalk_dma_get(nvme->memory, NVME_ADMIN_ENTRIES * sizeof(struct nvme_completion), page,
                              &admin->completions);
    if (error != 0)
        return error;
    chalk_grant_check(nvme->domain, admin->commands.iova, admin->commands.size);
    chalk_grant_check(nvme->domain, admin->completions.iova, admin->completions.size);
    for (unsigned i = 0; i < NVME_ADMIN_CALLS; i++)
        admin->slots[i].cid = (uint16_t)i;
    chalk_nvme_admin_rewind(nvme);
    return chalk_nvme_window(nvme, NVME_DOORBELL(0, 0), 2 * (size_t)nvme->info.doorbell_stride,
                             &admin->doorbells);
}

void chalk_nvme_admin_close(struct chalk_nvme *nvme)
{
    if (nvme->admin.commands.va != NULL)
        chalk_dma_put(nvme->memory, &nvme->admin.commands);
    if (nvme->admin.completions.va != NULL)
        chalk_dma_put(nvme->memory, &nvme->admin.completions);
}

/* Another core that has just seen the epoch before this reset may be looking for completions. */
void chalk_nvme_admin_rewind(struct chalk_nvme *nvme)
{
    struct nvme_admin_queue *admin = &nvme->admin;

    chalk_lock_take(&admin->lock);
    memset(admin->completions.va, 0, NVME_ADMIN_ENTRIES * sizeof(struct nvme_completion));
    admin->tail = admin->head = 0;
    admin->phase = 1; /* the first lap's phase bits are 1 [Base 3.3.3.2.2] */
    chalk_lock_release(&admin->lock);
}

static void lock(struct nvme_admin_queue *admin)
{
    chalk_lock_take(&admin->lock);
}

static void unlock(struct nvme_admin_queue *admin)
{
    chalk_lock_release(&admin->lock);
}

/* ---- starting -------------------------------------------------------------------------------------- */

static struct nvme_admin_slot *free_slot(struct nvme_admin_queue *admin)
{
    for (unsigned i = 0; i < NVME_ADMIN_CALLS; i++)
        if (admin->slots[i].call == NULL)
            return &admin->slots[i];
    return NULL;
}

/* The ring has more entries than there are calls, so it is never full. */
static int start(struct chalk_nvme *nvme, struct nvme_admin_call *call, const struct nvme_command *command)
{
    uint32_t epoch = nvme_epoch(nvme);
    struct nvme_admin_queue *admin = &nvme->admin;
    struct nvme_command *entry = (struct nvme_command *)admin->commands.va + admin->tail;
    struct nvme_admin_slot *slot = free_slot(admin);

    if (NVME_STATE(epoch) == NVME_STOPPED)
        return nvme->error;
    if (call->epoch != 0 && call->epoch != epoch)
        return -EIO;
    if (slot == NULL || (NVME_STATE(epoch) == NVME_MENDING && !call->mends))
        return -EAGAIN;
    slot->call = call;
    memcpy(entry, command, sizeof *entry);
    entry->cdw0 = (command->cdw0 & 0xffff) | (uint32_t)slot->cid << 16;
    chalk_dma_publish(entry, sizeof *entry);
    admin->tail = (admin->tail + 1) % NVME_ADMIN_ENTRIES;
    chalk_mmio_write32(&admin->doorbells, 0, admin->tail);
    return 0;
}

int chalk_nvme_admin_start(struct chalk_nvme *nvme, struct nvme_admin_call *call,
                           const struct nvme_command *command)
{
    int error;

    if (call->timeout_ns == 0)
        call->timeout_ns = nvme->timeout_ns;
    call->deadline = call->timeout_ns != UINT64_MAX ? chalk_deadline(call->timeout_ns) : CHALK_FOREVER;
    lock(&nvme->admin);
    error = start(nvme, call, command);
    unlock(&nvme->admin);
    if (error == 0)
        atomic_store_explicit(&nvme->admin.look_after, chalk_deadline(NVME_LOOK_NS), memory_order_relaxed);
    return error;
}

/* ---- ending ---------------------------------------------------------------------------------------- */

/* Tells a call of its end, after which it may be gone. Someone may be asleep for it. */
static void finish(struct chalk_nvme *nvme, struct nvme_admin_call *call)
{
    if (call->done != NULL)
        call->done(call);
    else
        atomic_store_explicit(&call->finished, true, memory_order_release);
    if (nvme->interrupts)
        chalk_core_wake(nvme->core);
}

/* Frees the slot of a completion that was taken; NULL: it is of no command under way. */
static struct nvme_admin_call *claim(struct nvme_admin_queue *admin, const struct nvme_completion *completion)
{
    uint16_t cid = NVME_OUTCOME_CID(completion->outcome);
    struct nvme_admin_slot *slot = &admin->slots[cid % NVME_ADMIN_CALLS];
    struct nvme_admin_call *call =
        slot->cid == cid && completion->origin < NVME_ADMIN_ENTRIES ? slot->call : NULL;

    if (call == NULL)
        return NULL;
    slot->call = NULL;
    slot->cid = (cid + NVME_ADMIN_CALLS) & 0x7fff; /* ffffh is no command [Base 3.3.3.1] */
    call->result = completion->result;
    call->status = NVME_OUTCOME_STATUS(completion->outcome);
    call->error = NVME_STATUS_CODE(call->status) != 0 ? chalk_nvme_status_error(call->status) : 0;
    return call;
}

/* The next completion: false if there is none; else copied, once, with the call that it ends. */
static bool take(struct chalk_nvme *nvme, struct nvme_completion *completion, struct nvme_admin_call **call)
{
    struct nvme_admin_queue *admin = &nvme->admin;
    const struct nvme_completion *entry = (const struct nvme_completion *)admin->completions.va + admin->head;

    /* The phase bit first; everything else once it is known to be new [Base 3.3.3.2.2]. */
    completion->outcome = chalk_dma_load32(&entry->outcome);
    if (NVME_OUTCOME_PHASE(completion->outcome) != admin->phase)
        return false;
    completion->origin = chalk_dma_load32(&entry->origin);
    completion->result = chalk_dma_load32(&entry->result);
    *call = claim(admin, completion);
    if (*call != NULL && (*call)->both)
        (*call)->more = chalk_dma_load32(&entry->dword1);

    if (++admin->head == NVME_ADMIN_ENTRIES) {
        admin->head = 0;
        admin->phase ^= 1;
    }
    chalk_mmio_write32(&admin->doorbells, nvme->info.doorbell_stride, admin->head);
    return true;
}

/* The name of a call that should have ended by `now`, and how long it had; NULL: none is late. */
static const char *late(struct nvme_admin_queue *admin, uint64_t now, unsigned *timeout_ms)
{
    const char *what = NULL;

    lock(admin);
    for (unsigned i = 0; i < NVME_ADMIN_CALLS && what == NULL; i++) {
        const struct nvme_admin_call *call = admin->slots[i].call;

        if (call == NULL || call->deadline == CHALK_FOREVER || now < call->deadline)
            continue;
        what = call->what != NULL ? call->what : "an admin command";
        *timeout_ms = (unsigned)(call->timeout_ns / CHALK_MS);
    }
    unlock(admin);
    return what;
}

/* What the controller did, and what is done about it. */
static void say_silent(const struct chalk_nvme *nvme, const char *what, unsigned timeout_ms, uint32_t csts,
                       const char *then)
{
    chalk_log(CHALK_ERROR, "NVMe %s: no answer to %s within %u ms, status 0x%08x; %s", nvme->name, what,
              timeout_ms, csts, then);
}

static void say_stray(const struct chalk_nvme *nvme, uint16_t cid, const char *then)
{
    chalk_log(CHALK_ERROR, "NVMe %s: completed admin command 0x%04x, which is not in flight; %s", nvme->name,
              cid, then);
}

static void owes(struct chalk_nvme *nvme, uint32_t epoch, const char *what, unsigned timeout_ms)
{
    uint32_t csts;

    if (chalk_nvme_look(nvme, epoch, what, &csts) && nvme_epoch(nvme) == epoch) {
        say_silent(nvme, what, timeout_ms, csts, nvme->open ? "resetting it" : "stopped");
        (void)chalk_nvme_recover(nvme, epoch, -ETIMEDOUT);
    }
}

/* When whoever waits for commands looks next whether the controller is there. */
static uint64_t next_look(const struct chalk_nvme *nvme)
{
    uint64_t after = atomic_load_explicit(&nvme->admin.look_after, memory_order_relaxed);
    uint64_t next = atomic_load_explicit(&nvme->next_look, memory_order_relaxed);

    return after > next ? after : next;
}

static bool is_time_to_look(const struct chalk_nvme *nvme, uint64_t now)
{
    return now >= next_look(nvme) || nvme_is_lost(nvme);
}

/* Ends the calls that were answered. False: there was an answer to a call that is not under way. */
static bool reap(struct chalk_nvme *nvme, uint16_t *stray)
{
    for (;;) {
        struct nvme_completion completion;
        struct nvme_admin_call *call;
        bool taken;

        lock(&nvme->admin);
        taken = take(nvme, &completion, &call);
        unlock(&nvme->admin);
        if (!taken)
            return true;
        if (call == NULL) {
            *stray = NVME_OUTCOME_CID(completion.outcome);
            return false;
        }
        finish(nvme, call);
    }
}

void chalk_nvme_admin_poll(struct chalk_nvme *nvme)
{
    uint32_t epoch = nvme_epoch(nvme);
    uint64_t now = chalk_ticks(); /* before looking: what has come by then is not late */
    unsigned timeout_ms;
    const char *what;
    uint16_t stray;
    uint32_t csts;

    if (NVME_STATE(epoch) != NVME_LIVE)
        return;
    if (!reap(nvme, &stray)) {
        if (chalk_nvme_fail(nvme, epoch, -EPROTO))
            say_stray(nvme, stray, "stopped");
        return;
    }
    what = late(&nvme->admin, now, &timeout_ms);
    if (what != NULL)
        owes(nvme, epoch, what, timeout_ms);
    else if (is_time_to_look(nvme, now))
        (void)chalk_nvme_look(nvme, epoch, "an admin command", &csts);
}

void chalk_nvme_admin_cancel(struct chalk_nvme *nvme, int error)
{
    struct nvme_admin_queue *admin = &nvme->admin;

    for (unsigned i = 0; i < NVME_ADMIN_CALLS; i++) {
        struct nvme_admin_call *call;

        lock(admin);
        call = admin->slots[i].call;
        admin->slots[i].call = NULL;
        unlock(admin);
        if (call == NULL)
            continue;
        call->error = chalk_expired(call->deadline) && error != -ENODEV ? -ETIMEDOUT : error;
        finish(nvme, call);
    }
}

/* ---- one command, to its end ----------------------------------------------------------------------- */

/* While the controller is being mended, by this core, a failure is said, and the caller's to handle. */
static void mending_poll(struct chalk_nvme *nvme, struct nvme_admin_call *call)
{
    bool expired = chalk_expired(call->deadline);
    uint64_t now = chalk_ticks();
    uint16_t stray;

    if (!reap(nvme, &stray)) {
        say_stray(nvme, stray, "so the reset has failed");
        chalk_nvme_admin_cancel(nvme, -EPROTO);
    } else if (expired && !atomic_load(&call->finished)) {
        say_silent(nvme, call->what, (unsigned)(call->timeout_ns / CHALK_MS),
                   chalk_mmio_read32(&nvme->registers, NVME_CSTS), "so the reset has failed");
        chalk_nvme_admin_cancel(nvme, -ETIMEDOUT);
    } else if (is_time_to_look(nvme, now)) {
        nvme_look_later(nvme);
        if (!chalk_nvme_is_gone(nvme))
            return;
        chalk_log(CHALK_ERROR, "NVMe %s: gone during %s", nvme->name, call->what);
        chalk_nvme_admin_cancel(nvme, -ENODEV);
    }
}

/* Waits for room for it. Errors: as chalk_nvme_admin_start(); -EAGAIN: there was none in time. */
static int start_in_time(struct chalk_nvme *nvme, struct nvme_admin_call *call,
                         const struct nvme_command *command)
{
    uint64_t deadline = CHALK_FOREVER;
    int error;

    while ((error = chalk_nvme_admin_start(nvme, call, command)) == -EAGAIN) {
        if (deadline == CHALK_FOREVER)
            deadline = call->deadline;
        else if (chalk_expired(deadline) && nvme_state(nvme) != NVME_MENDING) /* who mends it has deadlines */
            break;
        chalk_nvme_admin_poll(nvme);
        chalk_pause();
    }
    return error;
}

/* The program is to end, and a command has taken a while: nobody waits longer for it. It may still be under
 * way, with memory that is the caller's from now on, so the controller is reset. */
static void interrupt(struct chalk_nvme *nvme, uint32_t epoch, struct nvme_admin_call *call)
{
    chalk_log(CHALK_WARNING, "NVMe %s: interrupted during %s; resetting it, which may leave that half done",
              nvme->name, call->what != NULL ? call->what : "an admin command");
    (void)chalk_nvme_recover(nvme, epoch, -EIO);
    if (call->status == 0 && call->error == -EIO)
        call->error = -ECANCELED;
}

static uint64_t sooner(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

/* Sends a command once. Errors: as chalk_nvme_admin_start(); else its end is in the call. */
static int run_once(struct chalk_nvme *nvme, struct nvme_admin_call *call, const struct nvme_command *command)
{
    struct chalk_core_info core;
    bool asleep =
        nvme->interrupts && !call->awake && !call->mends && chalk_core_get_info(nvme->core, &core) == 0;
    int error = start_in_time(nvme, call, command);
    uint64_t look = chalk_deadline(NVME_LOOK_NS);

    if (error != 0)
        return error;
    for (;;) {
        uint32_t seen = asleep ? atomic_load(core.events) : 0, epoch = nvme_epoch(nvme);

        if (call->mends)
            mending_poll(nvme, call);
        else
            chalk_nvme_admin_poll(nvme);
        if (atomic_load_explicit(&call->finished, memory_order_acquire))
            return 0;
        if (chalk_expired(look)) {
            look = chalk_deadline(NVME_LOOK_NS);
            if (!call->mends && chalk_exit_requested())
                interrupt(nvme, epoch, call);
        } else if (asleep)
            chalk_core_wait(nvme->core, seen, sooner(sooner(call->deadline, look), next_look(nvme)));
        else
            chalk_pause();
    }
}

/* How long to wait before the next try: as long as the controller says [Base 3.3.3.2.1, "Command Retry
 * Delay"]; else longer each time. */
static uint64_t rest_ns(const struct chalk_nvme *nvme, uint16_t status, unsigned tries)
{
    unsigned which = NVME_STATUS_CRD(status);
    uint64_t delay_ns = which != 0 ? nvme->retry_delays[which - 1] * 100 * CHALK_MS : 0;

    return delay_ns != 0 ? delay_ns : (10 * CHALK_MS) << (tries < 6 ? tries : 6);
}

/* Media may not be ready for as long as the controller takes to become so [Base 3.5.3]. */
static uint64_t patience_ns(const struct chalk_nvme *nvme, const struct nvme_admin_call *call)
{
    return NVME_STATUS_CODE(call->status) == NVME_STATUS_MEDIA_NOT_READY && call->timeout_ns < nvme->ready_ns
               ? nvme->ready_ns
               : call->timeout_ns;
}

/* After a failure with a status that passes: waits, and makes the call one that was not sent. Returns false
 * if there is no time for that. */
static bool may_try_again(struct chalk_nvme *nvme, struct nvme_admin_call *call, uint64_t begin,
                          unsigned tries)
{
    uint64_t rest = rest_ns(nvme, call->status, tries), deadline;

    if (call->status == 0 || !chalk_nvme_status_passes(call->status) ||
        chalk_ticks_to_ns(chalk_ticks() - begin) + rest > patience_ns(nvme, call))
        return false;
    if (tries == 0)
        chalk_log(CHALK_WARNING, "NVMe %s: %s failed: %s (status 0x%03x); trying again", nvme->name,
                  call->what != NULL ? call->what : "an admin command", chalk_nvme_status_name(call->status),
                  NVME_STATUS_CODE(call->status));
    for (deadline = chalk_deadline(rest); !chalk_expired(deadline); chalk_pause())
        if (nvme_is_time_to_look(nvme, chalk_ticks())) {
            nvme_look_later(nvme);
            if (chalk_nvme_is_gone(nvme))
                return false;
        }
    call->error = 0;
    call->status = 0;
    call->result = call->more = 0;
    atomic_store_explicit(&call->finished, false, memory_order_relaxed);
    return true;
}

int chalk_nvme_admin_run(struct chalk_nvme *nvme, struct nvme_admin_call *call,
                         const struct nvme_command *command)
{
    bool again = call->again || call->mends || !nvme->open;
    uint64_t begin = chalk_ticks();
    unsigned tries = 0;
    int error;

    do
        error = run_once(nvme, call, command);
    while (error == 0 && again && may_try_again(nvme, call, begin, tries++));
    if (error != 0)
        return error;
    if (call->status != 0 && call->error != 0 && call->what != NULL)
        chalk_log(CHALK_ERROR, "NVMe %s: %s was refused: %s (status 0x%03x)", nvme->name, call->what,
                  chalk_nvme_status_name(call->status), NVME_STATUS_CODE(call->status));
    return call->error;
}

int chalk_nvme_admin(struct chalk_nvme *nvme, const struct nvme_command *command, const char *what,
                     uint32_t *result)
{
    struct nvme_admin_call call = {.what = what};
    int error = chalk_nvme_admin_run(nvme, &call, command);

    if (error == 0 && result != NULL)
        *result = call.result;
    return error;
}
