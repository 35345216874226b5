/* SPDX-License-Identifier: BSD-2-Clause */
/* The bare-metal record of what devices may touch: its contract, its limits, and where its memory comes from.
 */
#include "baremetal/x86_64/pci.h"

#include <chalk/claim.h>
#include <chalk/error.h>
#include <chalk/log.h>
#include <chalk/random.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LIMIT = 65535, PAGE = CHALK_PAGE, BOTH = CHALK_DEVICE_READS | CHALK_DEVICE_WRITES };

#define RAM ((uint64_t)1 << 40) /* no memory is there: a mapping touches none */

static unsigned claims, claims_left = UINT32_MAX;
static char last_message[256];

int chalk_span_get(unsigned i, struct chalk_span *span)
{
    *span = (struct chalk_span){
        .va = (void *)RAM, .size = 1ull << 36, .page = PAGE, .iova = RAM, .kind = CHALK_SPAN_RAM};
    return i == 0 ? 0 : -ENOENT;
}

int chalk_claim_memory(size_t size, unsigned node, uint64_t max_address, const char *owner,
                       struct chalk_claim *claim)
{
    static char *pages[4096]; /* as in the image, they are never given back */

    (void)node, (void)max_address;
    if (claims_left == 0)
        return -ENOMEM;
    claims_left--;
    assert_true(claims < sizeof pages / sizeof pages[0]);
    assert_non_null(pages[claims] = aligned_alloc(PAGE, size));
    *claim = (struct chalk_claim){.va = pages[claims++], .size = size, .owner = owner};
    return 0;
}

void chalk_log(enum chalk_level level, const char *format, ...)
{
    va_list list;

    (void)level;
    va_start(list, format);
    vsnprintf(last_message, sizeof last_message, format, list);
    va_end(list);
}

void chalk_exit(int status)
{
    fail_msg("the program ended with status %d: %s", status, last_message);
    abort();
}

static uint64_t address_of(unsigned page)
{
    return RAM + (uint64_t)page * PAGE;
}

static int map(struct chalk_domain *domain, unsigned page, unsigned count, unsigned protection)
{
    return chalk_dma_map(domain, (void *)address_of(page), (size_t)count * PAGE, address_of(page),
                         protection);
}

static int unmap(struct chalk_domain *domain, unsigned page, unsigned count)
{
    return chalk_dma_unmap(domain, address_of(page), (size_t)count * PAGE);
}

static void the_same_is_counted_and_other_pieces_are_refused(void **state)
{
    struct chalk_domain *domain = domain_join(NULL), *other = domain_join(NULL);

    (void)state;
    assert_true(domain != NULL && other != NULL && domain != other);
    assert_int_equal(map(domain, 10, 2, BOTH), 0);
    assert_int_equal(map(domain, 10, 2, BOTH), 0);
    assert_int_equal(map(other, 11, 2, BOTH), 0); /* each has its own */
    assert_int_equal(map(domain, 10, 2, CHALK_DEVICE_READS), -EEXIST);
    assert_non_null(strstr(last_message, "is mapped already"));
    assert_int_equal(map(domain, 10, 1, BOTH), -EEXIST);
    assert_int_equal(map(domain, 11, 2, BOTH), -EEXIST);
    assert_int_equal(map(domain, 9, 4, BOTH), -EEXIST);
    assert_int_equal(map(domain, 9, 1, BOTH), 0);
    assert_int_equal(map(domain, 12, 1, BOTH), 0);
    assert_int_equal(unmap(domain, 10, 1), -ENOENT);
    assert_int_equal(unmap(domain, 11, 1), -ENOENT);
    assert_int_equal(unmap(domain, 10, 0), -ENOENT);
    assert_int_equal(chalk_dma_unmap(domain, RAM, SIZE_MAX), -ENOENT);
    assert_int_equal(unmap(domain, 10, 2), 0);
    assert_int_equal(unmap(domain, 10, 2), 0);
    assert_int_equal(unmap(domain, 10, 2), -ENOENT);
    assert_int_equal(map(domain, 10, 1, CHALK_DEVICE_READS), 0);
    domain_leave(domain);
    assert_int_equal(unmap(other, 11, 2), 0);
    domain_leave(other);
}

static void a_domain_lives_until_its_last_device(void **state)
{
    struct chalk_domain *domain = domain_join(NULL);

    (void)state;
    assert_ptr_equal(domain_join(domain), domain);
    assert_int_equal(map(domain, 0, 1, BOTH), 0);
    domain_leave(domain);
    assert_int_equal(map(domain, 0, 1, BOTH), 0);
    assert_int_equal(unmap(domain, 0, 1), 0);
    domain_leave(domain);
    domain = domain_join(NULL);
    assert_int_equal(unmap(domain, 0, 1), -ENOENT); /* nothing is left of the one before */
    domain_leave(domain);
}

/* The limit less one, the limit, and one more. Afterwards a place that is given back can be used again. */
static void a_domain_has_65535_mappings(void **state)
{
    struct chalk_domain *domain = domain_join(NULL), *other = domain_join(NULL);

    (void)state;
    for (unsigned i = 0; i < LIMIT - 1; i++)
        assert_int_equal(map(domain, 2 * i, 1, BOTH), 0);
    assert_int_equal(map(domain, 2 * (LIMIT - 1), 1, BOTH), 0);
    last_message[0] = '\0';
    assert_int_equal(map(domain, 2 * LIMIT, 1, BOTH), -ENOSPC);
    assert_non_null(strstr(last_message, "all 65535 mappings of the domain are in use; map fewer, larger"));
    assert_int_equal(map(domain, 0, 1, BOTH), 0); /* again, which needs no further place */
    assert_int_equal(map(other, 2 * LIMIT, 1, BOTH), 0);
    assert_int_equal(unmap(domain, 2 * 777, 1), 0);
    assert_int_equal(map(domain, 2 * LIMIT, 1, BOTH), 0);
    assert_int_equal(map(domain, 2 * 777, 1, BOTH), -ENOSPC);
    domain_leave(domain);
    domain_leave(other);
}

/* Each one mapped is found again, in whatever order they come and go. */
static void mappings_are_found_in_any_order(void **state)
{
    struct chalk_domain *domain = domain_join(NULL);
    static bool mapped[500];
    uint64_t random = 1;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        unsigned page = (unsigned)chalk_random_below(&random, 500);

        if (mapped[page])
            assert_int_equal(unmap(domain, page, 1), 0);
        else
            assert_int_equal(map(domain, page, 1, BOTH), 0);
        mapped[page] = !mapped[page];
    }
    for (unsigned page = 0; page < 500; page++)
        assert_int_equal(unmap(domain, page, 1), mapped[page] ? 0 : -ENOENT);
    domain_leave(domain);
}

/* 64 domains were all that there could be. */
static void there_are_as_many_domains_as_devices(void **state)
{
    static struct chalk_domain *domains[2000];

    (void)state;
    for (unsigned i = 0; i < 2000; i++) {
        assert_non_null(domains[i] = domain_join(NULL));
        assert_int_equal(map(domains[i], i, 1, BOTH), 0);
    }
    for (unsigned i = 0; i < 2000; i++)
        domain_leave(domains[i]);
}

/* What was claimed for records is used again, before more is claimed; and without memory there is an error,
 * not a mapping that is not recorded. */
static void records_are_used_again(void **state)
{
    struct chalk_domain *domain = domain_join(NULL);
    unsigned before = claims, count = 0;

    (void)state;
    for (unsigned i = 0; i < LIMIT; i++)
        assert_int_equal(map(domain, i, 1, BOTH), 0);
    for (unsigned i = 0; i < LIMIT; i++)
        assert_int_equal(unmap(domain, i, 1), 0);
    assert_true(claims <= before + 1); /* an earlier test had as many */
    claims_left = 0;
    struct chalk_domain *all[8] = {domain};
    for (unsigned d = 0; d < 8 && count < 1000000; d++) {
        if (d > 0 && (all[d] = domain_join(NULL)) == NULL)
            break;
        while (map(all[d], count, 1, BOTH) == 0)
            count++;
        if (strstr(last_message, "in use") == NULL)
            break;
    }
    assert_non_null(strstr(last_message, "no memory for a record of the mapping"));
    assert_true(count >= LIMIT);
    assert_int_equal(map(all[0], 500000, 1, BOTH), -ENOSPC);
    assert_int_equal(unmap(all[0], 0, 1), 0);
    assert_int_equal(map(all[0], 0, 1, BOTH), 0);
    assert_null(domain_join(NULL));
    claims_left = UINT32_MAX;
    for (unsigned d = 0; d < 8 && all[d] != NULL; d++)
        domain_leave(all[d]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_is_counted_and_other_pieces_are_refused),
        cmocka_unit_test(a_domain_lives_until_its_last_device),
        cmocka_unit_test(a_domain_has_65535_mappings),
        cmocka_unit_test(mappings_are_found_in_any_order),
        cmocka_unit_test(there_are_as_many_domains_as_devices),
        cmocka_unit_test(records_are_used_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
