#define KAGE_LAZY_TABLES
#include "runner/lazy/lazy.h"

#include <dlfcn.h>

#include "runner/lazy/archive.h"
#include "runner/lazy/curl.h"

int kage_lazy_load(const char *soname, const char *package,
                   const struct kage_lazy_function *functions, size_t n, struct kage_error *err)
{
    void *library = dlopen(soname, RTLD_NOW | RTLD_LOCAL);

    if (!library)
        return kage_error_set(err, KAGE_CLASS_HOST,
                              "cannot load %s (Debian and Ubuntu: apt install %s)", soname,
                              package);
    for (size_t i = 0; i < n; i++) {
        *functions[i].slot = dlsym(library, functions[i].name);
        if (!*functions[i].slot)
            return kage_error_set(err, KAGE_CLASS_HOST, "%s has no %s; it is too old", soname,
                                  functions[i].name);
    }
    return 0;
}

#define SLOT_CURL(name) {#name, (void **)&kage_curl.f_##name},
#define SLOT_ARCHIVE(name) {#name, (void **)&kage_archive.f_##name},

struct kage_curl_functions kage_curl;
struct kage_archive_functions kage_archive;

int kage_curl_load(struct kage_error *err)
{
    static const struct kage_lazy_function functions[] = {KAGE_CURL_FUNCTIONS(SLOT_CURL)};

    return kage_curl.f_curl_free ? 0
                                 : kage_lazy_load("libcurl.so.4", "libcurl4", functions,
                                                  sizeof functions / sizeof *functions, err);
}

int kage_archive_load(struct kage_error *err)
{
    static const struct kage_lazy_function functions[] = {KAGE_ARCHIVE_FUNCTIONS(SLOT_ARCHIVE)};

    return kage_archive.f_archive_set_error
               ? 0
               : kage_lazy_load("libarchive.so.13", "libarchive13", functions,
                                sizeof functions / sizeof *functions, err);
}
