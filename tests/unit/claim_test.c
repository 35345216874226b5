/* SPDX-License-Identifier: BSD-2-Clause */
/* Claims: who has which piece of which span, and what becomes of those who take what is not theirs. */
#include "platform_fake.h"
#include <chalk/error.h>
#include <chalk/main.h>
#include <chalk/memory.h>
#include <chalk/pool.h>
#include <chalk/random.h>
#include <memory/claims.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)

static char *span;

static int setup(void **state)
{
    (void)state;
    fake_reset();
    fake.grow_limit = 0;
    span = fake_span_add(CHALK_SPAN_RAM, 8 * MIB, CHALK_PAGE, 0x10000000, CHALK_NODE(1));
    return 0;
}

static int teardown(void **state)
{
    struct chalk_claim left;

    (void)state;
    return chalk_claim_get(0, &left) == -ENOENT ? 0 : -1;
}

static void whole_span_is_its_owners(void **state)
{
    struct chalk_claim claim, other;
    struct chalk_memory *memory;

    (void)state;
    assert_int_equal(chalk_claim_span(0, "me", &claim), 0);
    assert_ptr_equal(claim.va, span);
    assert_int_equal(claim.size, 8 * MIB);
    assert_int_equal(claim.iova, 0x10000000);
    assert_int_equal(claim.page, CHALK_PAGE);
    assert_int_equal(claim.node, CHALK_NODE(1));
    assert_int_equal(chalk_memory_create(NULL, &memory), -ENOMEM);
    assert_int_equal(chalk_claim_memory(1, 0, UINT64_MAX, "other", &other), -ENOMEM);
    chalk_claim_release(&claim);
    assert_int_equal(chalk_claim_memory(1, 0, UINT64_MAX, "other", &other), 0);
    assert_int_equal(other.size, CHALK_PAGE);
    chalk_claim_release(&other);
}

static void claiming_twice_is_refused_and_says_who_has_it(void **state)
{
    struct chalk_claim small, whole;

    (void)state;
    assert_int_equal(chalk_claim_memory(MIB, 0, UINT64_MAX, "the early bird", &small), 0);
    assert_int_equal(chalk_claim_span(0, "the second mouse", &whole), -EBUSY);
    assert_true(fake_console_has("the second mouse cannot claim 8192 KiB"));
    assert_true(fake_console_has("1024 KiB of them"));
    assert_true(fake_console_has("the early bird"));
    chalk_claim_release(&small);
    assert_int_equal(chalk_claim_span(0, "the second mouse", &whole), 0);
    assert_int_equal(chalk_claim_span(0, "the early bird", &small), -EBUSY);
    chalk_claim_release(&whole);
}

static void what_is_not_there_cannot_be_claimed(void **state)
{
    struct chalk_claim claim;

    (void)state;
    assert_int_equal(chalk_claim_span(1, "me", &claim), -ENOENT);
    assert_int_equal(chalk_claim_memory(0, 0, UINT64_MAX, "me", &claim), -EINVAL);
    assert_int_equal(chalk_claim_memory(SIZE_MAX, 0, UINT64_MAX, "me", &claim), -ENOMEM);
    assert_int_equal(chalk_claim_memory(9 * MIB, 0, UINT64_MAX, "me", &claim), -ENOMEM);
    assert_int_equal(chalk_claim_memory(MIB, CHALK_NODE(0), UINT64_MAX, "me", &claim),
                     -ENOMEM); /* it is on node 1 */
}

static void range_is_claimed_just_there(void **state)
{
    struct chalk_claim range, other;

    (void)state;
    assert_int_equal(chalk_claim_range(span + MIB, MIB + 1, "me", &range), 0);
    assert_ptr_equal(range.va, span + MIB);
    assert_int_equal(range.size, MIB + CHALK_PAGE);
    assert_int_equal(range.iova, 0x10000000 + MIB);
    assert_int_equal(chalk_claim_range(span, 2 * MIB, "other", &other), -EBUSY);
    assert_true(fake_console_has("other cannot claim 2048 KiB"));
    assert_true(fake_console_has("are me's"));
    assert_int_equal(chalk_claim_range(span, MIB, "other", &other), 0);
    chalk_claim_release(&other);
    chalk_claim_release(&range);
}

static void range_that_is_no_pages_of_a_span_is_refused(void **state)
{
    struct chalk_claim range;

    (void)state;
    assert_int_equal(chalk_claim_range(span, 0, "me", &range), -EINVAL);
    assert_int_equal(chalk_claim_range(span + 8, MIB, "me", &range), -EINVAL);
    assert_int_equal(chalk_claim_range(span, SIZE_MAX, "me", &range), -EINVAL);
    assert_true(fake_console_has("not whole pages"));
    fake_console_clear();
    assert_int_equal(chalk_claim_range(span + 7 * MIB, 2 * MIB, "me", &range), -EINVAL);
    assert_true(fake_console_has("do not lie in one span"));
    assert_int_equal(chalk_claim_range(span - CHALK_PAGE, CHALK_PAGE, "me", &range), -EINVAL);
}

static void modules_are_claimed_by_name_only(void **state)
{
    struct chalk_claim module, ram, more;

    (void)state;
    char *file = fake_span_add(CHALK_SPAN_MODULE, MIB, CHALK_PAGE, 0, 0);
    assert_int_equal(chalk_claim_span(0, "me", &ram), 0);
    assert_int_equal(chalk_claim_memory(CHALK_PAGE, 0, UINT64_MAX, "me", &more), -ENOMEM);
    assert_int_equal(chalk_claim_span(1, "me", &module), 0);
    assert_ptr_equal(module.va, file);
    chalk_claim_release(&module);
    chalk_claim_release(&ram);
}

static void releasing_what_is_not_held_ends_the_program(void **state)
{
    struct chalk_claim claim, stranger = {.owner = "nobody"};

    (void)state;
    assert_int_equal(chalk_claim_span(0, "me", &claim), 0);
    assert_true(fake_exits(chalk_claim_release(&stranger)));
    assert_int_equal(fake.exit_status, 134);
    chalk_claim_release(&claim);
    assert_true(fake_exits(chalk_claim_release(&claim)));
    assert_true(fake_console_has("nobody holds"));
}

/* A piece of one memory, given to another one: the message names both. */
static void giving_back_what_is_somebody_elses_names_both(void **state)
{
    struct chalk_memory_options options = {.private_size = MIB, .shared_size = MIB, .name = "abel"};
    struct chalk_memory *abel, *cain;

    (void)state;
    assert_int_equal(chalk_memory_create(&options, &abel), 0);
    options.name = "cain";
    assert_int_equal(chalk_memory_create(&options, &cain), 0);
    void *of_abel = chalk_memory_get(abel, 8192);
    fake_console_clear();
    assert_true(fake_exits(chalk_memory_put(cain, of_abel, 8192)));
    assert_true(fake_console_has("cain gives back 8192 bytes"));
    assert_true(fake_console_has("claimed by abel"));
    chalk_memory_destroy(abel);
    chalk_memory_destroy(cain);
}

static void what_is_left_at_the_end_is_listed_with_its_owner(void **state)
{
    struct chalk_claim leak, kept;
    struct chalk_memory *memory;
    struct chalk_pool *pool;

    (void)state;
    chalk_main_ended();
    assert_string_equal(fake.console, "");
    assert_int_equal(chalk_claim_memory(MIB, 0, UINT64_MAX, "a forgetful one", &leak), 0);
    assert_int_equal(chalk_claim_memory(MIB, 0, UINT64_MAX, "heap", &kept), 0);
    kept.lasts = true;
    assert_int_equal(chalk_memory_create(&(struct chalk_memory_options){.name = "cards"}, &memory), 0);
    struct chalk_pool_options options = {.memory = memory, .name = "frames", .object_size = 2048, .count = 8};
    assert_int_equal(chalk_pool_create(&options, &pool), 0);
    chalk_main_ended();
    assert_true(fake_console_has("never given back"));
    assert_true(fake_console_has("  1024 KiB at"));
    assert_true(fake_console_has(": a forgetful one\n"));
    assert_true(fake_console_has("  4096 KiB at"));
    assert_true(fake_console_has(": cards\n"));
    assert_true(fake_console_has(": pool frames\n"));
    assert_false(fake_console_has("heap"));
    chalk_pool_destroy(pool);
    chalk_memory_destroy(memory);
    chalk_claim_release(&kept);
    chalk_claim_release(&leak);
}

static void memory_is_not_released_under_a_pool(void **state)
{
    struct chalk_memory *memory;
    struct chalk_pool *pool;

    (void)state;
    assert_int_equal(chalk_memory_create(&(struct chalk_memory_options){.name = "cards"}, &memory), 0);
    struct chalk_pool_options options = {.memory = memory, .name = "frames", .object_size = 2048, .count = 8};
    assert_int_equal(chalk_pool_create(&options, &pool), 0);
    assert_true(fake_exits(chalk_memory_destroy(memory)));
    assert_int_equal(fake.exit_status, 134);
    assert_true(fake_console_has("cards releases 4096 KiB"));
    assert_true(fake_console_has("while pool frames is in it"));
    chalk_pool_destroy(pool);
    chalk_memory_destroy(memory);
}

static void report_says_who_holds_what(void **state)
{
    struct chalk_claim one, two;

    (void)state;
    assert_int_equal(chalk_claim_memory(MIB, 0, UINT64_MAX, "one", &one), 0);
    assert_int_equal(chalk_claim_memory(2 * MIB, 0, UINT64_MAX, "two", &two), 0);
    chalk_claim_report(CHALK_ERROR);
    assert_true(fake_console_has("1024 KiB at"));
    assert_true(fake_console_has("node 1: one\n"));
    assert_true(fake_console_has("node 1: two\n"));
    assert_true(fake_console_has("3072 KiB are claimed, of 8192 KiB"));
    chalk_claim_release(&one);
    chalk_claim_release(&two);
}

static unsigned span_of(const char *va)
{
    struct chalk_span found;
    unsigned i = 0;

    while (chalk_span_get(i, &found) == 0 && (uintptr_t)va - (uintptr_t)found.va >= found.size)
        i++;
    return i;
}

/* The process of a device gets the file of a whole span: what is private does not lie in it. */
static void private_claims_lie_apart_from_those_for_devices(void **state)
{
    struct chalk_arena *arena, *more;
    struct chalk_claim own, other;

    (void)state;
    fake_reset();
    fake.apart = true;
    fake.grow_limit = 4 * MIB;
    fake.grow_page = 2 * MIB;
    assert_int_equal(chalk_claim_memory(CHALK_PAGE, 0, UINT64_MAX, "me", &own), 0);
    assert_int_equal(chalk_arena_create(&(struct chalk_arena_options){.size = CHALK_PAGE}, &arena), 0);
    assert_true(arena->claim.for_devices);
    assert_int_equal(span_of(arena->claim.va), 1);
    assert_int_equal(span_of((const char *)arena), 0); /* the record and the books */
    assert_int_equal(chalk_claim_memory(CHALK_PAGE, 0, UINT64_MAX, "me", &other), 0);
    assert_int_equal(span_of(other.va), 0);
    chalk_claim_release(&other);

    /* Without more memory they lie where there is room; but never where a process reaches. */
    assert_int_equal(chalk_arena_create(&(struct chalk_arena_options){.size = 2 * MIB - CHALK_PAGE}, &more),
                     0);
    assert_int_equal(chalk_claim_memory(3 * MIB / 2, 0, UINT64_MAX, "me", &other), 0);
    chalk_claim_release(&other);
    chalk_arena_destroy(more);
    chalk_claim_release(&own);
    assert_int_equal(chalk_claim_memory(2 * MIB - 32 * CHALK_PAGE, 0, UINT64_MAX, "me", &own), 0);
    assert_int_equal(chalk_claim_memory(MIB, 0, UINT64_MAX, "me", &other), 0);
    assert_int_equal(span_of(other.va), 1);
    chalk_claim_release(&other);
    assert_null(chalk_claim_expose(arena->claim.va));
    assert_int_equal(chalk_claim_memory(MIB, 0, UINT64_MAX, "me", &other), -ENOMEM);
    assert_int_equal(chalk_arena_create(&(struct chalk_arena_options){.size = MIB}, &more), 0);
    chalk_arena_destroy(more);
    chalk_arena_destroy(arena);
    chalk_claim_release(&own);
}

/* One owner a page, too simple to be wrong: claims never overlap, and only a full span refuses. */
static void random_claims_match_the_model(void **state)
{
    enum { PAGES = 64, CLAIMS = 24 };
    static struct chalk_claim claims[CLAIMS];
    unsigned owner[PAGES] = {0};
    unsigned refused = 0;
    uint64_t random = 7;

    (void)state;
    fake_reset();
    fake.grow_limit = 0;
    char *small = fake_span_add(CHALK_SPAN_RAM, PAGES * CHALK_PAGE, CHALK_PAGE, 0x40000000, 0);
    memset(claims, 0, sizeof claims);
    for (unsigned round = 0; round < 20000; round++) {
        unsigned i = (unsigned)chalk_random_below(&random, CLAIMS);
        struct chalk_claim *claim = &claims[i];
        if (claim->va) {
            size_t first = (size_t)(claim->va - small) / CHALK_PAGE;
            for (size_t page = 0; page < claim->size / CHALK_PAGE; page++) {
                assert_int_equal(owner[first + page], i + 1);
                owner[first + page] = 0;
            }
            chalk_claim_release(claim);
            claim->va = NULL;
            continue;
        }
        size_t count = 1 + (size_t)chalk_random_below(&random, 12), run = 0, longest = 0;
        for (size_t page = 0; page < PAGES; page++) {
            run = owner[page] ? 0 : run + 1;
            longest = run > longest ? run : longest;
        }
        int error = chalk_claim_memory(count * CHALK_PAGE, 0, UINT64_MAX, "model", claim);
        assert_int_equal(error, longest >= count ? 0 : -ENOMEM);
        refused += error != 0;
        for (size_t page = 0; error == 0 && page < count; page++) {
            size_t at = (size_t)(claim->va - small) / CHALK_PAGE + page;
            assert_int_equal(claim->iova, 0x40000000 + (uint64_t)(claim->va - small));
            assert_int_equal(owner[at], 0);
            owner[at] = i + 1;
        }
    }
    for (unsigned i = 0; i < CLAIMS; i++)
        if (claims[i].va)
            chalk_claim_release(&claims[i]);
    assert_true(refused > 100);
}

/* ---- many spans ---- */

enum { SPANS = 14, HELD = 160 };

/* A page's claim, by its number from 1 on; and what is true of the span. */
static struct model_span {
    struct chalk_span span;
    unsigned owner[1024];
} model[SPANS];

static struct chalk_claim held[HELD];

static void add_spans(uint64_t *random)
{
    fake_reset();
    fake.grow_limit = 0;
    for (unsigned i = 0; i < SPANS; i++) {
        enum chalk_span_kind kind = i % 7 == 3 ? CHALK_SPAN_MODULE : CHALK_SPAN_RAM;
        size_t page = i % 3 == 1 ? 2 * MIB : CHALK_PAGE;
        size_t size =
            page == CHALK_PAGE ? (1 + (size_t)chalk_random_below(random, 600)) * page : (1 + i % 2) * page;
        uint64_t iova = (i % 2 ? 0x200000000 : 0x10000000) + i * 0x1000000;

        fake.apart = i % 4 == 2;
        fake_span_add(kind, size, page, iova, i % 5 < 2 ? 0 : CHALK_NODE(i % 2));
        assert_int_equal(chalk_span_get(i, &model[i].span), 0);
        memset(model[i].owner, 0, sizeof model[i].owner);
    }
}

/* Whether a claim of the other sort lies there. */
static bool has_other_sort(const struct model_span *place, bool for_devices)
{
    for (size_t page = 0; page < place->span.size / CHALK_PAGE; page++)
        if (place->owner[page] && held[place->owner[page] - 1].for_devices != for_devices)
            return true;
    return false;
}

/* Whether a claim would have room there. */
static bool has_room(const struct model_span *place, size_t count, unsigned node, uint64_t limit)
{
    const struct chalk_span *of = &place->span;
    size_t align = of->page > CHALK_PAGE && count >= 512 ? 512 : 1;

    if (of->kind != CHALK_SPAN_RAM || (node && of->node && of->node != node))
        return false;
    for (size_t first = 0; first + count <= of->size / CHALK_PAGE; first += align) {
        size_t i = 0;

        if (of->iova + (first + count) * CHALK_PAGE - 1 > limit)
            return false;
        while (i < count && !place->owner[first + i])
            i++;
        if (i == count)
            return true;
    }
    return false;
}

static struct model_span *model_of(const char *va)
{
    for (unsigned i = 0; i < SPANS; i++)
        if ((uintptr_t)va - (uintptr_t)model[i].span.va < model[i].span.size)
            return &model[i];
    fail_msg("%p is in no span", (const void *)va);
    return NULL;
}

static void own(const struct chalk_claim *claim, unsigned owner, unsigned before)
{
    struct model_span *place = model_of(claim->va);
    size_t first = (size_t)(claim->va - (char *)place->span.va) / CHALK_PAGE;

    assert_int_equal(claim->iova - place->span.iova, first * CHALK_PAGE);
    for (size_t i = 0; i < claim->size / CHALK_PAGE; i++) {
        assert_int_equal(place->owner[first + i], before);
        place->owner[first + i] = owner;
    }
}

static int claim_some(uint64_t *random, unsigned i)
{
    size_t count = 1 + (size_t)chalk_random_below(random, chalk_random_below(random, 4) ? 8 : 600);
    unsigned node = (unsigned)chalk_random_below(random, 3);
    uint64_t limit =
        chalk_random_below(random, 2) ? UINT64_MAX : 0x10000000 + chalk_random_below(random, 0x200000000);
    bool for_devices = chalk_random_below(random, 2), room = false, apart = false;
    struct chalk_claim *claim = &held[i];

    for (unsigned j = 0; j < SPANS; j++) {
        bool here = has_room(&model[j], count, node, limit);

        room |= here;
        apart |= here && !(model[j].span.apart && has_other_sort(&model[j], for_devices));
    }
    int error = (for_devices ? chalk_claim_for_devices : chalk_claim_memory)(count * CHALK_PAGE - 5, node,
                                                                             limit, "model", claim);
    assert_int_equal(error, room ? 0 : -ENOMEM);
    if (error) {
        claim->va = NULL;
        return error;
    }
    const struct model_span *place = model_of(claim->va);
    assert_int_equal(claim->size, count * CHALK_PAGE);
    assert_int_equal(claim->for_devices, for_devices);
    assert_true(claim->iova + claim->size - 1 <= limit);
    assert_int_equal(place->span.kind, CHALK_SPAN_RAM);
    assert_true(!node || !place->span.node || place->span.node == node);
    assert_true(!apart || !(place->span.apart && has_other_sort(place, for_devices)));
    if (place->span.page > CHALK_PAGE && count >= 512)
        assert_int_equal((uintptr_t)claim->va % (2 * MIB), 0);
    own(claim, i + 1, 0);
    return 0;
}

static void claim_by_name(uint64_t *random, unsigned i)
{
    struct model_span *place = &model[chalk_random_below(random, SPANS)];
    size_t pages = place->span.size / CHALK_PAGE, first = (size_t)chalk_random_below(random, pages);
    size_t count = 1 + (size_t)chalk_random_below(random, 20);
    int expected = first + count > pages ? -EINVAL : 0;

    for (size_t page = first; expected == 0 && page < first + count; page++)
        if (place->owner[page])
            expected = -EBUSY;
    assert_int_equal(
        chalk_claim_range((char *)place->span.va + first * CHALK_PAGE, count * CHALK_PAGE, "named", &held[i]),
        expected);
    if (expected == 0)
        own(&held[i], i + 1, 0);
    else
        held[i].va = NULL;
}

/* Nodes, limits, large pages, sorts that lie apart, ranges by name: each against a walk over all pages. */
static void random_claims_of_many_spans_match_the_model(void **state)
{
    unsigned made = 0, refused = 0;
    uint64_t random = 11;

    (void)state;
    add_spans(&random);
    memset(held, 0, sizeof held);
    for (unsigned round = 0; round < 20000; round++) {
        unsigned i = (unsigned)chalk_random_below(&random, round / 1000 % 2 ? HELD : HELD / 8);
        struct chalk_claim found;

        if (held[i].va) {
            assert_int_equal(chalk_claim_find(held[i].va + held[i].size - 1, 1, &found), 0);
            assert_ptr_equal(found.va, held[i].va);
            own(&held[i], 0, i + 1);
            chalk_claim_release(&held[i]);
            assert_int_equal(chalk_claim_find(held[i].va, held[i].size, &found), -ENOENT);
            held[i].va = NULL;
        } else if (chalk_random_below(&random, 8)) {
            if (claim_some(&random, i) == 0)
                made++;
            else
                refused++;
        } else {
            claim_by_name(&random, i);
        }
        fake_console_clear();
    }
    for (unsigned i = 0; i < HELD; i++)
        if (held[i].va)
            chalk_claim_release(&held[i]);
    assert_true(made > 3000 && refused > 1000);
}

/* Claims stay where they are when another span goes; and a span that comes in its place is found. */
static void spans_that_go_take_no_claims_with_them(void **state)
{
    struct chalk_claim low, high, rest;

    (void)state;
    fake_span_add(CHALK_SPAN_OUTSIDE, MIB, CHALK_PAGE, 0x20000000, 0);
    char *last = fake_span_add(CHALK_SPAN_RAM, MIB, CHALK_PAGE, 0x30000000, CHALK_NODE(2));
    assert_int_equal(chalk_claim_memory(8 * MIB, CHALK_NODE(1), UINT64_MAX, "low", &low), 0);
    assert_int_equal(chalk_claim_memory(MIB / 2, CHALK_NODE(2), UINT64_MAX, "high", &high), 0);
    assert_ptr_equal(high.va, last);

    fake_span_remove(1); /* between them */
    assert_int_equal(chalk_claim_find(last, MIB, &rest), 0);
    assert_string_equal(rest.owner, "high");
    assert_int_equal(chalk_claim_memory(MIB / 2, CHALK_NODE(2), UINT64_MAX, "rest", &rest), 0);
    assert_ptr_equal(rest.va, last + MIB / 2);
    chalk_claim_release(&high);
    chalk_claim_release(&rest);

    fake_span_remove(1); /* the last */
    assert_int_equal(chalk_claim_memory(1, CHALK_NODE(2), UINT64_MAX, "high", &high), -ENOMEM);
    fake_span_add(CHALK_SPAN_RAM, MIB, CHALK_PAGE, 0x50000000, CHALK_NODE(2));
    assert_int_equal(chalk_claim_memory(MIB, CHALK_NODE(2), UINT64_MAX, "high", &high), 0);
    assert_int_equal(high.iova, 0x50000000);
    assert_int_equal(chalk_claim_find(low.va + MIB, 1, &rest), 0);
    assert_string_equal(rest.owner, "low");
    chalk_claim_release(&high);
    chalk_claim_release(&low);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(whole_span_is_its_owners),
        TEST(claiming_twice_is_refused_and_says_who_has_it),
        TEST(what_is_not_there_cannot_be_claimed),
        TEST(range_is_claimed_just_there),
        TEST(range_that_is_no_pages_of_a_span_is_refused),
        TEST(modules_are_claimed_by_name_only),
        TEST(releasing_what_is_not_held_ends_the_program),
        TEST(giving_back_what_is_somebody_elses_names_both),
        TEST(what_is_left_at_the_end_is_listed_with_its_owner),
        TEST(memory_is_not_released_under_a_pool),
        TEST(report_says_who_holds_what),
        TEST(private_claims_lie_apart_from_those_for_devices),
        TEST(random_claims_match_the_model),
        TEST(random_claims_of_many_spans_match_the_model),
        TEST(spans_that_go_take_no_claims_with_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
