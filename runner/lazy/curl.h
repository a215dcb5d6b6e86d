#pragma once

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

#include "runner/lazy/lazy.h"

/* Filled in this order; the last one tells that all are there. */
#define KAGE_CURL_FUNCTIONS(X)                                                                     \
    X(curl_easy_init)                                                                              \
    X(curl_easy_setopt) X(curl_easy_perform) X(curl_easy_getinfo) X(curl_easy_strerror)            \
        X(curl_easy_cleanup) X(curl_slist_append) X(curl_slist_free_all) X(curl_url)               \
            X(curl_url_set) X(curl_url_get) X(curl_url_cleanup) X(curl_free)

#define KAGE_LAZY_MEMBER(name) __typeof__(&name) f_##name;
struct kage_curl_functions {
    KAGE_CURL_FUNCTIONS(KAGE_LAZY_MEMBER)
};
#undef KAGE_LAZY_MEMBER
extern struct kage_curl_functions kage_curl;

/* Call before anything else of the library. */
int kage_curl_load(struct kage_error *err);

/* From here on the names mean the loaded functions. lazy.c needs them as they are. */
#ifndef KAGE_LAZY_TABLES
#undef curl_easy_init
#define curl_easy_init kage_curl.f_curl_easy_init
#undef curl_easy_setopt
#define curl_easy_setopt kage_curl.f_curl_easy_setopt
#undef curl_easy_perform
#define curl_easy_perform kage_curl.f_curl_easy_perform
#undef curl_easy_getinfo
#define curl_easy_getinfo kage_curl.f_curl_easy_getinfo
#undef curl_easy_strerror
#define curl_easy_strerror kage_curl.f_curl_easy_strerror
#undef curl_easy_cleanup
#define curl_easy_cleanup kage_curl.f_curl_easy_cleanup
#undef curl_slist_append
#define curl_slist_append kage_curl.f_curl_slist_append
#undef curl_slist_free_all
#define curl_slist_free_all kage_curl.f_curl_slist_free_all
#undef curl_url
#define curl_url kage_curl.f_curl_url
#undef curl_url_set
#define curl_url_set kage_curl.f_curl_url_set
#undef curl_url_get
#define curl_url_get kage_curl.f_curl_url_get
#undef curl_url_cleanup
#define curl_url_cleanup kage_curl.f_curl_url_cleanup
#undef curl_free
#define curl_free kage_curl.f_curl_free
#endif
