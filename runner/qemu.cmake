target_sources(kage-core PRIVATE qemu/console.c qemu/jail.c qemu/process.c qemu/qmp.c
  qemu/scratch.c)
