/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nvme-verify: whether a namespace gives back what was written to it.
 *
 * A pass goes through a range of blocks in order, in requests of mixed sizes over scattered buffers, with a
 * number in flight that wanders. One pass writes the pattern, a flush follows, and another pass, cut
 * differently, reads and compares. Requests finish in any order and are looked at in the range's, so that one
 * CRC-32C covers all of it and can be compared with what any other program computes over the same blocks.
 */
#include <chalk/clock.h>
#include <chalk/crc32c.h>
#include <chalk/error.h>
#include <chalk/main.h>
#include <chalk/random.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "options.h"
#include "pattern.h"
#include "scatter.h"
#include "session.h"

#define SIZES_MAX     16
#define REPORTS_MAX   8 /* differences told in full */
#define DEFAULT_DEPTH 255
#define ODD_MAX       (128u << 10) /* bytes: the largest request of an odd number of blocks */

/* The entries of --sizes that are words. */
#define SIZE_ODD   UINT64_MAX       /* an odd number of blocks, drawn each time */
#define SIZE_BLOCK (UINT64_MAX - 1) /* one block */

struct sizes {
    uint64_t of[SIZES_MAX]; /* bytes, or one of the words */
    unsigned count;
    uint64_t largest; /* bytes */
};

struct slot {
    struct chalk_block_request request;
    struct scatter data;
    bool finished;
    int status;
};

/* What a pass over the range came to. */
struct pass {
    bool finished;
    uint64_t requests;
    uint32_t crc;
};

struct difference {
    uint64_t lba;
    unsigned byte; /* in the block: where the first 8 bytes that differ start */
    uint64_t expected, found;
};

struct verify {
    struct session session;
    const struct chalk_block_info *info;
    uint64_t start, blocks, seed;
    struct sizes sizes;
    bool interrupts, controller_memory, shadow_doorbells, steady_depth, verbose, json;
    bool compare; /* what is read is the pattern */

    struct slot *slots; /* info->depth of them: a ring in LBA order, from head to tail */
    struct chalk_block_request **batch;
    struct chalk_block_request flush; /* if it is late it is under way until the queue is closed */
    uint16_t *orders;                 /* of the slots' buffers, side by side */
    struct chalk_dma *segments;
    struct chalk_dma memory;
    uint64_t *expected, *found; /* a block each */
    unsigned words;             /* 8-byte words a block */

    /* of the pass under way */
    enum chalk_block_op op;
    uint64_t random;           /* state of its stream */
    uint64_t next;             /* the first block not asked for yet */
    uint64_t head, sent, tail; /* under way are those before `sent`, prepared the others */
    unsigned limit;            /* in flight at once, just now */
    unsigned steady;           /* requests until the limit changes */
    uint64_t look_at;          /* ticks: when to look at the world outside again */
    uint64_t tell_at;
    uint32_t crc;
    bool failed, interrupted;

    struct pass written, read;
    bool flushed;
    struct difference differences[REPORTS_MAX]; /* the first of them */
    uint64_t differing;                         /* blocks, in all */
};

static bool parse_sizes(const char *text, struct sizes *sizes)
{
    const char *end;

    *sizes = (struct sizes){.largest = ODD_MAX};
    for (;; text = end + 1) {
        end = text + strcspn(text, ",");
        size_t length = (size_t)(end - text);
        uint64_t *size = &sizes->of[sizes->count];

        if (sizes->count == SIZES_MAX) {
            complain("--sizes: at most %d sizes", SIZES_MAX);
            return false;
        }
        sizes->count++;
        if (length == 3 && memcmp(text, "odd", 3) == 0) {
            *size = SIZE_ODD;
        } else if (length == 5 && memcmp(text, "block", 5) == 0) {
            *size = SIZE_BLOCK;
        } else if (options_number(text, end, size) && *size > 0 && *size <= 64u << 20) {
            if (*size > sizes->largest)
                sizes->largest = *size;
        } else {
            complain("--sizes '%.*s': must be bytes from 1 to 64M, odd or block; commas separate several",
                     (int)length, text);
            return false;
        }
        if (*end == '\0')
            return true;
    }
}

/* Holds the sizes against the device. The defaults are made to fit; what the user asked for is not. */
static bool fit_sizes(struct sizes *sizes, const struct chalk_block_info *info, bool defaults)
{
    uint64_t block = info->block_size;
    uint64_t largest = info->max_blocks * block;

    for (unsigned i = 0; i < sizes->count; i++) {
        uint64_t *size = &sizes->of[i];

        if (*size == SIZE_ODD || *size == SIZE_BLOCK)
            continue;
        if (defaults) {
            *size = *size > largest ? largest : (*size + block - 1) / block * block;
        } else if (*size % block != 0) {
            complain("--sizes %" PRIu64 ": not a multiple of the namespace's block size, %" PRIu64, *size,
                     block);
            return false;
        } else if (*size > largest) {
            complain("--sizes %" PRIu64 ": the controller takes at most %" PRIu64 " bytes a request", *size,
                     largest);
            return false;
        }
    }
    if (sizes->largest > largest)
        sizes->largest = largest;
    if (sizes->largest < block)
        sizes->largest = block;
    return true;
}

static bool fit_range(struct verify *v)
{
    uint64_t end = v->info->block_count;
    uint32_t nsid = v->session.ns.nsid;

    if (v->start >= end) {
        complain("--start %" PRIu64 ": the last block of namespace %" PRIu32 " is %" PRIu64, v->start, nsid,
                 end - 1);
        return false;
    }
    if (v->blocks == 0)
        v->blocks = end - v->start;
    if (v->blocks > end - v->start) {
        complain("--blocks %" PRIu64 ": only %" PRIu64 " from block %" PRIu64
                 " to the end of namespace %" PRIu32,
                 v->blocks, end - v->start, v->start, nsid);
        return false;
    }
    return true;
}

/* Memory for every slot, as large as the largest request needs at the most awkward offset. */
static bool make_slots(struct verify *v)
{
    size_t page = scatter_page(v->info);
    unsigned pages = scatter_pages(page, v->sizes.largest);
    unsigned depth = v->info->depth;

    v->orders = session_get_memory(&v->session, (size_t)depth * pages, sizeof(*v->orders));
    v->segments = session_get_memory(&v->session, (size_t)depth * pages, sizeof(*v->segments));
    v->slots = session_get_memory(&v->session, depth, sizeof(*v->slots));
    v->batch = session_get_memory(&v->session, depth, sizeof(*v->batch));
    v->expected = calloc(1, v->info->block_size);
    v->found = calloc(1, v->info->block_size);
    v->words = v->info->block_size / 8;
    if (!v->orders || !v->segments || !v->slots || !v->batch || !v->expected || !v->found ||
        session_get_buffers(&v->session, (size_t)depth * pages * page, page, &v->memory) != 0) {
        complain("no memory for %u request%s of %" PRIu64 " bytes; give a smaller --depth or --sizes", depth,
                 PLURAL(depth), v->sizes.largest);
        return false;
    }
    for (unsigned i = 0; i < depth; i++)
        v->slots[i].data = (struct scatter){
            .memory = {(char *)v->memory.va + i * pages * page, v->memory.iova + i * pages * page,
                       pages * page},
            .page = page,
            .page_count = pages,
            .order = v->orders + i * pages,
            .segments = v->segments + i * pages,
        };
    return true;
}

static void drop_slots(struct verify *v)
{
    free(v->found);
    free(v->expected);
}

static void report_difference(struct verify *v, uint64_t lba)
{
    unsigned i = 0;
    char hint[80] = "";

    if (v->differing++ >= REPORTS_MAX)
        return;
    while (v->expected[i] == v->found[i])
        i++;
    v->differences[v->differing - 1] = (struct difference){lba, i * 8, v->expected[i], v->found[i]};
    if (v->found[0] != lba && v->found[1] == v->seed)
        snprintf(hint, sizeof(hint), "; it holds the data of block %" PRIu64, v->found[0]);
    else if (v->found[0] == lba && i == 1)
        snprintf(hint, sizeof(hint), "; it was written with --seed %" PRIu64, v->found[1]);
    complain("block %" PRIu64 ", byte %u: expected %016" PRIx64 ", found %016" PRIx64 "%s", lba, i * 8,
             v->expected[i], v->found[i], hint);
}

static void fill(struct verify *v, struct slot *slot)
{
    size_t block = v->info->block_size;

    for (uint32_t i = 0; i < slot->request.count; i++) {
        pattern_fill(v->expected, v->words, slot->request.lba + i, v->seed);
        scatter_put(&slot->data, i * block, v->expected, block);
        v->crc = chalk_crc32c(v->crc, v->expected, block);
    }
}

static void check(struct verify *v, const struct slot *slot)
{
    size_t block = v->info->block_size;

    for (uint32_t i = 0; i < slot->request.count; i++) {
        scatter_get(&slot->data, i * block, v->found, block);
        v->crc = chalk_crc32c(v->crc, v->found, block);
        if (!v->compare)
            continue;
        pattern_fill(v->expected, v->words, slot->request.lba + i, v->seed);
        if (memcmp(v->expected, v->found, block) != 0)
            report_difference(v, slot->request.lba + i);
    }
    if (!scatter_intact(&slot->data)) {
        complain("block %" PRIu64 ": the device wrote outside of the %zu bytes of its buffer",
                 slot->request.lba, slot->data.size);
        v->failed = true;
    }
}

static void finished(struct chalk_block_request *request, int status)
{
    struct slot *slot = request->context;

    slot->status = status;
    slot->finished = true;
}

static uint32_t choose_count(struct verify *v)
{
    uint64_t size = v->sizes.of[chalk_random_below(&v->random, v->sizes.count)];
    uint64_t left = v->start + v->blocks - v->next;
    uint64_t count;

    if (size == SIZE_BLOCK) {
        count = 1;
    } else if (size == SIZE_ODD) {
        uint64_t most = (v->sizes.largest < ODD_MAX ? v->sizes.largest : ODD_MAX) / v->info->block_size;

        count = chalk_random_below(&v->random, (most + 1) / 2) * 2 + 1;
    } else {
        count = size / v->info->block_size;
    }
    return (uint32_t)(count < left ? count : left);
}

static void prepare(struct verify *v, struct slot *slot)
{
    uint32_t count = choose_count(v);

    scatter_lay(&slot->data, v->info, (size_t)count * v->info->block_size, &v->random);
    slot->finished = false;
    slot->request = (struct chalk_block_request){
        .op = v->op,
        .flags = CHALK_BLOCK_REPEATABLE, /* no two requests of a pass overlap */
        .lba = v->next,
        .count = count,
        .segments = slot->data.segments,
        .segment_count = slot->data.segment_count,
        .done = finished,
        .context = slot,
    };
    if (v->op == CHALK_BLOCK_WRITE)
        fill(v, slot);
    v->next += count;
}

/* Moves the number in flight to anywhere from 1 to the queue's depth, for as many requests as would fill it
 * twice. */
static void wander(struct verify *v)
{
    if (v->steady_depth || v->steady-- != 0)
        return;
    v->limit = 1 + (unsigned)chalk_random_below(&v->random, v->info->depth);
    v->steady = 2 * v->limit;
}

/* The queue can be full before the limit is reached: a large request takes a place in it for each of its
 * commands. Those that it has no room for come first the next time. */
static void submit_some(struct verify *v)
{
    struct chalk_block_queue *queue = v->session.queue;
    struct chalk_block_request **batch = v->batch;
    unsigned depth = v->info->depth, count = 0;
    int taken = 0;

    for (; v->next < v->start + v->blocks && v->tail - v->head < v->limit; v->tail++) {
        wander(v);
        prepare(v, &v->slots[v->tail % depth]);
    }
    for (uint64_t i = v->sent; i != v->tail; i++)
        batch[count++] = &v->slots[i % depth].request;
    while (count > 0 && (taken = chalk_block_submit(queue, batch, count)) > 0) {
        v->sent += (unsigned)taken;
        batch += taken;
        count -= (unsigned)taken;
    }
    if (taken < 0 && taken != -EAGAIN) /* no callback will come */
        for (; v->sent != v->tail; v->sent++)
            finished(&v->slots[v->sent % depth].request, taken);
    chalk_block_kick(queue);
}

static void retire(struct verify *v)
{
    for (; v->head != v->sent; v->head++) {
        const struct slot *slot = &v->slots[v->head % v->info->depth];

        if (!slot->finished)
            return;
        if (slot->status != 0) {
            if (!v->failed)
                complain("%s of %" PRIu32 " blocks from block %" PRIu64 " failed: %s",
                         v->op == CHALK_BLOCK_WRITE ? "write" : "read", slot->request.count,
                         slot->request.lba, chalk_error_name(slot->status));
            v->failed = true;
        } else if (v->op == CHALK_BLOCK_READ) {
            check(v, slot);
        }
    }
}

/* Looks at the world outside: at most every 10 ms, since that may cost a system call or a port read. */
static void look_around(struct verify *v)
{
    uint64_t now = chalk_ticks();

    if (now < v->look_at)
        return;
    v->look_at = chalk_deadline(10 * CHALK_MS);
    if (chalk_exit_requested())
        v->interrupted = true;
    if (v->verbose && now >= v->tell_at) {
        v->tell_at = chalk_deadline(CHALK_S);
        complain("%s, %" PRIu64 " of %" PRIu64 " blocks", v->op == CHALK_BLOCK_WRITE ? "writing" : "reading",
                 v->next - v->start, v->blocks);
    }
}

/* After a failure only what is under way is waited for. */
static bool goes_on(const struct verify *v)
{
    if (v->failed || v->interrupted)
        return v->head != v->sent;
    return v->head != v->tail || v->next < v->start + v->blocks;
}

/* One pass over the range. Returns whether it came to its end without a failure. */
static bool run_pass(struct verify *v, enum chalk_block_op op)
{
    struct chalk_block_queue *queue = v->session.queue;
    uint64_t submitted = queue->counters.submitted;

    v->op = op;
    v->next = v->start;
    v->head = v->sent = v->tail = 0;
    v->limit = v->info->depth;
    v->steady = 0;
    v->crc = 0;
    v->tell_at = chalk_deadline(CHALK_S);
    v->random = v->seed * 2 + (op == CHALK_BLOCK_READ);
    while (goes_on(v)) {
        uint32_t seen = *v->session.events;

        if (!v->failed && !v->interrupted)
            submit_some(v);
        int count = chalk_block_poll(queue, 0);

        if (count < 0) {
            complain("the controller has failed: %s", chalk_error_name(count));
            v->failed = true;
        }
        retire(v);
        if (count == 0)
            session_rest(&v->session, seen);
        look_around(v);
    }
    if (v->failed || v->interrupted)
        return false;
    *(op == CHALK_BLOCK_WRITE ? &v->written : &v->read) =
        (struct pass){.finished = true, .requests = queue->counters.submitted - submitted, .crc = v->crc};
    return true;
}

static void print_pass(const struct verify *v, const char *did, const struct pass *pass)
{
    if (pass->finished && !v->json)
        printf("%-8s %" PRIu64 " block%s in %" PRIu64 " request%s, CRC-32C %08" PRIx32 "\n", did, v->blocks,
               PLURAL(v->blocks), pass->requests, PLURAL(pass->requests), pass->crc);
}

static bool flush(struct verify *v)
{
    int error;

    v->flush = (struct chalk_block_request){.op = CHALK_BLOCK_FLUSH};
    error = chalk_block_do(v->session.queue, &v->flush, chalk_deadline(30 * CHALK_S));
    v->flushed = error == 0;
    if (error != 0)
        complain("flush failed: %s", chalk_error_name(error));
    else if (!v->json)
        printf("flushed\n");
    return error == 0;
}

static void print_range(const struct verify *v)
{
    printf("namespace %" PRIu32 ", blocks %" PRIu64 " to %" PRIu64 " of %" PRIu32 " bytes",
           v->session.ns.nsid, v->start, v->start + v->blocks - 1, v->info->block_size);
    if (v->compare)
        printf(", seed %" PRIu64, v->seed);
    if (chalk_nvme_get_info(v->session.nvme)->controller_memory.used != 0)
        printf(", commands in the controller's memory");
    if (chalk_nvme_get_info(v->session.nvme)->shadow_doorbells)
        printf(", doorbells in memory");
    printf("\n");
}

static void print_json_pass(const char *name, const struct pass *pass)
{
    char crc[9];

    if (!pass->finished) {
        json_put_null(name);
        return;
    }
    snprintf(crc, sizeof(crc), "%08" PRIx32, pass->crc);
    json_open_object(name);
    json_put_number("requests", pass->requests);
    json_put_text("crc32c", crc);
    json_close();
}

static void print_json_differences(const struct verify *v)
{
    char text[17];

    json_open_list("differences");
    for (unsigned i = 0; i < v->differing && i < REPORTS_MAX; i++) {
        const struct difference *difference = &v->differences[i];

        json_open_object(NULL);
        json_put_number("lba", difference->lba);
        json_put_number("byte", difference->byte);
        snprintf(text, sizeof(text), "%016" PRIx64, difference->expected);
        json_put_text("expected", text);
        snprintf(text, sizeof(text), "%016" PRIx64, difference->found);
        json_put_text("found", text);
        json_close();
    }
    json_close();
}

static void print_json(const struct verify *v, int status)
{
    json_open_object(NULL);
    json_put_number("namespace", v->session.ns.nsid);
    json_put_number("start", v->start);
    json_put_number("blocks", v->blocks);
    json_put_number("block_size", v->info->block_size);
    json_put_number("seed", v->seed);
    print_json_pass("written", &v->written);
    json_put_boolean("flushed", v->flushed);
    print_json_pass("read", &v->read);
    json_put_boolean("compared", v->compare && v->read.finished);
    json_put_number("differing", v->differing);
    print_json_differences(v);
    json_put_text("result", status == EXIT_GOOD          ? "good"
                            : status == EXIT_INTERRUPTED ? "interrupted"
                            : v->differing > 0           ? "different"
                                                         : "failed");
    json_close();
}

static int verify(struct verify *v, bool write, bool read)
{
    bool good = true;
    int status;

    if (!v->json)
        print_range(v);
    if (write) {
        good = run_pass(v, CHALK_BLOCK_WRITE);
        print_pass(v, "wrote", &v->written);
        good = good && flush(v);
    }
    if (good && read) {
        good = run_pass(v, CHALK_BLOCK_READ);
        print_pass(v, v->compare ? "checked" : "read", &v->read);
    }
    if (v->interrupted)
        complain("interrupted");
    else if (v->differing > 0)
        complain("%" PRIu64 " of %" PRIu64 " blocks differ", v->differing, v->blocks);
    status = v->interrupted                            ? EXIT_INTERRUPTED
             : good && !v->failed && v->differing == 0 ? EXIT_GOOD
                                                       : EXIT_BAD;
    if (v->json)
        print_json(v, status);
    return status;
}

int chalk_main(int argc, char *argv[])
{
    struct session_options wanted = {0};
    struct verify v = {0};
    uint64_t nsid = 0, depth = 0, seed = 1, timeout_ms = 0;
    bool write_only = false, read_only = false, crc_only = false, overwrite = false;
    const char *sizes = NULL;
    const struct option options[] = {
        {"namespace", OPTION_NUMBER, &nsid, 1, UINT32_MAX - 1, NULL, "N",
         "identifier of the namespace; the first one if absent"},
        {"start", OPTION_NUMBER, &v.start, 0, UINT64_MAX, NULL, "LBA",
         "first block of the range; 0 if absent"},
        {"blocks", OPTION_NUMBER, &v.blocks, 1, UINT64_MAX, NULL, "N",
         "length of the range; to the end if absent"},
        {"seed", OPTION_NUMBER, &seed, 0, UINT32_MAX, NULL, "N", "number of the pattern; 1 if absent"},
        {"sizes", OPTION_WORD, &sizes, 0, 0, NULL, "LIST",
         "sizes to draw requests from: bytes, odd, block; 4096,131072,odd if absent"},
        {"depth", OPTION_NUMBER, &depth, 1, 65534, NULL, "N",
         "requests in flight; if absent, varying from 1 to 255"},
        {"interrupts", OPTION_FLAG, &v.interrupts, 0, 0, NULL, NULL, "sleep until the controller interrupts"},
        {"cmb", OPTION_FLAG, &v.controller_memory, 0, 0, NULL, NULL,
         "keep commands in the controller's memory"},
        {"shadow-doorbells", OPTION_FLAG, &v.shadow_doorbells, 0, 0, NULL, NULL,
         "ring doorbells in memory, if the controller supports that"},
        {"timeout", OPTION_NUMBER, &timeout_ms, 1, 3600000, NULL, "MS",
         "longest time of a command; if absent, 30000, and 5000 for admin commands"},
        {"overwrite", OPTION_FLAG, &overwrite, 0, 0, NULL, NULL, "yes, destroy what the range holds"},
        {"write-only", OPTION_FLAG, &write_only, 0, 0, NULL, NULL,
         "write the pattern, and do not read it back"},
        {"read-only", OPTION_FLAG, &read_only, 0, 0, NULL, NULL,
         "only compare: the pattern was written by an earlier run"},
        {"crc-only", OPTION_FLAG, &crc_only, 0, 0, NULL, NULL,
         "only read the range, and print the CRC of what it holds"},
        {"verbose", OPTION_FLAG, &v.verbose, 0, 0, NULL, NULL,
         "print a line of progress every second, on stderr"},
        {"json", OPTION_FLAG, &v.json, 0, 0, NULL, NULL, "the result as one line of JSON"},
    };
    const struct command command = {
        .name = "nvme-verify",
        .summary = "Writes a pattern to an NVMe namespace, reads it back and compares.",
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .operand = "ADDRESS",
        .operand_help = SESSION_ADDRESS_HELP,
    };
    int status;

    if (!options_parse(&command, argc, argv, &wanted.address, &status))
        return status;
    if (write_only + read_only + crc_only > 1) {
        complain("--write-only, --read-only, --crc-only: give only one of them");
        return EXIT_USAGE;
    }
    if (overwrite && (read_only || crc_only)) {
        complain("--overwrite, --%s: give only one of them", read_only ? "read-only" : "crc-only");
        return EXIT_USAGE;
    }
    if (!parse_sizes(sizes ? sizes : "4096,131072,odd", &v.sizes))
        return EXIT_USAGE;
    v.seed = seed;
    v.compare = !crc_only;
    v.steady_depth = depth != 0;
    wanted.nsid = (uint32_t)nsid;
    wanted.depth = depth ? (unsigned)depth : DEFAULT_DEPTH;
    wanted.interrupts = v.interrupts;
    wanted.controller_memory = v.controller_memory;
    wanted.shadow_doorbells = v.shadow_doorbells;
    wanted.timeout_ns = timeout_ms * CHALK_MS;
    if (!session_open(&v.session, &wanted))
        return session_failed();

    const bool write = !read_only && !crc_only;

    v.info = &v.session.queue->info;
    status = EXIT_USAGE;
    if (!session_has_plain_blocks(&v.session))
        status = EXIT_BAD;
    else if (depth > v.info->depth)
        complain("--depth %" PRIu64 ": the controller's queues hold at most %u request%s", depth,
                 v.info->depth, PLURAL(v.info->depth));
    else if (fit_range(&v) && fit_sizes(&v.sizes, v.info, sizes == NULL) &&
             (!write || session_may_write(&v.session, v.start, v.blocks, overwrite)))
        status = make_slots(&v) ? verify(&v, write, !write_only) : EXIT_BAD;
    session_close(&v.session);
    drop_slots(&v); /* closing may still call requests back */
    return status;
}
