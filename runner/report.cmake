target_sources(kage-core PRIVATE report/output.c report/result.c)
