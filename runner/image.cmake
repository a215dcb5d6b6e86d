# target_sources(kage-core PRIVATE ...) of this part
