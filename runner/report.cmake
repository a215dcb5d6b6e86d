target_sources(kage-core PRIVATE report/mask.c report/output.c report/result.c)
