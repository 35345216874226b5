/* SPDX-License-Identifier: BSD-2-Clause */
/* Scripts of hostile devices: what one may say, what is said of one that is wrong, and what happens when. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/models/script.h"

#define HAS(what) (1u << WHAT_##what)

static const struct script_name toaster_names[] = {
    {WHEN_COMMAND, "toast", 0x100, 0xf00},
    {WHEN_READ, "heat", 0x20, UINT64_MAX},
    {WHEN_WRITE, "heat", 0x20, UINT64_MAX},
};

static const char *const toaster_habits[] = {"burns", "smokes", NULL};

static const struct script_names toaster = {
    .device = "toaster",
    .names = toaster_names,
    .count = sizeof toaster_names / sizeof toaster_names[0],
    .opcodes = 0xff,
    .commands = HAS(IGNORE) | HAS(GARBAGE),
    .completions = HAS(LATE) | HAS(TWICE),
    .habits = toaster_habits,
};

static struct script script;
static char error[512];

static int parse(const char *text)
{
    return script_parse(&script, &toaster, "FILE", text, strlen(text), error, sizeof error);
}

static void good(const char *text)
{
    if (parse(text) != 0)
        fail_msg("%s", error);
}

/* ---- the text ---- */

static void a_habit_is_there_always(void **state)
{
    char line[64];

    (void)state;
    good("for any\nalways: smokes\n");
    assert_false(script_has(&script, 0));
    assert_true(script_has(&script, 1));
    script_print(&script, &toaster, 0, line, sizeof line);
    assert_string_equal(line, "always: smokes");
    assert_null(script_event(&script, WHEN_COMMAND, 0x100));
    assert_int_not_equal(parse("for any\nalways: sings\n"), 0);
    assert_non_null(strstr(error, "burns, smokes"));
    assert_int_not_equal(parse("for any\nalways 3: smokes\n"), 0);
    assert_int_not_equal(parse("for any\nalways: reshape 1\n"), 0);
    assert_int_not_equal(parse("for any\nread heat 1: reshape 1\n"), 0); /* it has no namespaces */
    assert_int_not_equal(parse("for any\nread heat 1: detach 1\n"), 0);
}

static void a_rule_is_what_its_line_says(void **state)
{
    (void)state;
    good("# a comment\n\n  for any  # and one here\n"
         "command toast 3: garbage\n"
         "completion 2-4: late 20ms\n"
         "read 0x1c 5- :value 0xffffffff\n"
         "message region-info 1: put 8 4 16\r\n"
         "time 2s: vanish");
    assert_int_equal(script.count, 5);
    assert_memory_equal(&script.rules[0],
                        (&(struct script_rule){.when = WHEN_COMMAND,
                                               .what = WHAT_GARBAGE,
                                               .which = 0x100,
                                               .mask = 0xf00,
                                               .first = 3,
                                               .last = 3}),
                        sizeof script.rules[0]);
    assert_int_equal(script.rules[1].mask, 0);
    assert_int_equal(script.rules[1].first, 2);
    assert_int_equal(script.rules[1].last, 4);
    assert_int_equal(script.rules[1].value, 20000000);
    assert_int_equal(script.rules[2].which, 0x1c);
    assert_int_equal(script.rules[2].mask, UINT64_MAX);
    assert_int_equal(script.rules[2].last, UINT64_MAX);
    assert_int_equal(script.rules[2].value, 0xffffffff);
    assert_int_equal(script.rules[3].which, 5);
    assert_int_equal(script.rules[3].offset, 8);
    assert_int_equal(script.rules[3].width, 4);
    assert_int_equal(script.rules[3].value, 16);
    assert_int_equal(script.rules[4].when, WHEN_TIME);
    assert_int_equal(script.rules[4].which, 2000000000);
}

static void what_is_printed_is_read_as_the_same(void **state)
{
    static const char *const lines[] = {"command toast 3: ignore",   "command 3-5: garbage",
                                        "completion 1-: late 5ns",   "read heat 2: value 0xff",
                                        "write 0x44 2: ignore",      "interrupt 1: storm 0x3e8",
                                        "time 200ns: close",         "message reset 1: id 0x9",
                                        "message 4: put 0x8 4 0x10", "message version 1: twice"};
    char line[128], text[256];

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        snprintf(text, sizeof text, "for any\n%s\n", lines[i]);
        good(text);
        script_print(&script, &toaster, 0, line, sizeof line);
        assert_string_equal(line, lines[i]);
    }
}

static void a_mistake_is_named_with_its_line_and_its_cure(void **state)
{
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"", "FILE:0: the script has no rule"},
        {"for any\n# nothing\n", "has no rule"},
        {"completion 3: twice", "FILE:1: the first line must name the models"},
        {"for\n", "'for any'"},
        {"for kettle pot\ncompletion 3: twice", "script is not for toaster, but for kettle"},
        {"for any\n\ncompletion 3 twice", "FILE:3: no colon"},
        {"for any\n: twice", "the event before the colon is missing"},
        {"for any\nburn 3: twice", "'burn' is not an event: use command, completion"},
        {"for any\ncompletion: twice", "the occurrence is missing, for example: completion 3"},
        {"for any\ncompletion 1 2 3: twice", "the occurrence is missing"},
        {"for any\ncompletion 0: twice", "'0' is not an occurrence"},
        {"for any\ncompletion 5-4: twice", "'5-4' is not an occurrence"},
        {"for any\ncompletion 3x: twice", "'3x' is not an occurrence"},
        {"for any\ncompletion -: twice", "'-' is not an occurrence"},
        {"for any\ncompletion 18446744073709551616: twice", "is not an occurrence"},
        {"for any\ncommand bagel 3: ignore", "'bagel' is not a command of toaster, which has: toast"},
        {"for any\ncompletion toast 3: late 1ms", "which has: none"},
        {"for any\nread warmth 1: value 1", "which has: heat"},
        {"for any\nmessage hello 1: ignore", "which has: version, dma-map"},
        {"for any\ntime: vanish", "the time is missing, for example: time 200ms"},
        {"for any\ntime 1 2: vanish", "the time is missing"},
        {"for any\ntime 200: vanish", "'200' is not a time"},
        {"for any\ntime 20000000000000000000s: vanish", "is not a time"},
        {"for any\ntime 1ms: twice", "use one of: vanish, mute"},
        {"for any\ncommand 1: twice", "not an action of toaster at 'command'; use one of: ignore, garbage"},
        {"for any\ncompletion 1: explode", "use one of: late, twice, vanish"},
        {"for any\ncompletion 1:", "the action is missing; use one of: late, twice"},
        {"for any\ncompletion 1: twice 2", "'twice' takes no argument"},
        {"for any\ncompletion 1: late", "'late' takes a time"},
        {"for any\ncompletion 1: late 3", "'late' takes a time"},
        {"for any\nread 1: value", "'value' takes one number"},
        {"for any\nread 1: value 0x", "'value' takes one number"},
        {"for any\nread 1: value 1 2", "'value' takes one number"},
        {"for any\nmessage 1: put 1 3 5", "a width of 1, 2, 4 or 8 bytes"},
        {"for any\nmessage 1: put 1 4", "an offset, a width"},
        {"for any\na b c d e f g h i", "more than 8 words"},
        {"for any\na b c d e f g h :", "more than 8 words"},
        {"for any\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 1: twice", "a word of more than 31 letters"},
        {"for any\ncompletion 1: twic\xc3\xa9", "plain ASCII"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(parse(wrong[i].text), -EINVAL);
        if (strstr(error, wrong[i].says) == NULL || strncmp(error, "FILE:", 5) != 0)
            fail_msg("%s\nwas answered: %s\nand not: %s", wrong[i].text, error, wrong[i].says);
    }
}

static void a_command_has_a_number(void **state)
{
    static const char *const wrong[] = {
        "for any\ncommand toast-0x100 1: ignore", "for any\ncommand toast- 1: ignore",
        "for any\ncommand bagel-2 1: ignore", "for any\nread heat-2 1: value 1"};
    char line[64];

    (void)state;
    good("for any\ncommand toast-0x2a 1-: ignore\n");
    script_print(&script, &toaster, 0, line, sizeof line);
    assert_string_equal(line, "command toast-0x2a 1-: ignore");
    assert_null(script_event(&script, WHEN_COMMAND, 0x12b));
    assert_null(script_event(&script, WHEN_COMMAND, 0x02a));
    assert_non_null(script_event(&script, WHEN_COMMAND, 0x12a));
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(parse(wrong[i]), -EINVAL);
}

static void more_rules_than_there_is_room_for_are_refused(void **state)
{
    char text[SCRIPT_RULES * 32 + 64] = "for any\n";

    (void)state;
    for (unsigned i = 0; i < SCRIPT_RULES; i++)
        strcat(text, "completion 1: twice\n");
    good(text);
    strcat(text, "completion 1: twice\n");
    assert_int_equal(parse(text), -EINVAL);
    assert_non_null(strstr(error, "at most 64 rules"));
    assert_int_equal(script_add(&script, &(struct script_rule){0}), -ENOSPC);
}

/* ---- the play ---- */

static void each_rule_counts_the_events_that_it_names(void **state)
{
    (void)state;
    good("for any\ncommand toast 2: garbage\ncommand 4-5: ignore\n");
    assert_null(script_event(&script, WHEN_COMMAND, 0x100));
    assert_null(script_event(&script, WHEN_COMMAND, 0x200));
    assert_null(script_event(&script, WHEN_COMPLETION, 0x100));
    assert_int_equal(script_event(&script, WHEN_COMMAND, 0x1ff)->what, WHAT_GARBAGE);
    assert_int_equal(script_event(&script, WHEN_COMMAND, 0)->what, WHAT_IGNORE);
    assert_int_equal(script_event(&script, WHEN_COMMAND, 0x100)->what, WHAT_IGNORE);
    assert_null(script_event(&script, WHEN_COMMAND, 0x100));

    script_rewind(&script);
    assert_null(script_event(&script, WHEN_COMMAND, 0x100));
    assert_non_null(script_event(&script, WHEN_COMMAND, 0x100));
}

static void what_happens_beside_an_event_leaves_it_as_it_is(void **state)
{
    (void)state;
    good(
        "for any\ncompletion 1: trespass\ncompletion 1: twice\ncompletion 2: vanish\ninterrupt 1: storm 5\n");
    assert_int_equal(script_event(&script, WHEN_COMPLETION, 0)->what, WHAT_TWICE);
    assert_true(script.trespass);
    assert_null(script_event(&script, WHEN_COMPLETION, 0));
    assert_true(script.vanished);
    assert_null(script_event(&script, WHEN_INTERRUPT, 0));
    assert_int_equal(script.storm, 5);
    script_replug(&script);
    assert_false(script.vanished || script.trespass || script.storm != 0);
}

static void time_passes_from_the_first_look_at_it(void **state)
{
    (void)state;
    good("for any\ntime 30ns: mute\ntime 10ns: vanish\n");
    assert_int_equal(script_due(&script), UINT64_MAX);
    script_time(&script, 1000);
    assert_int_equal(script_due(&script), 1010);
    assert_false(script.vanished);
    script_time(&script, 1010);
    assert_true(script.vanished && !script.mute);
    assert_int_equal(script_due(&script), 1030);
    script_time(&script, 5000);
    assert_true(script.mute);
    assert_int_equal(script_due(&script), UINT64_MAX);
}

static void data_is_spoiled_inside_its_bounds(void **state)
{
    struct script_rule put = {.what = WHAT_PUT, .offset = 6, .width = 4, .value = 0x11223344};
    uint8_t *data = calloc(1, 8), again[8]; /* the sanitizer guards what is behind it */

    (void)state;
    good("for any\ncommand 1: garbage\n");
    assert_int_equal(script_spoil(&script, NULL, data, 8), 8);
    assert_int_equal(script_spoil(&script, &put, data, 8), 8);
    put.offset = UINT64_MAX;
    assert_int_equal(script_spoil(&script, &put, data, 8), 8);
    assert_memory_equal(data, "\0\0\0\0\0\0\0\0", 8);
    put.offset = 4;
    assert_int_equal(script_spoil(&script, &put, data, 8), 8);
    assert_memory_equal(data, "\0\0\0\0\x44\x33\x22\x11", 8);
    assert_int_equal(script_spoil(&script, &(struct script_rule){.what = WHAT_SHORT, .value = 3}, data, 8),
                     3);
    assert_int_equal(script_spoil(&script, &(struct script_rule){.what = WHAT_SHORT, .value = 9}, data, 8),
                     8);
    assert_int_equal(script_spoil(&script, &(struct script_rule){.what = WHAT_FILL, .value = 7}, data, 8), 8);
    assert_memory_equal(data, "\7\7\7\7\7\7\7\7", 8);
    script_spoil(&script, &script.rules[0], data, 8);
    script_rewind(&script);
    script_spoil(&script, &script.rules[0], again, 8);
    assert_memory_equal(data, again, 8); /* random, and the same in every run */
    free(data);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_habit_is_there_always),
        cmocka_unit_test(a_rule_is_what_its_line_says),
        cmocka_unit_test(what_is_printed_is_read_as_the_same),
        cmocka_unit_test(a_mistake_is_named_with_its_line_and_its_cure),
        cmocka_unit_test(a_command_has_a_number),
        cmocka_unit_test(more_rules_than_there_is_room_for_are_refused),
        cmocka_unit_test(each_rule_counts_the_events_that_it_names),
        cmocka_unit_test(what_happens_beside_an_event_leaves_it_as_it_is),
        cmocka_unit_test(time_passes_from_the_first_look_at_it),
        cmocka_unit_test(data_is_spoiled_inside_its_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
