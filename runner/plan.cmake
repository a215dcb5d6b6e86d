target_sources(kage-core PRIVATE
  plan/expand.c plan/frames.c plan/labels.c plan/machine.c plan/options.c plan/plan.c plan/print_human.c
  plan/print_json.c plan/read.c plan/read_outcome.c plan/strict_json.c plan/words.c)
