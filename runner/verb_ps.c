#include <cjson/cJSON.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "runner/verbs.h"
#include "runner/vm/registry.h"

static const char help[] = "usage: kage ps [options]\n"
                           "\n"
                           "Lists your machines, the ones that have ended included until `kage gc` "
                           "or `kage stop` forgets\n"
                           "them.\n"
                           "\n"
                           "options:\n"
                           "  --format table|json  (default: table)\n"
                           "  -q, --quiet          ids of running machines only\n"
                           "  -h, --help           show this help\n";

static void print_table(const struct kage_vm *vms, size_t n)
{
    int64_t now = time(NULL);

    printf("%-8s  %-16s  %-8s  %-5s  %-8s  %-12s  %s\n", "ID", "NAME", "STATE", "PORT", "AGE",
           "IMAGE", "NOTE");
    for (size_t i = 0; i < n; i++) {
        const struct kage_vm *vm = &vms[i];
        int64_t seconds = vm->started && now > vm->started ? now - vm->started : 0;
        /* Ages above a minute do not need seconds. */
        KAGE_CLEANUP(kage_freep)
        char *age =
            kage_duration_text((uint64_t)(seconds < 60 ? seconds : seconds / 60 * 60) * 1000);
        KAGE_CLEANUP(kage_freep)
        char *note = vm->reason ? kage_strndup(vm->reason, strcspn(vm->reason, "\n")) : NULL;
        char port[8] = "-";

        if (vm->port && vm->owner)
            snprintf(port, sizeof port, "%u", vm->port);
        printf("%-8s  %-16s  %-8s  %-5s  %-8s  %-12s  %s\n", vm->id, vm->name,
               kage_vm_state_name(vm->state), port, age, vm->image, note ? note : vm->accel);
    }
}

/* JSON is UTF-8, which the names of files need not be. */
static void add_text(cJSON *object, const char *key, const char *s)
{
    KAGE_CLEANUP(kage_freep)
    char *shown = kage_utf8_valid(s, strlen(s)) ? kage_strdup(s) : kage_printable(s, strlen(s));

    cJSON_AddStringToObject(object, key, shown);
}

static void print_json(const struct kage_vm *vms, size_t n)
{
    cJSON *list = cJSON_CreateArray();
    char *text;

    for (size_t i = 0; i < n; i++) {
        cJSON *o = cJSON_CreateObject();

        cJSON_AddStringToObject(o, "id", vms[i].id);
        cJSON_AddStringToObject(o, "name", vms[i].name);
        cJSON_AddStringToObject(o, "state", kage_vm_state_name(vms[i].state));
        if (vms[i].port && vms[i].owner)
            cJSON_AddNumberToObject(o, "port", vms[i].port);
        if (vms[i].owner)
            cJSON_AddNumberToObject(o, "owner", vms[i].owner);
        cJSON_AddNumberToObject(o, "started", (double)vms[i].started);
        cJSON_AddStringToObject(o, "image", vms[i].image);
        if (vms[i].spec)
            add_text(o, "spec", vms[i].spec);
        cJSON_AddStringToObject(o, "accelerator", vms[i].accel);
        cJSON_AddBoolToObject(o, "network", vms[i].network);
        if (vms[i].reason)
            add_text(o, "reason", vms[i].reason);
        cJSON_AddItemToArray(list, o);
    }
    text = cJSON_Print(list);
    puts(text ? text : "[]");
    cJSON_free(text);
    cJSON_Delete(list);
}

int kage_verb_ps(int argc, char **argv)
{
    static const struct option longs[] = {{"format", required_argument, NULL, 'f'},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct kage_error err = KAGE_ERROR_INIT;
    bool json = false, quiet = false;
    struct kage_vm *vms;
    size_t n;
    int c;

    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":qh", longs, NULL)) != -1) {
        if (c == 'h')
            return kage_written(fputs(help, stdout) < 0);
        if (c == 'q')
            quiet = true;
        else if (c == 'f' && (!strcmp(optarg, "json") || !strcmp(optarg, "table")))
            json = !strcmp(optarg, "json");
        else
            return -2 * kage_usage("ps", "'%s' is not an option, or not a value of one",
                                   argv[optind - 1]);
    }
    if (optind < argc)
        return -2 * kage_usage("ps", "'%s' is one too many", argv[optind]);
    if (kage_vm_list(&vms, &n, &err) < 0) {
        fprintf(stderr, "kage: %s\n", err.message);
        kage_error_done(&err);
        return 1;
    }
    if (json)
        print_json(vms, n);
    else if (!quiet)
        print_table(vms, n);
    for (size_t i = 0; quiet && i < n; i++)
        if (vms[i].state == KAGE_VM_RUNNING)
            puts(vms[i].id);
    kage_vm_list_free(vms, n);
    return kage_written(0);
}
