#include <stddef.h>
#include <string.h>

#include "common/proto/frame.h"
#include "runner/plan/parts.h"
#include "runner/plan/plan.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *const arches[] = {
    [KAGE_ARCH_HOST] = "host",
    [KAGE_ARCH_X86_64] = "x86_64",
    [KAGE_ARCH_AARCH64] = "aarch64",
};
_Static_assert(COUNT(arches) == KAGE_ARCH_COUNT, "a name for every architecture");

static const char *const accels[] = {
    [KAGE_ACCEL_AUTO] = "auto",
    [KAGE_ACCEL_KVM] = "kvm",
    [KAGE_ACCEL_HVF] = "hvf",
    [KAGE_ACCEL_TCG] = "tcg",
};
_Static_assert(COUNT(accels) == KAGE_ACCEL_COUNT, "a name for every accelerator");

static const char *const whens[] = {
    [KAGE_WHEN_ON_SUCCESS] = "on-success",
    [KAGE_WHEN_ON_FAILURE] = "on-failure",
    [KAGE_WHEN_ALWAYS] = "always",
};

static const char *const readies[] = {
    [KAGE_READY_NONE] = "none", [KAGE_READY_TCP] = "tcp",   [KAGE_READY_EXEC] = "exec",
    [KAGE_READY_LOG] = "log",   [KAGE_READY_FILE] = "file",
};
_Static_assert(COUNT(readies) == KAGE_READY_COUNT, "a name for every way of being ready");

static const char *const forms[] = {
    [KAGE_IMAGE_STORE] = "store",
    [KAGE_IMAGE_URL] = "url",
    [KAGE_IMAGE_PATH] = "path",
    [KAGE_IMAGE_KERNEL] = "kernel",
};

static const char *const own_kernels[] = {
    [KAGE_OWN_KERNEL_ANY] = "",
    [KAGE_OWN_KERNEL_STOCK] = "stock",
    [KAGE_OWN_KERNEL_LEAN] = "lean",
};
_Static_assert(COUNT(own_kernels) == KAGE_OWN_KERNEL_COUNT, "a name for every kernel of kage");

static int find(const char *const *words, size_t n, const char *word)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(words[i], word) == 0)
            return (int)i;
    return -1;
}

const char *kage_arch_name(enum kage_arch arch)
{
    return arches[arch];
}

const char *kage_accel_name(enum kage_accel accel)
{
    return accels[accel];
}

const char *kage_when_name(enum kage_when when)
{
    return whens[when];
}

const char *kage_ready_name(enum kage_ready ready)
{
    return readies[ready];
}

const char *kage_own_kernel_name(enum kage_own_kernel kernel)
{
    return own_kernels[kernel];
}

const char *kage_image_form_name(enum kage_image_form form)
{
    return forms[form];
}

int kage_arch_from(const char *word)
{
    return find(arches, COUNT(arches), word);
}

int kage_accel_from(const char *word)
{
    return find(accels, COUNT(accels), word);
}

int kage_when_from(const char *word)
{
    return find(whens, COUNT(whens), word);
}

int kage_ready_from(const char *word)
{
    return find(readies, COUNT(readies), word);
}

int kage_own_kernel_from(const char *word)
{
    int found = find(own_kernels, COUNT(own_kernels), word);

    return found == KAGE_OWN_KERNEL_ANY ? -1 : found;
}

int kage_image_form_from(const char *word)
{
    return find(forms, COUNT(forms), word);
}

int kage_plan_step_type(enum kage_plan_step_kind kind)
{
    static const int types[] = {
        [KAGE_STEP_SESSION] = KAGE_MSG_SESSION_CREATE,
        [KAGE_STEP_MOUNT] = KAGE_MSG_MOUNT,
        [KAGE_STEP_SPAWN] = KAGE_MSG_SPAWN,
    };

    _Static_assert(COUNT(types) == KAGE_STEP_COUNT, "a frame for every step");
    return types[kind];
}
