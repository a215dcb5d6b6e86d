target_sources(kage-core PRIVATE
  spec/below.c
  spec/fields.c
  spec/forms.c
  spec/suggest.c
  spec/fix.c
  spec/foreign.c
  spec/units.c
  spec/expand.c
  spec/decode.c
  spec/shape.c
  spec/matrix.c
  spec/resolve.c
  spec/schema.c
  spec/reference.c
  spec/load.c)
