target_sources(kage-core PRIVATE session/client.c session/run.c session/steps.c)
