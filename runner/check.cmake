target_sources(kage-core PRIVATE
  check/check.c
  check/checkpoints.c
  check/files.c
  check/jobs.c
  check/outcome.c
  check/habits.c
  check/safety.c
  check/scripts.c
  check/config.c
  check/inputs.c
  check/mend.c)
