# A new verb: its file here, its function in verbs.h, its row in main.c.
target_sources(kage-core PRIVATE
  verb_check.c verb_plan.c verb_apply.c verb_image.c)
