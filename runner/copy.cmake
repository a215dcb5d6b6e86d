pkg_check_modules(ARCHIVE REQUIRED IMPORTED_TARGET GLOBAL libarchive)

target_sources(kage-core PRIVATE copy/child.c copy/copy.c copy/pack.c copy/unpack.c)
# Only its headers: it is opened when it is first used (lazy/).
target_include_directories(kage-core PRIVATE ${ARCHIVE_INCLUDE_DIRS})
