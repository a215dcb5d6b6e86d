pkg_check_modules(ARCHIVE REQUIRED IMPORTED_TARGET GLOBAL libarchive)

target_sources(kage-core PRIVATE copy/child.c copy/copy.c copy/pack.c copy/unpack.c)
target_link_libraries(kage-core PRIVATE PkgConfig::ARCHIVE)
