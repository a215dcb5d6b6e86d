target_sources(kage-core PRIVATE vm/owner.c vm/registry.c)
