#include "runner/web/web.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "runner/web/web.h"

static const char *const shell_states[KAGE_WEB_SHELL_STATE_COUNT] = {
    [KAGE_WEB_SHELL_STARTING] = "starting", [KAGE_WEB_SHELL_RUNNING] = "running",
    [KAGE_WEB_SHELL_EXITED] = "exited",     [KAGE_WEB_SHELL_FAILED] = "failed",
    [KAGE_WEB_SHELL_LOST] = "lost",
};

void kage_web_look(struct kage_web *web)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_vm *vms;
    size_t n;

    if (kage_vm_list(&vms, &n, &err) < 0) {
        kage_error_done(&err); /* what was seen last stands until the next look */
        return;
    }
    kage_vm_list_free(web->vms, web->n_vms);
    web->vms = vms;
    web->n_vms = n;
}

/* Names and reasons come from specs, machines and the guest. */
static void add_text(cJSON *object, const char *name, const char *text)
{
    KAGE_CLEANUP(kage_freep) char *printable = NULL;

    if (!text)
        return;
    printable = kage_printable(text, strlen(text));
    cJSON_AddStringToObject(object, name, printable);
}

static void add_vm(cJSON *list, const struct kage_vm *vm)
{
    cJSON *item = cJSON_CreateObject();

    add_text(item, "id", vm->id);
    add_text(item, "name", vm->name);
    add_text(item, "state", kage_vm_state_name(vm->state));
    add_text(item, "reason", vm->reason);
    cJSON_AddItemToArray(list, item);
}

static const struct kage_vm *find_vm(const struct kage_web *web, const char *id)
{
    for (size_t i = 0; i < web->n_vms; i++)
        if (!strcmp(web->vms[i].id, id))
            return &web->vms[i];
    return NULL;
}

/* Why a shell was lost: the machine's end explains it better than the connection's. */
static const char *reason_of(const struct kage_web *web, const struct kage_web_shell *shell,
                             const struct kage_web_shell_status *status)
{
    const struct kage_vm *vm = find_vm(web, kage_web_shell_vm(shell));

    if (status->state != KAGE_WEB_SHELL_LOST)
        return status->reason;
    if (!vm)
        return "the machine is gone";
    if (vm->state == KAGE_VM_DEAD)
        return "the machine's owner process died";
    return vm->state == KAGE_VM_ENDED && vm->reason ? vm->reason : status->reason;
}

static void add_shell(cJSON *list, const struct kage_web *web, const struct kage_web_shell *shell)
{
    struct kage_web_shell_status status = kage_web_shell_status(shell);
    cJSON *item = cJSON_CreateObject();

    cJSON_AddNumberToObject(item, "shell", kage_web_shell_number(shell));
    add_text(item, "vm", kage_web_shell_vm(shell));
    add_text(item, "name", kage_web_shell_vm_name(shell));
    cJSON_AddStringToObject(item, "state", shell_states[status.state]);
    if (status.state == KAGE_WEB_SHELL_EXITED) {
        cJSON_AddNumberToObject(item, "code", status.code);
        cJSON_AddNumberToObject(item, "signal", status.signal);
    }
    cJSON_AddBoolToObject(item, "silent", status.silent);
    add_text(item, "reason", reason_of(web, shell, &status));
    cJSON_AddItemToArray(list, item);
}

char *kage_web_state(const struct kage_web *web)
{
    cJSON *root = cJSON_CreateObject(), *vms, *shells;
    char *text, *owned;

    add_text(root, "user", web->login->user);
    cJSON_AddStringToObject(root, "first", web->first_vm);
    vms = cJSON_AddArrayToObject(root, "vms");
    for (size_t i = 0; i < web->n_vms; i++)
        add_vm(vms, &web->vms[i]);
    shells = cJSON_AddArrayToObject(root, "shells");
    for (size_t i = 0; i < KAGE_WEB_SHELLS_MAX; i++)
        if (web->shells[i])
            add_shell(shells, web, web->shells[i]);
    text = cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    owned = kage_strdup(text ? text : "{}");
    cJSON_free(text);
    return owned;
}
