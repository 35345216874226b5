/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * printf for integers and strings (C11 7.21.6.1), into a buffer that it never leaves.
 */
#include <chalk/log.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct output {
    char *buffer;
    size_t room;   /* characters, without the terminator */
    size_t length; /* of all that was wanted */
};

static void put(struct output *out, char c)
{
    if (out->length < out->room)
        out->buffer[out->length] = c;
    out->length++;
}

static void put_many(struct output *out, char c, size_t count)
{
    for (; count && out->length < out->room; count--)
        out->buffer[out->length++] = c;
    out->length += count;
}

/* One conversion, as it was read: %[flags][width][.precision][length]conversion */
struct spec {
    bool left, zero, alternate, plus, space;
    int width;
    int precision; /* -1: none */
    enum { CHAR, SHORT, INT, LONG, LONG_LONG } length;
    char conversion;
};

/* A decimal number, or `*`: an argument. Too large a number is the largest int. */
static int read_number(const char **format, va_list *list)
{
    int number = 0;

    if (**format == '*') {
        ++*format;
        return va_arg(*list, int);
    }
    for (; **format >= '0' && **format <= '9'; ++*format)
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, **format - '0', &number))
            number = INT_MAX;
    return number;
}

/* Reads what follows a '%'. Returns what comes after it. */
static const char *read_spec(const char *format, struct spec *spec, va_list *list)
{
    *spec = (struct spec){.precision = -1, .length = INT};
    for (;; format++) {
        if (*format == '-')
            spec->left = true;
        else if (*format == '0')
            spec->zero = true;
        else if (*format == '#')
            spec->alternate = true;
        else if (*format == '+')
            spec->plus = true;
        else if (*format == ' ')
            spec->space = true;
        else
            break;
    }
    spec->width = read_number(&format, list);
    if (spec->width < 0) { /* of a `*`: the flag - and a width */
        spec->left = true;
        spec->width = spec->width == INT_MIN ? INT_MAX : -spec->width;
    }
    if (*format == '.') {
        format++;
        spec->precision = read_number(&format, list);
    }
    if (*format == 'h') {
        spec->length = *++format == 'h' ? CHAR : SHORT;
        format += *format == 'h';
    } else if (*format == 'l') {
        spec->length = *++format == 'l' ? LONG_LONG : LONG;
        format += *format == 'l';
    } else if (*format == 'z' || *format == 'j') {
        spec->length = LONG; /* size_t and intmax_t, on x86-64 */
        format++;
    }
    spec->conversion = *format;
    return *format ? format + 1 : format;
}

static uint64_t read_unsigned(const struct spec *spec, va_list *list)
{
    if (spec->length >= LONG)
        return va_arg(*list, unsigned long);
    unsigned value = va_arg(*list, unsigned);
    return spec->length == CHAR ? (uint8_t)value : spec->length == SHORT ? (uint16_t)value : value;
}

static int64_t read_signed(const struct spec *spec, va_list *list)
{
    if (spec->length >= LONG)
        return va_arg(*list, long);
    int value = va_arg(*list, int);
    return spec->length == CHAR ? (int8_t)value : spec->length == SHORT ? (int16_t)value : value;
}

/* `prefix` (a sign, 0x) and `size` characters at `text` after `zeros` zeros, padded to the width. */
static void put_field(struct output *out, const struct spec *spec, const char *prefix, size_t zeros,
                      const char *text, size_t size)
{
    size_t prefix_size = 0;

    while (prefix[prefix_size])
        prefix_size++;
    size_t used = prefix_size + zeros + size;
    size_t padding = (size_t)spec->width > used ? (size_t)spec->width - used : 0;
    if (!spec->left)
        put_many(out, ' ', padding);
    for (size_t i = 0; i < prefix_size; i++)
        put(out, prefix[i]);
    put_many(out, '0', zeros);
    for (size_t i = 0; i < size; i++)
        put(out, text[i]);
    if (spec->left)
        put_many(out, ' ', padding);
}

static void put_number(struct output *out, const struct spec *spec, const char *prefix, uint64_t value,
                       unsigned base)
{
    const char *digits = spec->conversion == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    char text[20]; /* 2^64 has 20 decimal digits */
    size_t size = 0, zeros = 0, prefix_size = prefix[0] ? prefix[1] ? 2 : 1 : 0;

    for (; value; value /= base)
        text[sizeof text - ++size] = digits[value % base];
    size_t least = spec->precision < 0 ? 1 : (size_t)spec->precision;
    if (spec->precision < 0 && spec->zero && !spec->left && (size_t)spec->width > least + prefix_size)
        least = (size_t)spec->width - prefix_size;
    if (least > size)
        zeros = least - size;
    put_field(out, spec, prefix, zeros, text + sizeof text - size, size);
}

static void put_string(struct output *out, const struct spec *spec, const char *text)
{
    size_t size = 0;

    if (!text)
        text = "(null)";
    while ((spec->precision < 0 || size < (size_t)spec->precision) && text[size])
        size++;
    put_field(out, spec, "", 0, text, size);
}

/* False, and nothing done, if this is no conversion that there is. */
static bool put_conversion(struct output *out, const struct spec *spec, va_list *list)
{
    int64_t number;
    uint64_t value;
    char c;

    switch (spec->conversion) {
    case 'd':
    case 'i':
        number = read_signed(spec, list);
        value = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
        put_number(out, spec, number < 0 ? "-" : spec->plus ? "+" : spec->space ? " " : "", value, 10);
        return true;
    case 'u':
        put_number(out, spec, "", read_unsigned(spec, list), 10);
        return true;
    case 'x':
    case 'X':
        value = read_unsigned(spec, list);
        put_number(out, spec, spec->alternate && value ? spec->conversion == 'x' ? "0x" : "0X" : "", value,
                   16);
        return true;
    case 'p':
        put_number(out, spec, "0x", (uintptr_t)va_arg(*list, void *), 16);
        return true;
    case 'c':
        c = (char)va_arg(*list, int);
        put_field(out, spec, "", 0, &c, 1);
        return true;
    case 's':
        put_string(out, spec, va_arg(*list, const char *));
        return true;
    case '%':
        put(out, '%');
        return true;
    default:
        return false;
    }
}

int chalk_format_list(char *buffer, size_t size, const char *format, va_list caller_list)
{
    struct output out = {buffer, size ? size - 1 : 0, 0};
    struct spec spec;
    va_list list; /* a copy, because a va_list that is a parameter has another type than one to point to */

    va_copy(list, caller_list);
    while (*format) {
        if (*format != '%') {
            put(&out, *format++);
            continue;
        }
        const char *after = read_spec(format + 1, &spec, &list);
        if (!put_conversion(&out, &spec, &list)) {
            /* Which argument belongs to what follows is no longer known: none is looked at. */
            while (*format)
                put(&out, *format++);
            break;
        }
        format = after;
    }
    va_end(list);
    if (size)
        buffer[out.length < size ? out.length : size - 1] = 0;
    return out.length > INT_MAX ? INT_MAX : (int)out.length;
}

int chalk_format(char *buffer, size_t size, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    int length = chalk_format_list(buffer, size, format, list);
    va_end(list);
    return length;
}
