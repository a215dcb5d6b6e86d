target_sources(kage-core PRIVATE
  session/client.c session/exec.c session/exec_streams.c session/feed.c session/login.c session/run.c session/snapshot.c session/steps.c
  session/tty.c vm/run_in.c)
