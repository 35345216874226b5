/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Prints what Chalk makes of commands: "name: ENTRY DATA" as nvme_record.c does. Which of nvme-cli's command
 * lines asks for the same is in nvme_cli_test.py.
 */
#include <chalk/nvme_command.h>

#include <stdio.h>
#include <string.h>

static void print_bytes(const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        printf("%02x", ((const unsigned char *)bytes)[i]);
}

static void show_data(const char *name, struct chalk_nvme_command command, const void *data, size_t size)
{
    const uint32_t entry[16] = {
        command.opcode, command.nsid,  command.cdw2,  command.cdw3,  [10] = command.cdw10,
        command.cdw11,  command.cdw12, command.cdw13, command.cdw14, command.cdw15,
    };

    printf("%s: ", name);
    print_bytes(entry, sizeof(entry));
    putchar(' ');
    print_bytes(data, size);
    putchar('\n');
}

static void show(const char *name, struct chalk_nvme_command command)
{
    show_data(name, command, NULL, 0);
}

static void identify(void)
{
    const enum chalk_nvme_command_set nvm = CHALK_NVME_CSI_NVM, zoned = CHALK_NVME_CSI_ZONED;

    show("id-ctrl", chalk_nvme_encode_identify(CHALK_NVME_CNS_CONTROLLER, 0, 0, nvm));
    show("id-ns", chalk_nvme_encode_identify(CHALK_NVME_CNS_NAMESPACE, 5, 0, nvm));
    show("list-ns", chalk_nvme_encode_identify(CHALK_NVME_CNS_ACTIVE, 2, 0, nvm));
    show("list-ns all", chalk_nvme_encode_identify(CHALK_NVME_CNS_ALLOCATED, 2, 0, nvm));
    show("list-ctrl", chalk_nvme_encode_identify(CHALK_NVME_CNS_CONTROLLERS, 0, 3, nvm));
    show("list-ctrl of a namespace", chalk_nvme_encode_identify(CHALK_NVME_CNS_ATTACHED, 5, 3, nvm));
    show("ns-descs", chalk_nvme_encode_identify(CHALK_NVME_CNS_DESCRIPTORS, 5, 0, nvm));
    show("list-secondary", chalk_nvme_encode_identify(CHALK_NVME_CNS_SECONDARY, 0, 3, nvm));
    show("primary-ctrl-caps", chalk_nvme_encode_identify(CHALK_NVME_CNS_PRIMARY, 0, 3, nvm));
    show("id-iocs", chalk_nvme_encode_identify(CHALK_NVME_CNS_COMMAND_SETS, 0, 0xffff, nvm));
    show("zns id-ns", chalk_nvme_encode_identify(CHALK_NVME_CNS_CSI_NAMESPACE, 5, 0, zoned));
    show("zns id-ctrl", chalk_nvme_encode_identify(CHALK_NVME_CNS_CSI_CONTROLLER, 0, 0, zoned));
}

static void features_and_logs(void)
{
    const struct chalk_nvme_log_page page = {
        .log = CHALK_NVME_LOG_HEALTH,
        .specific = 3,
        .subject = 0x1234,
        .nsid = 1,
        .offset = 0x123456780,
        .size = 512,
        .keep_event = true,
        .csi = CHALK_NVME_CSI_ZONED,
    };

    show("get-feature", chalk_nvme_encode_get_feature(CHALK_NVME_FEATURE_TEMPERATURE,
                                                      CHALK_NVME_FEATURE_DEFAULT, 1, 0x10000));
    show("set-feature", chalk_nvme_encode_set_feature(CHALK_NVME_FEATURE_TEMPERATURE, true, 1, 0x158));
    show("get-log", chalk_nvme_encode_get_log(&page));
}

static void namespaces(void)
{
    const struct chalk_nvme_format format = {
        .format = 3,
        .erase = CHALK_NVME_ERASE_DATA,
        .protection = 2,
        .protection_first = true,
        .extended = true,
    };
    const struct chalk_nvme_format large = {.format = 35, .erase = CHALK_NVME_ERASE_KEY};
    const struct chalk_nvme_new_namespace ns = {
        .size = 0x1000, .capacity = 0x900, .format = 2, .protection = 1, .shared = true};
    const uint16_t controllers[] = {1, 2, 700};
    unsigned char data[CHALK_NVME_IDENTIFY_SIZE];

    show("format", chalk_nvme_encode_format(1, &format));
    show("format 35", chalk_nvme_encode_format(1, &large));
    chalk_nvme_encode_new_namespace(&ns, data);
    show_data("create-ns", chalk_nvme_encode_create_namespace(CHALK_NVME_CSI_NVM), data, sizeof(data));
    show("delete-ns", chalk_nvme_encode_delete_namespace(5));
    (void)chalk_nvme_encode_controller_list(controllers, 3, data);
    show_data("attach-ns", chalk_nvme_encode_attach_namespace(5, true), data, sizeof(data));
    show_data("detach-ns", chalk_nvme_encode_attach_namespace(5, false), data, sizeof(data));
}

static void upkeep(void)
{
    const struct chalk_nvme_sanitize overwrite = {
        .action = CHALK_NVME_SANITIZE_OVERWRITE,
        .passes = 2,
        .invert = true,
        .no_deallocate = true,
        .pattern = 0xdeadbeef,
    };
    const struct chalk_nvme_sanitize crypto = {.action = CHALK_NVME_SANITIZE_CRYPTO_ERASE,
                                               .unrestricted = true};
    const struct chalk_nvme_security security = {
        .nsid = 1, .protocol = 0xef, .specific = 0x1234, .nssf = 5, .size = 512};
    unsigned char image[4096], payload[512];

    memset(image, 'f', sizeof(image));
    memset(payload, 's', sizeof(payload));
    show_data("fw-download", chalk_nvme_encode_firmware_download(8192, 4096), image, sizeof(image));
    show("fw-commit", chalk_nvme_encode_firmware_commit(3, CHALK_NVME_FIRMWARE_REPLACE_ACTIVATE));
    show("device-self-test", chalk_nvme_encode_self_test(1, CHALK_NVME_SELF_TEST_EXTENDED));
    show("sanitize overwrite", chalk_nvme_encode_sanitize(&overwrite));
    show("sanitize crypto", chalk_nvme_encode_sanitize(&crypto));
    show_data("security-send", chalk_nvme_encode_security_send(&security), payload, sizeof(payload));
    show("security-recv", chalk_nvme_encode_security_receive(&security));
    show("virt-mgmt",
         chalk_nvme_encode_virtualize(3, CHALK_NVME_SECONDARY_ASSIGN, CHALK_NVME_INTERRUPT_RESOURCES, 5));
}

static void blocks(void)
{
    const struct chalk_nvme_range ranges[] = {{.count = 8, .lba = 1}, {.count = 16, .lba = 100}};
    const struct chalk_nvme_source sources[] = {{.lba = 1, .count_less_one = 8},
                                                {.lba = 100, .count_less_one = 16}};
    unsigned char payload[512];

    memset(payload, 's', sizeof(payload));
    show("write-uncor", chalk_nvme_encode_write_uncorrectable(1, 0x1234567890, 8));
    show_data("dsm", chalk_nvme_encode_dataset(1, 2, CHALK_NVME_DSM_DEALLOCATE | CHALK_NVME_DSM_WRITE),
              ranges, sizeof(ranges));
    show_data("copy", chalk_nvme_encode_copy(1, 0x1234567890, 2), sources, sizeof(sources));
    show("zns zone-mgmt-send", chalk_nvme_encode_zone_action(1, 0x1234567890, CHALK_NVME_ZONE_RESET, true));
    show("zns report-zones", chalk_nvme_encode_zone_report(1, 0x12345678, 2, 320));
    show_data("zns zone-append", chalk_nvme_encode_zone_append(1, 0x1234567890, 1), payload, sizeof(payload));
}

int main(void)
{
    identify();
    features_and_logs();
    namespaces();
    upkeep();
    blocks();
    return 0;
}
