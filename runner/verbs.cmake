# A new verb: its file here, its function in verbs.h, its row in verb_table.c.
target_sources(kage-core PRIVATE
  job.c usage.c verb_table.c
  verb_check.c verb_explain.c verb_schema.c
  verb_plan.c verb_apply.c verb_image.c verb_template.c
  verb_exec.c verb_shell.c verb_web.c verb_cp.c verb_install.c
  verb_start.c verb_stop.c verb_ps.c verb_logs.c verb_gc.c)
