/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Asynchronous events [Base 5.2].
 *
 * A request waits at the controller until there is something to tell. Then the log page that goes with it is
 * read: until that is done the controller keeps back all others of its type. Meanwhile the request is on its
 * way again. All of it is done by chalk_nvme_next_event(), a step a call, so that it never waits; whoever
 * finds an answer, on any core, marks the call as finished and no more.
 *
 * A reset ends what is under way, as it ends any admin command. The next step sends the requests anew;
 * which events are wanted is part of the settings that a reset makes again. Namespaces may have changed
 * meanwhile, and some controllers tell of none again before that was read: so it is asked for.
 *
 * Queues end when their namespace gets another shape (shape.c), and have to hear of that. While no program
 * watches, the controller is asked for changes of namespaces alone, and the sweeps of queues take those
 * steps.
 */
#include "nvme.h"
#include "structures.h"

/* ---- requests -------------------------------------------------------------------------------------- */

/* On whichever core has found the answer. */
static void answered(struct nvme_admin_call *call)
{
    struct nvme_event_request *request = (struct nvme_event_request *)call;

    request->turn = atomic_fetch_add_explicit(&request->events->answered, 1, memory_order_relaxed);
    if (call->error == 0 && NVME_EVENT_TYPE(call->result) == CHALK_NVME_EVENT_NOTICE &&
        NVME_EVENT_LOG(call->result) == CHALK_NVME_LOG_CHANGED)
        atomic_fetch_add_explicit(&request->events->changes, 1, memory_order_release);
    atomic_store_explicit(&call->finished, true, memory_order_release);
}

/* Sends those that the controller does not have. Errors: it has failed, or takes none. */
static int send_requests(struct chalk_nvme *nvme)
{
    const struct nvme_command command = {.cdw0 = NVME_EVENT_REQUEST};
    struct nvme_events *events = &nvme->events;
    uint32_t missing;

    while ((missing = events->usable & ~events->sent) != 0) {
        struct nvme_event_request *request = &events->requests[__builtin_ctz(missing)];
        int error;

        *request = (struct nvme_event_request){
            .call = {.timeout_ns = UINT64_MAX, .both = true, .done = answered},
            .events = events,
        };
        error = chalk_nvme_admin_start(nvme, &request->call, &command);
        if (error != 0)
            return error != -EAGAIN ? error : 0; /* later */
        events->sent |= missing & -missing;
        events->asks = true;
    }
    return events->usable != 0 ? 0 : -ENOTSUP;
}

/* The request that was answered first; NULL: none was. */
static struct nvme_event_request *first_answered(struct nvme_events *events)
{
    struct nvme_event_request *first = NULL;

    for (uint32_t left = events->sent; left != 0; left &= left - 1) {
        struct nvme_event_request *request = &events->requests[__builtin_ctz(left)];

        if (atomic_load_explicit(&request->call.finished, memory_order_acquire) &&
            (first == NULL || (int32_t)(request->turn - first->turn) < 0))
            first = request;
    }
    return first;
}

/* Whether there is an answer that tells something. */
static bool take_answer(struct chalk_nvme *nvme)
{
    struct nvme_events *events = &nvme->events;
    struct nvme_event_request *request;

    while ((request = first_answered(events)) != NULL) {
        const struct nvme_admin_call *call = &request->call;
        uint32_t which = 1u << (request - events->requests);

        events->sent &= ~which;
        if (call->error == 0) {
            events->told = call->result;
            events->about = call->more;
            events->untold = false;
            return true;
        }
        if (call->status == 0)
            continue;             /* a reset has ended it */
        events->usable &= ~which; /* of several that a controller says it takes, it may take fewer */
        chalk_log(CHALK_WARNING,
                  "NVMe %s: accepts %u of its requests for events, and no more: %s (status 0x%03x)",
                  nvme->name, (unsigned)__builtin_popcount(events->usable),
                  chalk_nvme_status_name(call->status), NVME_STATUS_CODE(call->status));
    }
    return false;
}

/* Whether to ask for namespaces that changed before the controller was told to tell. */
static bool has_missed(struct chalk_nvme *nvme)
{
    struct nvme_events *events = &nvme->events;
    uint32_t epoch = nvme_epoch(nvme);

    if (epoch == events->epoch || NVME_STATE(epoch) != NVME_LIVE)
        return false;
    events->epoch = epoch;
    events->told = NVME_EVENT(CHALK_NVME_EVENT_NOTICE, 0, CHALK_NVME_LOG_CHANGED);
    events->about = 0;
    events->untold = true;
    return (atomic_load_explicit(&events->wanted, memory_order_relaxed) & CHALK_NVME_WATCH_NAMESPACES) != 0;
}

/* ---- log pages ------------------------------------------------------------------------------------- */

static unsigned errors_read(const struct chalk_nvme *nvme)
{
    const unsigned room = sizeof((struct chalk_nvme_event){0}.errors) / sizeof(struct chalk_nvme_error);

    return nvme->error_entries < room ? nvme->error_entries : room;
}

static uint32_t size_of(const struct chalk_nvme *nvme, uint8_t log)
{
    switch (log) {
    case CHALK_NVME_LOG_ERRORS:
        return errors_read(nvme) * (uint32_t)sizeof(struct nvme_error_entry);
    case CHALK_NVME_LOG_CHANGED:
    case CHALK_NVME_LOG_CHANGED_ZONES: /* all of it, or else the event stays [ZNS 5.2] */
        return 4096;
    default:
        return 512;
    }
}

/* Errors: as chalk_nvme_admin_start(). */
static int start_reading(struct chalk_nvme *nvme)
{
    struct nvme_events *events = &nvme->events;
    uint8_t log = NVME_EVENT_LOG(events->told);
    bool zones = log == CHALK_NVME_LOG_CHANGED_ZONES;
    const struct chalk_nvme_log_page page = {
        .log = log,
        .nsid = zones ? events->about : CHALK_NVME_ALL,
        .size = size_of(nvme, log),
        .csi = zones ? CHALK_NVME_CSI_ZONED : CHALK_NVME_CSI_NVM,
    };
    const struct chalk_nvme_command get = chalk_nvme_encode_get_log(&page);
    struct nvme_command command = chalk_nvme_assemble(&get);

    command.prp1 = events->log.iova;
    memset(events->log.va, 0, page.size); /* an answer that never arrives is not an older one's */
    events->reading = (struct nvme_admin_call){.what = "Get Log Page (of an event)"};
    return chalk_nvme_admin_start(nvme, &events->reading, &command);
}

/* Whether what goes with the event is here; if not, gets on with it. */
static bool log_is_read(struct chalk_nvme *nvme, int *error)
{
    struct nvme_events *events = &nvme->events;

    *error = 0;
    if (NVME_EVENT_LOG(events->told) == 0)
        return true;
    if (events->state == NVME_EVENT_TOLD) {
        *error = start_reading(nvme);
        if (*error != 0)
            return *error != -EAGAIN;
        events->state = NVME_EVENT_READ;
    }
    if (!atomic_load_explicit(&events->reading.finished, memory_order_acquire))
        return false;
    *error = events->reading.error;
    if (*error == 0 && NVME_EVENT_LOG(events->told) == CHALK_NVME_LOG_CHANGED &&
        chalk_dma_load32(events->log.va) != 0)
        atomic_fetch_add_explicit(&events->changes, 1, memory_order_release);
    return true;
}

/* Does what can be done now. Returns whether there is an event, in told and about; *error says why its log
 * page could not be read, or why there is none: -EAGAIN, or as chalk_nvme_next_event(). */
static bool step(struct chalk_nvme *nvme, int *error)
{
    struct nvme_events *events = &nvme->events;

    if (events->state == NVME_EVENT_NONE && (has_missed(nvme) || take_answer(nvme)))
        events->state = NVME_EVENT_TOLD;
    *error = send_requests(nvme);
    if (events->state == NVME_EVENT_NONE) {
        if (*error == 0)
            *error = -EAGAIN;
        return false;
    }
    if (!log_is_read(nvme, error)) {
        *error = -EAGAIN;
        return false;
    }
    events->state = NVME_EVENT_NONE;
    return true;
}

static void parse(const struct chalk_nvme *nvme, struct chalk_nvme_event *event)
{
    const void *log = nvme->identity;

    switch (event->log) {
    case CHALK_NVME_LOG_ERRORS:
        event->count = chalk_nvme_parse_errors(log, event->errors, errors_read(nvme));
        break;
    case CHALK_NVME_LOG_HEALTH:
        chalk_nvme_parse_health(log, &event->health);
        break;
    case CHALK_NVME_LOG_FIRMWARE:
        chalk_nvme_parse_firmware(log, &event->firmware);
        break;
    case CHALK_NVME_LOG_CHANGED:
        event->count = chalk_nvme_parse_changed(log, event->changed);
        break;
    case CHALK_NVME_LOG_SANITIZE:
        chalk_nvme_parse_sanitize(log, &event->sanitize);
        break;
    default:
        memcpy(event->bytes, log, sizeof event->bytes);
    }
}

/* ---- for programs ---------------------------------------------------------------------------------- */

int chalk_nvme_events_configure(struct chalk_nvme *nvme)
{
    uint32_t wanted = atomic_load_explicit(&nvme->events.wanted, memory_order_relaxed);
    const struct nvme_command command = {
        .cdw0 = NVME_SET_FEATURES, .cdw10 = NVME_FEATURE_EVENTS, .cdw11 = wanted};
    struct nvme_admin_call call = {.what = "Set Features (events)", .mends = true};
    int error = wanted != 0 ? chalk_nvme_admin_run(nvme, &call, &command) : 0;

    return call.status != 0 ? 0 : error;
}

/* The page for log pages, and how many requests there may be. Errors: -ENOMEM. */
static int prepare(struct chalk_nvme *nvme)
{
    struct nvme_events *events = &nvme->events;
    unsigned requests = nvme->info.event_requests;
    int error;

    if (events->log.va != NULL)
        return 0;
    error = chalk_dma_get(nvme->memory, nvme->info.page_size, nvme->info.page_size, &events->log);
    if (error != 0)
        return error;
    chalk_grant_check(nvme->domain, events->log.iova, events->log.size);
    events->usable = (1u << (requests < NVME_EVENT_REQUESTS ? requests : NVME_EVENT_REQUESTS)) - 1;
    return 0;
}

/* Has the controller report these, and what changed before that. */
static int want(struct chalk_nvme *nvme, uint32_t wanted)
{
    struct nvme_events *events = &nvme->events;
    int error;

    events->epoch = 0;
    /* First, for one who resets the controller meanwhile. */
    atomic_store_explicit(&events->wanted, wanted, memory_order_relaxed);
    error = chalk_nvme_set_feature(nvme, CHALK_NVME_FEATURE_EVENTS, false, 0, wanted);
    return error == 0 ? send_requests(nvme) : error;
}

int chalk_nvme_watch(struct chalk_nvme *nvme, uint32_t wanted)
{
    struct nvme_events *events = &nvme->events;
    int error = prepare(nvme);

    if (error != 0)
        return error;
    wanted &= NVME_EVENTS_WARNINGS | (nvme->info.version >= 0x010400 ? NVME_EVENTS_WARNING_PMR : 0) |
              (nvme->info.notices & ~0xffu);
    chalk_lock_take(&events->tending); /* a queue may be at it; from now on none is */
    atomic_store_explicit(&events->watched, true, memory_order_relaxed);
    chalk_lock_release(&events->tending);
    events->asked = wanted;
    return want(nvme, wanted | (events->of_queues ? CHALK_NVME_WATCH_NAMESPACES : 0));
}

/* Waits until the list of namespaces that have changed before is read. Each command has a deadline. */
static void read_what_is_missed(struct chalk_nvme *nvme)
{
    struct nvme_events *events = &nvme->events;
    uint64_t deadline = chalk_deadline(nvme->timeout_ns);
    int error;

    do {
        chalk_nvme_admin_poll(nvme);
        (void)step(nvme, &error);
    } while (events->state != NVME_EVENT_NONE && nvme_state(nvme) != NVME_STOPPED &&
             !chalk_expired(deadline));
}

void chalk_nvme_events_begin(struct chalk_nvme *nvme)
{
    struct nvme_events *events = &nvme->events;
    uint32_t before = atomic_load_explicit(&events->wanted, memory_order_relaxed);

    if ((nvme->info.notices & CHALK_NVME_WATCH_NAMESPACES) == 0 || prepare(nvme) != 0)
        return;
    events->of_queues = true;
    if ((before & CHALK_NVME_WATCH_NAMESPACES) != 0)
        return;
    chalk_lock_take(&events->tending);
    if (want(nvme, before | CHALK_NVME_WATCH_NAMESPACES) == 0 &&
        !atomic_load_explicit(&events->watched, memory_order_relaxed))
        read_what_is_missed(nvme);
    chalk_lock_release(&events->tending);
}

bool chalk_nvme_events_tend(struct chalk_nvme *nvme)
{
    struct nvme_events *events = &nvme->events;
    bool more = false;
    int error;

    if (atomic_load_explicit(&events->watched, memory_order_relaxed) ||
        (atomic_load_explicit(&events->wanted, memory_order_relaxed) & CHALK_NVME_WATCH_NAMESPACES) == 0 ||
        !chalk_lock_try(&events->tending))
        return false;
    if (!atomic_load_explicit(&events->watched, memory_order_relaxed)) {
        events->asks = false;
        more = step(nvme, &error) || events->state != NVME_EVENT_NONE || events->asks;
    }
    chalk_lock_release(&events->tending);
    return more;
}

/* Fills in what was told. Whether it is an event. */
static bool tell(struct chalk_nvme *nvme, int error, struct chalk_nvme_event *event)
{
    struct nvme_events *events = &nvme->events;

    event->type = NVME_EVENT_TYPE(events->told);
    event->what = NVME_EVENT_WHAT(events->told);
    event->log = NVME_EVENT_LOG(events->told);
    event->about = events->about;
    event->error = error;
    event->count = 0;
    if (error == 0 && event->log != 0) {
        chalk_dma_observe(nvme->identity, events->log.va, size_of(nvme, event->log));
        parse(nvme, event);
    }
    if (event->type == CHALK_NVME_EVENT_NOTICE && event->log == CHALK_NVME_LOG_CHANGED &&
        (events->asked & CHALK_NVME_WATCH_NAMESPACES) == 0)
        return false; /* the queues', and not the program's */
    return !events->untold || event->count != 0;
}

int chalk_nvme_next_event(struct chalk_nvme *nvme, struct chalk_nvme_event *event)
{
    struct nvme_events *events = &nvme->events;
    int error;

    chalk_assert(atomic_load(&events->watched)); /* chalk_nvme_watch() comes first */
    chalk_nvme_admin_poll(nvme);
    if (!step(nvme, &error))
        return error;
    return tell(nvme, error, event) ? 0 : -EAGAIN;
}

/* [Base 5.2.1], [NVM 5.8], [ZNS 3.3] */
const char *chalk_nvme_event_name(const struct chalk_nvme_event *event)
{
    static const struct {
        uint8_t type, what;
        const char *name;
    } names[] = {
        {CHALK_NVME_EVENT_ERROR, 0x00, "a doorbell of no queue was written"},
        {CHALK_NVME_EVENT_ERROR, 0x01, "a doorbell was written with no possible value"},
        {CHALK_NVME_EVENT_ERROR, 0x02, "diagnostic failure"},
        {CHALK_NVME_EVENT_ERROR, 0x03, "persistent internal error"},
        {CHALK_NVME_EVENT_ERROR, 0x04, "transient internal error"},
        {CHALK_NVME_EVENT_ERROR, 0x05, "firmware image load error"},
        {CHALK_NVME_EVENT_HEALTH, 0x00, "reliability is degraded"},
        {CHALK_NVME_EVENT_HEALTH, 0x01, "temperature is out of bounds"},
        {CHALK_NVME_EVENT_HEALTH, 0x02, "spare capacity is low"},
        {CHALK_NVME_EVENT_NOTICE, 0x00, "namespaces have changed"},
        {CHALK_NVME_EVENT_NOTICE, 0x01, "new firmware is being started"},
        {CHALK_NVME_EVENT_NOTICE, 0x02, "telemetry has changed"},
        {CHALK_NVME_EVENT_NOTICE, 0x03, "asymmetric namespace access has changed"},
        {CHALK_NVME_EVENT_NOTICE, 0x04, "predictable latency has changed"},
        {CHALK_NVME_EVENT_NOTICE, 0x05, "the status of blocks has changed"},
        {CHALK_NVME_EVENT_NOTICE, 0x06, "an endurance group has changed"},
        {CHALK_NVME_EVENT_NOTICE, 0xef, "a zone has changed"},
        {CHALK_NVME_EVENT_IMMEDIATE, 0x00, "the subsystem was shut down"},
        {CHALK_NVME_EVENT_COMMAND_SET, 0x00, "a reservation has changed"},
        {CHALK_NVME_EVENT_COMMAND_SET, 0x01, "sanitize has ended"},
        {CHALK_NVME_EVENT_COMMAND_SET, 0x02, "sanitize has ended, and deallocated what it was not to"},
    };
    static const char *const types[8] = {
        "an error",
        "a change of its health",
        "a notice",
        "an event without a log",
        "an event of a reserved type",
        "an event of a reserved type",
        "an event of a command set",
        "an event of the vendor's",
    };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].type == event->type && names[i].what == event->what)
            return names[i].name;
    return types[event->type & 7];
}
