target_sources(kage-core PRIVATE report/junit.c report/mask.c report/output.c report/result.c
  report/timeline.c report/wire.c)
