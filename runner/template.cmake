target_sources(kage-core PRIVATE template/checkpoint.c template/inputs.c template/key.c
  template/sparse.c template/template.c template/wait.c)
