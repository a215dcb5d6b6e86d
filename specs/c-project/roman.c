#include "roman.h"

#include <string.h>

static const struct {
    unsigned value;
    const char *letters;
} numerals[] = {
    {1000, "M"}, {900, "CM"}, {500, "D"}, {400, "CD"}, {100, "C"}, {90, "XC"}, {50, "L"},
    {40, "XL"},  {10, "X"},   {9, "IX"},  {5, "V"},    {4, "IV"},  {1, "I"},
};

size_t roman(unsigned n, char *text, size_t size)
{
    size_t len = 0;

    if (n < 1 || n > 3999)
        return 0;
    for (size_t i = 0; i < sizeof numerals / sizeof *numerals; i++) {
        size_t more = strlen(numerals[i].letters);

        for (; n >= numerals[i].value; n -= numerals[i].value) {
            if (len + more >= size)
                return 0;
            memcpy(text + len, numerals[i].letters, more + 1);
            len += more;
        }
    }
    return len;
}
