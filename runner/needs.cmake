target_sources(kage-core PRIVATE needs/machine.c needs/needs.c needs/outside.c)
