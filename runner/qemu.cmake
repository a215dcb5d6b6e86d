target_sources(kage-core PRIVATE qemu/console.c)
