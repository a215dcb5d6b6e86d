#include <stdio.h>
#include <stdlib.h>

#include "roman.h"

int main(int argc, char **argv)
{
    char text[32];

    if (argc != 2 || !roman((unsigned)strtoul(argv[1], NULL, 10), text, sizeof text)) {
        fprintf(stderr, "usage: roman NUMBER, from 1 to 3999\n");
        return 1;
    }
    puts(text);
    return 0;
}
