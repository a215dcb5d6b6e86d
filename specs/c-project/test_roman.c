#include <stdio.h>
#include <string.h>

#include "roman.h"

static int failures;

static void expect(unsigned n, size_t size, const char *want)
{
    char text[32] = "";
    size_t len = roman(n, text, size);

    if (len == strlen(want) && (!len || !strcmp(text, want)))
        return;
    fprintf(stderr, "FAIL roman(%u): want '%s', got '%s'\n", n, want, text);
    failures++;
}

int main(void)
{
    expect(1, 32, "I");
    expect(4, 32, "IV");
    expect(1994, 32, "MCMXCIV");
    expect(3888, 32, "MMMDCCCLXXXVIII");
    expect(3999, 32, "MMMCMXCIX");
    expect(3888, 15, "");
    expect(3888, 16, "MMMDCCCLXXXVIII");
    expect(0, 32, "");
    expect(4000, 32, "");
    printf("%s\n", failures ? "failed" : "all passed");
    return failures != 0;
}
