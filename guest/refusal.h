#pragma once

/* Why a request was not carried out: what an `error` frame says. Zero-initialise it. */
struct kage_refusal {
    int code;      /* enum kage_rpc_error */
    int errnum;    /* 0, or the errno behind it */
    char *message; /* owned */
};

/* Sets *why, replacing what was there, and returns -1. A non-zero errnum adds ": <strerror>". */
int kage_refuse(struct kage_refusal *why, int code, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void kage_refusal_done(struct kage_refusal *why);
