#pragma once

#include <archive.h>
#include <archive_entry.h>

#include "runner/lazy/lazy.h"

/* Filled in this order; the last one tells that all are there. */
#define KAGE_ARCHIVE_FUNCTIONS(X)                                                                  \
    X(archive_entry_copy_pathname)                                                                 \
    X(archive_entry_copy_symlink) X(archive_entry_filetype) X(archive_entry_free)                  \
        X(archive_entry_hardlink) X(archive_entry_mtime) X(archive_entry_mtime_nsec)               \
            X(archive_entry_new) X(archive_entry_pathname) X(archive_entry_perm)                   \
                X(archive_entry_set_filetype) X(archive_entry_set_mtime) X(archive_entry_set_perm) \
                    X(archive_entry_set_size) X(archive_entry_size) X(archive_entry_symlink)       \
                        X(archive_error_string) X(archive_read_data_block) X(archive_read_free)    \
                            X(archive_read_new) X(archive_read_next_header)                        \
                                X(archive_read_open_fd) X(archive_read_support_format_empty)       \
                                    X(archive_read_support_format_tar) X(archive_write_close)      \
                                        X(archive_write_data) X(archive_write_free)                \
                                            X(archive_write_header) X(archive_write_new)           \
                                                X(archive_write_open)                              \
                                                    X(archive_write_set_bytes_in_last_block)       \
                                                        X(archive_write_set_format_gnutar)         \
                                                            X(archive_set_error)

#define KAGE_LAZY_MEMBER(name) __typeof__(&name) f_##name;
struct kage_archive_functions {
    KAGE_ARCHIVE_FUNCTIONS(KAGE_LAZY_MEMBER)
};
#undef KAGE_LAZY_MEMBER
extern struct kage_archive_functions kage_archive;

/* Call before anything else of the library. */
int kage_archive_load(struct kage_error *err);

/* From here on the names mean the loaded functions. lazy.c needs them as they are. */
#ifndef KAGE_LAZY_TABLES
#undef archive_entry_copy_pathname
#define archive_entry_copy_pathname kage_archive.f_archive_entry_copy_pathname
#undef archive_entry_copy_symlink
#define archive_entry_copy_symlink kage_archive.f_archive_entry_copy_symlink
#undef archive_entry_filetype
#define archive_entry_filetype kage_archive.f_archive_entry_filetype
#undef archive_entry_free
#define archive_entry_free kage_archive.f_archive_entry_free
#undef archive_entry_hardlink
#define archive_entry_hardlink kage_archive.f_archive_entry_hardlink
#undef archive_entry_mtime
#define archive_entry_mtime kage_archive.f_archive_entry_mtime
#undef archive_entry_mtime_nsec
#define archive_entry_mtime_nsec kage_archive.f_archive_entry_mtime_nsec
#undef archive_entry_new
#define archive_entry_new kage_archive.f_archive_entry_new
#undef archive_entry_pathname
#define archive_entry_pathname kage_archive.f_archive_entry_pathname
#undef archive_entry_perm
#define archive_entry_perm kage_archive.f_archive_entry_perm
#undef archive_entry_set_filetype
#define archive_entry_set_filetype kage_archive.f_archive_entry_set_filetype
#undef archive_entry_set_mtime
#define archive_entry_set_mtime kage_archive.f_archive_entry_set_mtime
#undef archive_entry_set_perm
#define archive_entry_set_perm kage_archive.f_archive_entry_set_perm
#undef archive_entry_set_size
#define archive_entry_set_size kage_archive.f_archive_entry_set_size
#undef archive_entry_size
#define archive_entry_size kage_archive.f_archive_entry_size
#undef archive_entry_symlink
#define archive_entry_symlink kage_archive.f_archive_entry_symlink
#undef archive_error_string
#define archive_error_string kage_archive.f_archive_error_string
#undef archive_read_data_block
#define archive_read_data_block kage_archive.f_archive_read_data_block
#undef archive_read_free
#define archive_read_free kage_archive.f_archive_read_free
#undef archive_read_new
#define archive_read_new kage_archive.f_archive_read_new
#undef archive_read_next_header
#define archive_read_next_header kage_archive.f_archive_read_next_header
#undef archive_read_open_fd
#define archive_read_open_fd kage_archive.f_archive_read_open_fd
#undef archive_read_support_format_empty
#define archive_read_support_format_empty kage_archive.f_archive_read_support_format_empty
#undef archive_read_support_format_tar
#define archive_read_support_format_tar kage_archive.f_archive_read_support_format_tar
#undef archive_write_close
#define archive_write_close kage_archive.f_archive_write_close
#undef archive_write_data
#define archive_write_data kage_archive.f_archive_write_data
#undef archive_write_free
#define archive_write_free kage_archive.f_archive_write_free
#undef archive_write_header
#define archive_write_header kage_archive.f_archive_write_header
#undef archive_write_new
#define archive_write_new kage_archive.f_archive_write_new
#undef archive_write_open
#define archive_write_open kage_archive.f_archive_write_open
#undef archive_write_set_bytes_in_last_block
#define archive_write_set_bytes_in_last_block kage_archive.f_archive_write_set_bytes_in_last_block
#undef archive_write_set_format_gnutar
#define archive_write_set_format_gnutar kage_archive.f_archive_write_set_format_gnutar
#undef archive_set_error
#define archive_set_error kage_archive.f_archive_set_error
#endif
