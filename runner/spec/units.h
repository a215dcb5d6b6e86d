#pragma once

#include <stdbool.h>
#include <stdint.h>

struct kage_spec_forward;

/* "512MiB" to bytes: digits and one of KiB, MiB, GiB. */
bool kage_parse_size(const char *text, uint64_t *ret);

/* "1h30m", "1m30s", "150ms" to milliseconds: each unit at most once, the largest first. */
bool kage_parse_duration(const char *text, uint64_t *ret_ms);

/* "[ADDR:]HOST:GUEST[/udp]"; address is NULL for the default. Returns what is wrong with it, or
 * NULL. The address is copied into addr. */
const char *kage_parse_forward(const char *text, char addr[16], uint16_t *ret_host,
                               uint16_t *ret_guest, bool *ret_udp);
