# A verb joins `kage --help` by joining this list, once verb_<name>.c and what it calls exist.
set(KAGE_VERBS check plan apply image)
foreach(verb ${KAGE_VERBS})
  string(TOUPPER ${verb} upper)
  target_sources(kage-core PRIVATE verb_${verb}.c)
  target_compile_definitions(kage-core PUBLIC KAGE_VERB_${upper}=1)
endforeach()
