target_sources(kage-core PRIVATE
  yaml/arena.c
  yaml/scalar.c
  yaml/syntax.c
  yaml/tree.c)
