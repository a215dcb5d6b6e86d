# A new verb: its file here, its function in verbs.h, its row in main.c.
target_sources(kage-core PRIVATE
  job.c usage.c
  verb_check.c verb_plan.c verb_apply.c verb_image.c
  verb_exec.c verb_shell.c verb_cp.c verb_install.c
  verb_start.c verb_stop.c verb_ps.c verb_logs.c verb_gc.c)
