target_sources(kage-core PRIVATE
  host/accel.c host/cache.c host/capacity.c host/child.c host/facts.c host/probe_guest.c
  host/qemu_parts.c host/qemu_program.c)
