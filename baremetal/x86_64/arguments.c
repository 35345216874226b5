/* SPDX-License-Identifier: BSD-2-Clause */
#include "arguments.h"

#include <stdbool.h>
#include <string.h>

/* Takes one word off *from, and puts it, without its quotes, at *to. Returns the quote that was left open, or
 * 0. */
static char take_word(char **from, char **to)
{
    char quote = '\0';

    while (**from != '\0' && (quote != '\0' || (**from != ' ' && **from != '\t'))) {
        if (**from == quote) {
            quote = '\0';
            ++*from;
        } else if (quote == '\0' && (**from == '"' || **from == '\'')) {
            quote = *(*from)++;
        } else {
            if (**from == '\\' && quote != '\'' && (*from)[1] != '\0')
                ++*from;
            *(*to)++ = *(*from)++;
        }
    }
    if (**from != '\0')
        ++*from;
    *(*to)++ = '\0';
    return quote;
}

static bool is_environment(const char *word)
{
    static const char prefix[] = "CHALK_";
    const char *c = word + sizeof prefix - 1;

    if (strncmp(word, prefix, sizeof prefix - 1) != 0)
        return false;
    while ((*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '_')
        c++;
    return *c == '=' && c > word + sizeof prefix - 1;
}

const char *arguments_split(char *line, struct arguments *found)
{
    char *from = line, *to = line;
    bool ended = false; /* the environment, by the first -- */

    found->count = found->environment_count = 0;
    for (;;) {
        while (*from == ' ' || *from == '\t')
            from++;
        if (*from == '\0')
            return NULL;
        if (found->count + found->environment_count == ARGUMENTS_MAX)
            return "the command line has more than 128 words; shorten it";
        char *word = to, quote = take_word(&from, &to);
        if (quote != '\0')
            return quote == '"' ? "the command line has an unmatched \"; close it"
                                : "the command line has an unmatched '; close it";
        bool separator = !ended && strcmp(word, "--") == 0;
        ended |= separator;
        if (!ended && is_environment(word))
            found->environment[found->environment_count++] = word;
        else if (!separator || found->count > 0 || found->environment_count == 0)
            found->words[found->count++] = word;
    }
}
