/* SPDX-License-Identifier: BSD-2-Clause */
/* Capability lists that lie, devices that vanish, and the search for devices. */
#include "platform_fake.h"
#include <chalk/device.h>
#include <chalk/error.h>
#include <chalk/random.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct fake_device *model;
static struct chalk_device *device;

static int setup(void **state)
{
    struct chalk_domain *domain = NULL;

    (void)state;
    fake_reset();
    fake_device_add("0000:00:01.0", 0x8086, 0x1000, 0x020000);
    model = fake_device_add("0000:00:02.0", 0x1b36, 0x0010, CHALK_CLASS_NVME);
    fake_device_add("0000:00:03.0", 0x1b36, 0x0010, CHALK_CLASS_NVME);
    model->config[CHALK_PCI_STATUS] = CHALK_PCI_STATUS_CAPS;
    return chalk_device_open(model->info.name, &domain, &device);
}

static int teardown(void **state)
{
    (void)state;
    chalk_device_close(device);
    return 0;
}

static void capability(unsigned at, uint8_t id, uint8_t next)
{
    model->config[at] = id;
    model->config[at + 1] = next;
}

static int find(uint8_t id, unsigned n)
{
    unsigned offset = 0;
    int error = chalk_pci_capability(device, id, n, &offset);

    return error ? error : (int)offset;
}

static void capabilities_are_found_in_the_order_of_the_list(void **state)
{
    (void)state;
    model->config[CHALK_PCI_CAPABILITIES] = 0x80;
    capability(0x80, CHALK_PCI_CAP_EXPRESS, 0x40);
    capability(0x40, CHALK_PCI_CAP_VENDOR, 0x60);
    capability(0x60, CHALK_PCI_CAP_VENDOR, 0xfc);
    capability(0xfc, CHALK_PCI_CAP_MSIX, 0);
    assert_int_equal(find(CHALK_PCI_CAP_EXPRESS, 0), 0x80);
    assert_int_equal(find(CHALK_PCI_CAP_VENDOR, 0), 0x40);
    assert_int_equal(find(CHALK_PCI_CAP_VENDOR, 1), 0x60);
    assert_int_equal(find(CHALK_PCI_CAP_VENDOR, 2), -ENOENT);
    assert_int_equal(find(CHALK_PCI_CAP_MSIX, 0), 0xfc);
    assert_int_equal(find(CHALK_PCI_CAP_MSI, 0), -ENOENT);
}

/* PCI 3.0 6.7: the low two bits of pointers are reserved and have to be masked. */
static void reserved_bits_of_pointers_are_ignored(void **state)
{
    (void)state;
    model->config[CHALK_PCI_CAPABILITIES] = 0x43;
    capability(0x40, CHALK_PCI_CAP_VENDOR, 0x51);
    capability(0x50, CHALK_PCI_CAP_MSIX, 0x03);
    assert_int_equal(find(CHALK_PCI_CAP_MSIX, 0), 0x50);
    assert_int_equal(find(CHALK_PCI_CAP_MSI, 0), -ENOENT);
}

static void device_without_a_list(void **state)
{
    (void)state;
    capability(0x40, CHALK_PCI_CAP_MSIX, 0);
    assert_int_equal(find(CHALK_PCI_CAP_MSIX, 0), -ENOENT);
    model->config[CHALK_PCI_STATUS] = 0;
    model->config[CHALK_PCI_CAPABILITIES] = 0x40;
    assert_int_equal(find(CHALK_PCI_CAP_MSIX, 0), -ENOENT);
}

static void loops_are_refused(void **state)
{
    (void)state;
    model->config[CHALK_PCI_CAPABILITIES] = 0x40;
    capability(0x40, CHALK_PCI_CAP_VENDOR, 0x40);
    assert_int_equal(find(CHALK_PCI_CAP_MSIX, 0), -EPROTO);
    assert_int_equal(find(CHALK_PCI_CAP_VENDOR, 0), 0x40);
    assert_int_equal(find(CHALK_PCI_CAP_VENDOR, 1), -EPROTO);
    capability(0x40, CHALK_PCI_CAP_VENDOR, 0x50);
    capability(0x50, CHALK_PCI_CAP_MSI, 0x60);
    capability(0x60, CHALK_PCI_CAP_EXPRESS, 0x50);
    assert_int_equal(find(CHALK_PCI_CAP_MSIX, 0), -EPROTO);
}

static void longest_list_there_can_be(void **state)
{
    (void)state;
    model->config[CHALK_PCI_CAPABILITIES] = 0xfc;
    for (unsigned at = 0xfc; at > 0x40; at -= 4)
        capability(at, CHALK_PCI_CAP_VENDOR, (uint8_t)(at - 4));
    capability(0x40, CHALK_PCI_CAP_MSIX, 0);
    assert_int_equal(find(CHALK_PCI_CAP_MSIX, 0), 0x40);
    assert_int_equal(find(CHALK_PCI_CAP_VENDOR, 46), 0x44);
    assert_int_equal(find(CHALK_PCI_CAP_VENDOR, 47), -ENOENT);
}

static void pointers_into_the_header_are_refused(void **state)
{
    (void)state;
    model->config[CHALK_PCI_CAPABILITIES] = 0x3c;
    assert_int_equal(find(CHALK_PCI_CAP_MSIX, 0), -EPROTO);
    model->config[CHALK_PCI_CAPABILITIES] = 0x40;
    capability(0x40, CHALK_PCI_CAP_VENDOR, 0x04);
    assert_int_equal(find(CHALK_PCI_CAP_MSIX, 0), -EPROTO);
}

static void device_that_is_gone_has_no_capabilities(void **state)
{
    (void)state;
    model->gone = true;
    for (unsigned id = 0; id < 256; id++)
        assert_int_equal(find((uint8_t)id, 0), -ENODEV);
    assert_int_equal(chalk_pci_bus_master(device, true), -ENODEV);
    assert_int_equal(model->config_writes, 0);
}

static void device_that_vanishes_in_the_middle_of_its_list(void **state)
{
    (void)state;
    model->config[CHALK_PCI_CAPABILITIES] = 0x40;
    capability(0x40, CHALK_PCI_CAP_VENDOR, 0x50);
    capability(0x50, 0xff, 0xff);
    assert_int_equal(find(CHALK_PCI_CAP_MSIX, 0), -ENODEV);
    assert_int_equal(find(0xff, 0), -ENODEV);
}

static void errors_of_configuration_space_are_passed_on(void **state)
{
    (void)state;
    model->config[CHALK_PCI_CAPABILITIES] = 0x40;
    capability(0x40, CHALK_PCI_CAP_VENDOR, 0x50);
    for (unsigned i = 0; i < 4; i++) {
        fake_fail("chalk_config_read", i, -EIO);
        assert_int_equal(find(CHALK_PCI_CAP_MSIX, 0), -EIO);
    }
    fake_fail("chalk_config_read", 0, -EIO);
    assert_int_equal(chalk_pci_bus_master(device, true), -EIO);
    fake_fail("chalk_config_write", 0, -EPERM);
    assert_int_equal(chalk_pci_bus_master(device, true), -EPERM);
}

/* Whatever the 256 bytes say, the walk ends, and what it finds is a dword behind the header. */
static void random_configuration_spaces(void **state)
{
    uint64_t random = 11;

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        for (unsigned i = CHALK_PCI_CAPABILITIES; i < 256; i++)
            model->config[i] = (uint8_t)chalk_random_next(&random);
        int found = find((uint8_t)chalk_random_next(&random), (unsigned)chalk_random_below(&random, 3));
        if (found >= 0)
            assert_true(found >= 0x40 && found <= 0xfc && found % 4 == 0);
        else
            assert_true(found == -ENOENT || found == -EPROTO || found == -ENODEV);
    }
}

static void bus_mastering_goes_on_and_off(void **state)
{
    uint32_t command;

    (void)state;
    assert_int_equal(chalk_config_write(device, CHALK_PCI_COMMAND, 2, CHALK_PCI_COMMAND_NO_INTX), 0);
    assert_int_equal(chalk_pci_bus_master(device, true), 0);
    assert_int_equal(chalk_config_read(device, CHALK_PCI_COMMAND, 2, &command), 0);
    assert_int_equal(command,
                     CHALK_PCI_COMMAND_NO_INTX | CHALK_PCI_COMMAND_MEMORY | CHALK_PCI_COMMAND_MASTER);
    assert_int_equal(chalk_pci_bus_master(device, false), 0);
    assert_int_equal(chalk_config_read(device, CHALK_PCI_COMMAND, 2, &command), 0);
    assert_int_equal(command, CHALK_PCI_COMMAND_NO_INTX | CHALK_PCI_COMMAND_MEMORY);
    assert_int_equal(model->config[CHALK_PCI_STATUS],
                     CHALK_PCI_STATUS_CAPS); /* the next register: as it was */
}

static void first_device_of_a_class_is_found(void **state)
{
    struct chalk_bus_info info;

    (void)state;
    assert_int_equal(chalk_bus_find(CHALK_CLASS_NVME, &info), 0);
    assert_string_equal(info.name, "0000:00:02.0");
    assert_int_equal(chalk_bus_find(0x030000, &info), -ENOENT);
    fake_fail("chalk_bus_next", 1, -EIO);
    assert_int_equal(chalk_bus_find(CHALK_CLASS_NVME, &info), -EIO);
}

static void devices_are_looked_up_by_their_whole_name(void **state)
{
    struct chalk_bus_info info;
    char longest[200];

    (void)state;
    assert_int_equal(chalk_bus_lookup("0000:00:03.0", &info), 0);
    assert_int_equal(info.class_code, CHALK_CLASS_NVME);
    assert_int_equal(chalk_bus_lookup("0000:00:03", &info), -ENOENT);
    assert_int_equal(chalk_bus_lookup("0000:00:03.00", &info), -ENOENT);
    assert_int_equal(chalk_bus_lookup("", &info), -ENOENT);
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(chalk_bus_lookup(longest, &info), -ENOENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* ---- extended capabilities (PCIe 5.0 7.6) ---- */

static void extended(unsigned at, uint16_t id, unsigned next)
{
    const uint32_t head = id | 1u << 16 | next << 20;

    memcpy(model->config + at, &head, sizeof head);
}

static int find_extended(uint16_t id, unsigned n)
{
    unsigned offset = 0;
    int error = chalk_pci_extended_capability(device, id, n, &offset);

    return error ? error : (int)offset;
}

static void extended_capabilities_are_found_in_the_order_of_the_list(void **state)
{
    (void)state;
    assert_int_equal(find_extended(CHALK_PCI_EXTENDED_ARI, 0), -ENOENT); /* zeroes: there is no list */
    extended(0x100, 0x0001, 0x800);
    extended(0x800, CHALK_PCI_EXTENDED_ARI, 0x143); /* the lowest two bits are reserved */
    extended(0x140, 0x000b, 0xffc);
    extended(0xffc, 0x000b, 0);
    assert_int_equal(find_extended(0x0001, 0), 0x100);
    assert_int_equal(find_extended(CHALK_PCI_EXTENDED_ARI, 0), 0x800);
    assert_int_equal(find_extended(0x000b, 0), 0x140);
    assert_int_equal(find_extended(0x000b, 1), 0xffc);
    assert_int_equal(find_extended(0x000b, 2), -ENOENT);
    assert_int_equal(find_extended(CHALK_PCI_EXTENDED_SRIOV, 0), -ENOENT);
}

static void extended_lists_that_lie(void **state)
{
    (void)state;
    extended(0x100, 0x0001, 0x200);
    extended(0x200, 0x0002, 0x100); /* comes back */
    assert_int_equal(find_extended(CHALK_PCI_EXTENDED_ARI, 0), -EPROTO);
    extended(0x200, 0x0002, 0x200); /* to itself */
    assert_int_equal(find_extended(CHALK_PCI_EXTENDED_ARI, 0), -EPROTO);
    extended(0x200, 0x0002, 0x0fc); /* leaves its part of the space */
    assert_int_equal(find_extended(CHALK_PCI_EXTENDED_ARI, 0), -EPROTO);
    extended(0x200, CHALK_PCI_EXTENDED_ARI, 0x0fc); /* which does not matter to one before that */
    assert_int_equal(find_extended(CHALK_PCI_EXTENDED_ARI, 0), 0x200);
    memset(model->config + 0x200, 0xff, 4); /* it goes in the middle of the list */
    assert_int_equal(find_extended(CHALK_PCI_EXTENDED_ARI, 0), -ENODEV);
    memset(model->config + 0x100, 0xff, 4); /* a conventional function reads like that */
    assert_int_equal(find_extended(CHALK_PCI_EXTENDED_ARI, 0), -ENOENT);
}

/* Each ends, whatever the bytes are. */
static void random_extended_lists(void **state)
{
    uint64_t random = 20;

    (void)state;
    for (unsigned lap = 0; lap < 200; lap++) {
        for (unsigned i = 0; i < sizeof model->config; i += 4) {
            uint32_t word = (uint32_t)chalk_random_next(&random);

            memcpy(model->config + i, &word, sizeof word);
        }
        int found = find_extended((uint16_t)chalk_random_next(&random), 0);
        assert_true(found == -EPROTO || found == -ENOENT || found == -ENODEV ||
                    (found >= 0x100 && found < 0x1000));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(capabilities_are_found_in_the_order_of_the_list),
        TEST(reserved_bits_of_pointers_are_ignored),
        TEST(device_without_a_list),
        TEST(loops_are_refused),
        TEST(longest_list_there_can_be),
        TEST(pointers_into_the_header_are_refused),
        TEST(device_that_is_gone_has_no_capabilities),
        TEST(device_that_vanishes_in_the_middle_of_its_list),
        TEST(errors_of_configuration_space_are_passed_on),
        TEST(random_configuration_spaces),
        TEST(extended_capabilities_are_found_in_the_order_of_the_list),
        TEST(extended_lists_that_lie),
        TEST(random_extended_lists),
        TEST(bus_mastering_goes_on_and_off),
        TEST(first_device_of_a_class_is_found),
        TEST(devices_are_looked_up_by_their_whole_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
