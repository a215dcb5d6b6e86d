target_sources(kage-core PRIVATE
  session/artifacts.c
  session/checkpoint.c
  session/client.c
  session/command.c
  session/exec.c
  session/exec_streams.c
  session/feed.c
  session/login.c
  session/place.c
  session/ready.c
  session/run.c
  session/secrets.c
  session/snapshot.c
  session/start.c
  session/steps.c
  session/tty.c
  vm/run_in.c)
