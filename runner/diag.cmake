target_sources(kage-core PRIVATE
  diag/registry.c
  diag/source.c
  diag/diag.c
  diag/suppress.c
  diag/fix.c
  diag/render_text.c
  diag/render_data.c
  diag/render_sarif.c)
