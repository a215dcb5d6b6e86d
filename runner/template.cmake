target_sources(kage-core PRIVATE template/key.c template/template.c template/wait.c)
